"""Places: where a reader is in each of its topics, and what comes next from there.

A reader is live in a topic while its position is held in the tail's ring; it is checked at every
batch, with no ``await`` between the check and the taking. Where the position is not held, the place
asks the log, in a task of its own so that keep-alives go on meanwhile. Falling out of the ring is
catching up, not a disconnect.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sse_app.backoff import insist
from sse_app.entries import Entry, Page, Reason, missed, within
from sse_app.positions import GENESIS, Position
from sse_app.start import Start
from sse_app.tail import PAGE_ENTRIES, DurableTail, LatestTail, Tail, Waker
from sse_app.topics import ResetTo

# What one stream takes at once: it is what a client that does not read makes the process hold.
MAX_BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Reset:
    """The position could not be continued: ``missed`` events are passed over, None: unknown how many.

    The reader goes on after ``position``.
    """

    topic: str
    reason: Reason
    missed: int | None
    position: Position

    @property
    def told(self) -> dict[str, object]:
        """What the client is told of it."""
        return {"topic": self.topic, "reason": self.reason, "missed": self.missed}


@dataclass(frozen=True, slots=True)
class Lagged:
    """The reader of an ephemeral topic was too slow and lost ``missed`` events."""

    topic: str
    missed: int


Item = Entry | Reset | Lagged


class Place:
    """A reader's place in one topic without a log."""

    durable = False
    asking = False  # the log is being asked, or its answer has not been taken

    def __init__(self, tail: Tail, reader: Waker, start: Start) -> None:
        self.tail = tail
        self.reader = reader
        self.start = start
        self.position = start.position

    @property
    def ready(self) -> bool:
        """Whether the topic could be given a position by now."""
        return self.tail.started

    def begin(self) -> None:
        """Start at what is newest now, unless the reader has come with a position."""
        self.position = self.tail.ring.last

    def take(self) -> Sequence[Item]:
        """Take what follows the position, from memory."""
        ring = self.tail.ring
        assert self.position is not None
        entries = ring.after(self.position)
        lagged: list[Item] = []
        if entries is None:
            lagged = [Lagged(self.tail.topic, ring.base.seq - self.position.seq)]
            entries = ring.after(ring.base) or []
            self.position = ring.base
        return [*lagged, *self._advance(entries)]

    def _advance(self, entries: Sequence[Entry]) -> Sequence[Item]:
        """Take no more than a batch may hold; the rest comes with the next one."""
        batch = within(entries, MAX_BATCH_BYTES)
        if batch:
            self.position = batch[-1].position
        if len(batch) < len(entries):
            self.reader.wake(self.tail.topic)
        return batch

    def close(self) -> None:
        """Leave the topic."""
        self.tail.detach(self.reader)


class DurablePlace(Place):
    """A reader's place in a topic with a log."""

    durable = True
    tail: DurableTail

    def __init__(
        self,
        tail: DurableTail,
        reader: Waker,
        start: Start,
        reset_to: ResetTo = ResetTo.HEAD,
    ) -> None:
        super().__init__(tail, reader, start)
        self._reset_to = reset_to
        self._asking: asyncio.Task[None] | None = None
        self._answer: tuple[Position, Sequence[Item]] | None = None
        if start.since is not None:
            self._asking = asyncio.get_running_loop().create_task(self._look_for(start.since))

    @property
    def ready(self) -> bool:
        """Whether the topic has been started, and the place found from which on the reader wants it."""
        return self.tail.started and (self.start.since is None or self.position is not None)

    @property
    def asking(self) -> bool:  # type: ignore[override]
        """Whether the log is being asked, or its answer has not been taken."""
        return self._asking is not None or self._answer is not None

    def begin(self) -> None:
        """Start at the head, unless the reader has come from somewhere."""
        if self.position is None and not self.start.unknown:
            self.position = self.tail.ring.last

    def take(self) -> Sequence[Item]:
        """Take what follows the position: from memory, or what the log has answered."""
        if self._answer is not None:
            (self.position, items), self._answer = self._answer, None
            self.reader.wake(self.tail.topic)  # more may follow
            return items
        if self._asking is not None or not self.tail.started:
            return ()
        return self._take_from_ring()

    def _take_from_ring(self) -> Sequence[Item]:
        if self.position is None:
            return self._start_over()
        entries = self.tail.ring.after(self.position)
        if entries is None:
            self._ask()
            return ()
        return self._advance(entries)

    def _start_over(self) -> Sequence[Item]:
        if self._reset_to is ResetTo.OLDEST:
            self._ask()
            return ()
        self.position = self.tail.ring.last
        return [Reset(self.tail.topic, Reason.UNKNOWN, None, self.position)]

    async def _look_for(self, since: datetime) -> None:
        topic = self.tail.topic
        self.position = await insist(lambda: self._place_before(since), f"reading the log of {topic}")
        self._asking = None
        self.reader.wake(topic)

    async def _place_before(self, since: datetime) -> Position:
        seq = await self.tail.log.first_since(self.tail.topic, since)
        page = await self.tail.log.read(self.tail.topic, seq, 0)
        return page.before

    def _ask(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._read_log())

    async def _read_log(self) -> None:
        topic = self.tail.topic
        self._answer = await insist(self._question, f"reading the log of {topic}")
        self._asking = None
        self.reader.wake(topic)

    async def _question(self) -> tuple[Position, Sequence[Item]] | None:
        if self.position is None:
            return await self._reset(Reason.UNKNOWN, None)
        page = await self._read(self.position.seq)
        answer = page.after(self.position)
        if answer.reason is not None:
            return await self._reset(answer.reason, page)
        if answer.entries:
            entries = within(answer.entries, MAX_BATCH_BYTES)
            return entries[-1].position, entries
        await asyncio.wait({self.tail.repair()})  # the position is right, so the ring is behind
        return None

    async def _reset(self, reason: Reason, page: Page | None) -> tuple[Position, Sequence[Item]]:
        if page is None or self._reset_to is ResetTo.OLDEST:
            page = await self._read(0)
        goes_on_at = page.before if self._reset_to is ResetTo.OLDEST else page.head
        count = missed(self.position, goes_on_at, reason) if self.position else None
        return goes_on_at, [Reset(self.tail.topic, reason, count, goes_on_at)]

    async def _read(self, from_seq: int) -> Page:
        return await self.tail.log.read(self.tail.topic, from_seq, PAGE_ENTRIES)

    def close(self) -> None:
        """Leave the topic, and stop a question to the log that is under way."""
        if self._asking is not None:
            self._asking.cancel()
        super().close()


class LatestPlace(DurablePlace):
    """A reader's place in a topic of which it only wants the newest value."""

    tail: LatestTail

    def __init__(self, tail: LatestTail, reader: Waker, start: Start) -> None:
        super().__init__(tail, reader, Start(start.position))  # it has no past, nor can it be lost

    def begin(self) -> None:
        """Start before everything, so that the newest value comes at once."""
        self.position = self.position or GENESIS

    def _take_from_ring(self) -> Sequence[Item]:
        newest = self.tail.ring.newest()
        last = self.tail.ring.last
        assert self.position is not None
        if last.seq > self.position.seq:
            if newest is None:  # the value was trimmed; should it come back, the reader has not had it
                return ()
            self.position = last
            return [newest]
        if last != self.position:
            self._ask()  # not newer than what the reader has: only the log can tell
        return ()

    async def _question(self) -> tuple[Position, Sequence[Item]] | None:
        await asyncio.wait({self.tail.repair()})
        page = await self.tail.newest()
        if page.head == self.position:
            return None
        return page.head, page.entries[-1:]
