"""A log that can be trimmed, wiped and restored, and how a process sees it: slow, and failing."""

import asyncio
import copy
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

from sse_app.entries import Page
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.positions import GENESIS
from tests.simulation.past import Past


@dataclass
class Faults:
    """What is wrong with the log now: is it out of reach, how often does it fail, how slow is it."""

    failing: bool = False
    fail_rate: float = 0.0
    delays: tuple[float, ...] = ()


class DatedPage(Page):
    """A page that knows at which moment of the log's past it was read."""

    __slots__ = ("moment",)

    def __init__(self, page, moment):
        super().__init__(page.head, page.entries)
        object.__setattr__(self, "moment", moment)


class UndoableLog(MemoryEventLog):
    """The memory log, with the accidents that a log can have, and its past."""

    def __init__(self):
        super().__init__()
        self.past = Past()

    def append_many(self, topic, *args, **options):
        before = self._heads.get(topic, GENESIS)
        receipts = super().append_many(topic, *args, **options)
        if self._heads.get(topic, GENESIS) != before:
            self.past.appended(topic, *self._state(topic))
        return receipts

    def cut(self, topic, before_seq):
        """Remove the entries before a seq."""
        entries = self._entries.get(topic, ())
        count = len(entries)
        while entries and entries[0].position.seq < before_seq:
            entries.popleft()
        if len(entries) != count:
            self.past.trimmed(topic, *self._state(topic))

    def wipe(self):
        topics = list(self._heads)
        super().wipe()
        for topic in topics:
            self.past.undone(topic, GENESIS, (), set())

    def snapshot(self):
        """Make a backup."""
        alive = {topic: set(self.past.alive(topic)) for topic in self._heads}
        return self._whole(), alive

    def restore(self, snapshot):
        """Restore a backup."""
        topics = set(self._heads)
        whole, alive = snapshot
        vars(self).update(copied(whole))
        for topic in topics | set(self._heads):
            self.past.undone(topic, *self._state(topic), alive.get(topic, set()))

    def _whole(self):
        names = ("_heads", "_entries", "_keys")
        return copied({name: vars(self)[name] for name in names if name in vars(self)})

    def _state(self, topic):
        return self._heads.get(topic, GENESIS), tuple(self._entries.get(topic, ()))


def copied(whole):
    """Copy what a log holds by topic; entries never change."""
    return {
        name: {topic: copy.copy(held) for topic, held in by_topic.items()} for name, by_topic in whole.items()
    }


class LogView:
    """The log as one process sees it; counts reads, and watches that a gap is repaired once."""

    def __init__(self, log, faults, rng, latest, blame):
        self._log = log
        self._faults = faults
        self._rng = rng
        self._latest = latest
        self._blame = blame
        self._repairing = Counter()
        self.reads = 0
        self.asked_for_heads = 0

    async def read(self, topic, from_seq, limit, *, urgent=False):
        self.reads += 1
        with self._alone(topic, urgent):
            await self._suffer()
            page = await self._log.read(topic, from_seq, limit, urgent=urgent)
            page = DatedPage(page, self._log.past.moment)
            await self._suffer()
            return page

    async def heads(self, topics):
        await self._suffer()
        heads = await self._log.heads(topics)
        self.asked_for_heads = self._log.past.moment
        await self._suffer()
        return heads

    def __getattr__(self, name):
        return getattr(self._log, name)

    async def _suffer(self):
        faults = self._faults
        if faults.failing or (faults.fail_rate and self._rng.random() < faults.fail_rate):
            raise OSError("the log is out of reach")
        if faults.delays:
            await asyncio.sleep(self._rng.choice(faults.delays))

    @contextmanager
    def _alone(self, topic, urgent):
        """Only a repair is urgent, but for the fresh reads of latest topics."""
        if not urgent or self._latest(topic):
            yield
            return
        self._repairing[topic] += 1
        try:
            if self._repairing[topic] > 1:
                self._blame(f"{topic} is repaired twice at once in one process")
            yield
        finally:
            self._repairing[topic] -= 1
