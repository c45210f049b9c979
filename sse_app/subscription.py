"""One reader's stream over its topics; ``subscribing`` says what it promises."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from sse_app.conf import conf, stream_rules
from sse_app.entries import Entry
from sse_app.events import KEEP_ALIVE, ServerSentEvent
from sse_app.hub import Hub
from sse_app.local import get_hub
from sse_app.messages import Message
from sse_app.payloads import to_text
from sse_app.permissions import EventFilter
from sse_app.place import Item, Lagged, Reset
from sse_app.positions import Cursor, encode_cursor
from sse_app.reader import Reader
from sse_app.snapshot import Shown, Snapshot, SnapshotSource
from sse_app.start import Start, read_starts
from sse_app.topics import TopicKind


class Subscription:
    """One reader's stream over its topics; give it to ``EventSourceResponse`` or iterate it.

    ``cursor``: the ``id`` of the last event that the reader had. ``since``: a moment; without a
    cursor, what the log still has from there on comes first. Raises IllegalTopic, UnknownTopic or
    TooManyTopics when it is made; it joins its topics when iteration begins, in ``hub`` or else in
    that of the loop.
    """

    def __init__(
        self,
        topics: Iterable[str],
        *,
        cursor: str | None = None,
        since: datetime | None = None,
        hub: Hub | None = None,
    ) -> None:
        self.rules = stream_rules(list(dict.fromkeys(topics)))
        self.starts = read_starts(self.rules, cursor, since)
        self.filters: Mapping[str, EventFilter] = {}
        self.snapshots: Mapping[str, SnapshotSource] = {}
        self._hub = hub
        self.reader = Reader()
        self._positions: Cursor = {}
        self._untold = False  # the positions have moved since the client was last told
        self._snapshot: Snapshot | None = None
        self._held_back: list[Item] = []
        self._messages: deque[Message] = deque()
        self._open = False
        self._primed = False

    async def items(
        self, seconds: float | None = None, *, or_settled: bool = False
    ) -> list[Item | Shown] | None:
        """Wait for the next items; [] to tell the cursor, None after silence, or once it is closed.

        ``or_settled``: None also as soon as all that there was has been given.
        """
        if not self._open:
            self._attach()
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        while not self.reader.closed:
            items = self._take()
            if items is not None:
                return items
            if (or_settled and self.settled) or not await self.reader.wait(deadline):
                return None
        return None

    async def blocks(self, keep_alive: float | None = None) -> AsyncIterator[bytes]:
        """Give the event stream as blocks of bytes, all that is pending in one.

        After ``keep_alive`` seconds in which nothing was given comes a comment.
        """
        time = asyncio.get_running_loop().time
        given = time()
        try:
            while not self.reader.closed:
                rest = None if keep_alive is None else given + keep_alive - time()
                block = self._block(await self.items(rest))
                if block:  # it is empty if the policy has hidden everything
                    yield block
                    given = time()
        finally:
            self.close()

    async def batches(self, keep_alive: float) -> AsyncGenerator[list[Message], None]:
        """Give the messages, all that are pending in one list; in silence, the cursor again.

        It is told after ``keep_alive`` seconds in which nothing was given, as a heartbeat.
        """
        time = asyncio.get_running_loop().time
        given = time()
        while not self.reader.closed:
            batch = self.messages(await self.items(given + keep_alive - time()))
            if batch and not self.reader.closed:
                yield batch
                given = time()

    def messages(self, items: list[Item | Shown] | None) -> list[Message]:
        """Give what ``items()`` gave as messages; where that was nothing, the cursor."""
        return list(self._merged(items)) if items else [self._cursor()]

    @property
    def settled(self) -> bool:
        """Whether all that there was has been given, and the log is not being asked for more."""
        return self._primed and not self._held_back and self._snapshot is None and self.reader.settled

    @property
    def cursor(self) -> str | None:
        """The ``id`` after all that was given; None while it is not proven."""
        return self._id()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message:
        """Give the events one by one; control events have an empty topic. It may be cancelled."""
        while not self._messages:
            if self.reader.closed:
                raise StopAsyncIteration
            self._messages.extend(self._merged(await self.items() or []))
        return self._messages.popleft()

    def close(self) -> None:
        """Leave all topics and end the iteration; may be called twice, but only in the loop."""
        self.reader.close()
        if self._snapshot is not None:
            self._snapshot.close()

    def _attach(self) -> None:
        self._open = True
        hub = self._hub or get_hub()
        for topic, rule in self.rules.items():
            hub.attach(self.reader, topic, rule, self.starts[topic])

    def _take(self) -> list[Item | Shown] | None:
        """Take what there is; None where there is nothing."""
        if self._snapshot is not None:
            return self._take_snapshot(self._snapshot)
        if self._held_back:
            items, self._held_back = self._held_back, []
            return [*items]
        if not self._primed:
            return self._prime() if self.reader.ready else None
        return self._hold_back(self.reader.take()) or None

    def _take_snapshot(self, snapshot: Snapshot) -> list[Item | Shown] | None:
        if shown := snapshot.take():
            return [*shown]
        if not snapshot.complete:
            return None
        self._snapshot = None
        return []

    def _prime(self) -> list[Item | Shown]:
        self._primed = True
        self.reader.begin()
        self._positions = self.reader.positions
        self._show([topic for topic, start in self.starts.items() if self._is_owed(topic, start)])
        return []

    def _is_owed(self, topic: str, start: Start) -> bool:
        return start.is_new or self.rules[topic].kind is TopicKind.EPHEMERAL  # which can't be resumed

    def _hold_back(self, items: list[Item]) -> list[Item | Shown]:
        """Give the resets first, and hold back the rest until their snapshots are complete."""
        resets = [item for item in items if isinstance(item, Reset)]
        if not self._show([reset.topic for reset in resets]):
            return [*items]
        self._held_back = [item for item in items if not isinstance(item, Reset)]
        return [*resets]

    def _show(self, topics: list[str]) -> bool:
        """Begin the snapshots of those topics that have one; say whether any has."""
        sources = {topic: self.snapshots[topic] for topic in topics if topic in self.snapshots}
        if sources:
            self._snapshot = Snapshot(sources, lambda: self.reader.wake(next(iter(sources))))
        return bool(sources)

    def _block(self, items: list[Item | Shown] | None) -> bytes:
        if items:
            return b"".join(self._encode(items))
        if items is None and not (self._untold and self.cursor):
            return KEEP_ALIVE
        spread = random.uniform(0.75, 1.25)
        retry = timedelta(seconds=max(0.5, conf.SSE_RETRY * spread))  # browsers honour 0
        return ServerSentEvent("", event="cursor", id=self._cursor().id, retry=retry).encode()

    def _cursor(self) -> Message:
        """Tell the client its cursor, so that a stream that is cut before its next event is resumed."""
        self._untold = False
        return self._control("cursor", "")

    def _encode(self, items: list[Item | Shown]) -> Iterator[bytes]:
        alone = len(self.rules) == 1
        for item in self._moved(items):
            if isinstance(item, Entry):
                yield item.block if alone else item.block_with_id(self._id(item.topic))
            elif isinstance(item, Shown):
                yield item.block if alone else item.block_with_topic
            else:
                yield ServerSentEvent(item.data, event=item.event, id=item.id).encode()

    def _merged(self, items: list[Item | Shown]) -> Iterator[Message]:
        for item in self._moved(items):
            if isinstance(item, Entry):
                yield Message(item.topic, item.event, item.data, self._id(item.topic))
            elif isinstance(item, Shown):
                yield Message(item.topic, item.event.event, item.event.data or "", None)
            else:
                yield item

    def _moved(self, items: list[Item | Shown]) -> Iterator[Entry | Message | Shown]:
        """Give all resets as one message, then the rest but for what is hidden; move the cursor along."""
        resets = [item for item in items if isinstance(item, Reset)]
        for reset in resets:
            self._positions[reset.topic] = reset.position
        if resets:
            yield self._control("reset", {"topics": [reset.told for reset in resets]})
        for item in items:
            if isinstance(item, Lagged):
                yield self._control("lagged", {"topic": item.topic, "missed": item.missed})
            elif isinstance(item, Shown) or (isinstance(item, Entry) and self._pass(item)):
                yield item

    def _pass(self, entry: Entry) -> bool:
        """Move the cursor past an entry, and say whether the reader gets it."""
        if entry.logged:
            self._positions[entry.topic] = entry.position
        gets = self.filters.get(entry.topic)
        shown = gets is None or gets(entry.event, entry.data)
        self._untold = not shown and (entry.logged or self._untold)
        return shown

    def _control(self, event: str, data: object) -> Message:
        return Message("", event, to_text(data), self._id())

    def _id(self, first: str | None = None) -> str | None:
        """Write the cursor; None while a topic has no proven place, or a snapshot is not complete."""
        if not self._primed or self._snapshot is not None:
            return None
        for topic, position in self._positions.items():
            if position is None and self.rules[topic].kind is not TopicKind.EPHEMERAL:
                return None
        return encode_cursor(self._positions, first)
