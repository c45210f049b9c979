"""The hub: the tails and the readers of one process, one per event loop.

Starting a tail goes: register it here, so that bells for it are kept; join its group on the channel
layer; ask the log for its head; handle what came meanwhile. From then on the *tick* asks the log for
the heads of all tails every 1.2 to 1.6 seconds, and twice a second while the broker is down. It
bounds how long a lost bell can hide an event, and it is the whole transport between processes that
share no broker.
"""

import asyncio
import os
import random
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sse_app.backoff import insist
from sse_app.doorbell import Doorbell
from sse_app.place import DurablePlace, LatestPlace, Place
from sse_app.positions import GENESIS, Position
from sse_app.reader import Reader
from sse_app.ring import Ring, RingBudget
from sse_app.start import Start
from sse_app.tail import DurableTail, EphemeralTail, LatestTail, LogReader, Tail
from sse_app.topics import TopicKind, TopicRule

T = TypeVar("T")

# Starts that fall together share one query.
GATHER_SECONDS = 0.02
JOIN_SECONDS = 1.0
# While no bells come the tick is all there is.
TICK_WHILE_DOWN = (0.4, 0.5)


class Membership(Protocol):
    """The part of a relay that the hub needs: hearing the bells of a topic."""

    down: bool  # bells are known not to come

    async def join(self, topic: str) -> None:
        """Want the topic's bells; return once they come."""

    def leave(self, topic: str) -> None:
        """Want them no more."""

    def renew(self, topic: str) -> None:
        """Join again: bells seem to be missing."""

    def probe(self) -> None:
        """Find out whether bells come; the answer shows in ``down``."""

    async def close(self) -> None:
        """Stop hearing anything."""


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Sizes (entries, bytes) and times (seconds); a tick of None switches the tick off."""

    ring_entries: int = 256
    ring_bytes: int = 64 * 2**20
    tick: tuple[float, float] | None = (1.2, 1.6)
    linger: float = 30.0


class Hub:
    """All tails of one event loop. Every method belongs to that loop, but for ``ring``."""

    def __init__(self, log: LogReader, membership: Membership, options: HubOptions | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.log = log
        self.membership = membership
        self.options = options or HubOptions()
        self.tails: dict[str, Tail] = {}
        self.watch: Callable[[str], None] | None = None  # told of topics whose readers are counted
        self._budget = RingBudget(self.options.ring_bytes)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heads: asyncio.Task[Mapping[str, Position]] | None = None
        self._starting: set[str] = set()
        self.spawn(self._tick())

    def ring(self, bell: Doorbell) -> None:
        """Take a doorbell; from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.hint, bell)
        except RuntimeError:  # the loop has just been closed, and with it every stream
            return

    def hint(self, bell: Doorbell) -> None:
        """Take a doorbell; one for a topic that nobody reads here is dropped."""
        tail = self.tails.get(bell.topic)
        if tail is not None:
            tail.hint(bell)

    def count(self, topic: str) -> int:
        """Count the readers of a topic."""
        tail = self.tails.get(topic)
        return len(tail.readers) if tail else 0

    def attach(self, reader: Reader, topic: str, rule: TopicRule, start: Start) -> None:
        """Give a reader its place in a topic, and start the topic's tail if it has none."""
        tail = self.tails.get(topic) or self._start(topic, rule.kind)
        tail.attach(reader)
        reader.places[topic] = self._place(tail, reader, rule, start)
        if rule.presence and self.watch is not None:
            self.watch(topic)

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it for as long as the hub lives."""
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop everything under way; the loop's next hub is another one."""
        forget_hub(self)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        tails, self.tails = self.tails, {}
        for tail in tails.values():
            await tail.close()
        await self.membership.close()

    def _place(self, tail: Tail, reader: Reader, rule: TopicRule, start: Start) -> Place:
        if isinstance(tail, LatestTail):
            return LatestPlace(tail, reader, start)
        if isinstance(tail, DurableTail):
            return DurablePlace(tail, reader, start, rule.reset_to)
        return Place(tail, reader, start)

    def _start(self, topic: str, kind: TopicKind) -> Tail:
        ring = Ring(max_entries=self.options.ring_entries, budget=self._budget)
        if kind is TopicKind.EPHEMERAL:
            tail: Tail = EphemeralTail(topic, ring)
        elif kind is TopicKind.LATEST:
            tail = LatestTail(topic, ring, self.log)
        else:
            tail = DurableTail(topic, ring, self.log)
        self.tails[topic] = tail
        self.spawn(self._begin(tail))
        return tail

    async def _begin(self, tail: Tail) -> None:
        joining = self.spawn(self.membership.join(tail.topic))
        await asyncio.wait({joining}, timeout=JOIN_SECONDS)  # without it, the tick must do
        if not isinstance(tail, DurableTail):
            return
        head = await self._head(tail.topic)
        if self.tails.get(tail.topic) is tail:  # it may have been dropped meanwhile
            tail.begin(head)

    async def _head(self, topic: str) -> Position:
        self._starting.add(topic)
        if self._heads is None:
            self._heads = self.spawn(self._gather_heads())
        return (await asyncio.shield(self._heads)).get(topic, GENESIS)

    async def _gather_heads(self) -> Mapping[str, Position]:
        await asyncio.sleep(GATHER_SECONDS)
        topics, self._starting, self._heads = sorted(self._starting), set(), None
        return await insist(lambda: self.log.heads(topics), "reading heads of the log")

    async def _tick(self) -> None:
        if self.options.tick is None:
            return
        while True:
            tick = TICK_WHILE_DOWN if self.membership.down else self.options.tick
            await asyncio.sleep(random.uniform(*tick))
            self.membership.probe()
            self._drop_idle()
            await insist(self._compare_heads, "reading heads of the log")

    async def _compare_heads(self) -> None:
        asked = {
            topic: tail.moves
            for topic, tail in self.tails.items()
            if isinstance(tail, DurableTail) and tail.started
        }
        if not asked:
            return
        heads = await self.log.heads(list(asked))
        for topic, moves in asked.items():
            tail = self.tails.get(topic)
            if isinstance(tail, DurableTail) and tail.hint_head(heads.get(topic, GENESIS), moves):
                self.membership.renew(topic)

    def _drop_idle(self) -> None:
        before = self.loop.time() - self.options.linger
        for topic, tail in list(self.tails.items()):
            if tail.idle_since is not None and tail.idle_since < before:
                del self.tails[topic]
                self.membership.leave(topic)
                self.spawn(tail.close())


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_lock = threading.Lock()


def _forget_all() -> None:
    """In a forked process the loops of the parent do not run."""
    global _lock
    _lock = threading.Lock()
    _hubs.clear()


os.register_at_fork(after_in_child=_forget_all)


def hub_of_loop(make: Callable[[], Hub]) -> Hub:
    """Give the hub of the running loop, made by ``make()`` the first time."""
    loop = asyncio.get_running_loop()
    with _lock:
        hub = _hubs.get(loop)
        if hub is None:
            for old in [old for old in _hubs if old.is_closed()]:
                del _hubs[old]
            hub = _hubs[loop] = make()
        return hub


def hubs() -> list[Hub]:
    """Give the hubs of all running loops of this process."""
    with _lock:
        return [hub for loop, hub in _hubs.items() if not loop.is_closed()]


def forget_hub(hub: Hub) -> None:
    """Take a closed hub out of the list."""
    with _lock:
        _hubs.pop(hub.loop, None)
