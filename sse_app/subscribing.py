"""Subscribing: what one reader of some topics gets, in and outside HTTP.

What is promised
    From its first event on, a subscription gives every event of its durable topics in the order of
    the log, each once: those after its cursor, or, where it came without one, those after the heads
    that this process knew, which may be a tick old. If a position can't be continued, one ``reset``
    says for which topic, why, and how many events were missed; then it goes on.

What a slow reader sees
    On a durable topic: the same events, later. On a latest topic: the newest value. On an ephemeral
    topic: ``lagged`` with the number of events it missed, once per episode.

What closing does
    ``aclose()`` leaves all topics at once. It needs no ``await`` to take effect: ``close()`` does it.

Example::

    async with subscribe(["orders"]) as events:
        async for event in events:
            print(event.topic, event.data)
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sse_app.conf import conf, topic_rules
from sse_app.entries import Entry
from sse_app.eventlog import get_event_log
from sse_app.events import KEEP_ALIVE, ServerSentEvent
from sse_app.hub import Hub, HubOptions, hub_of_loop
from sse_app.outbox import channel_layer
from sse_app.payloads import to_text
from sse_app.place import Item, Lagged, Reset
from sse_app.positions import (
    LONGEST_POSITION,
    MAX_CURSOR_LENGTH,
    Cursor,
    decode_cursor,
    encode_cursor,
)
from sse_app.reader import Reader
from sse_app.relay import Relay
from sse_app.topics import TopicKind, TopicRule


class TooManyTopics(ValueError):
    """The stream asks for more topics than ``SSE_MAX_TOPICS``."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event as a program gets it; ``id`` is the cursor to come back with."""

    topic: str
    event: str | None
    data: str
    id: str | None


def get_hub() -> Hub:
    """Give the hub of the running loop."""
    return hub_of_loop(_make_hub)


def _make_hub() -> Hub:
    options = HubOptions(
        ring_entries=conf.SSE_RING_ENTRIES, ring_bytes=conf.SSE_RING_BYTES, tick=conf.SSE_TICK
    )
    hub: Hub
    relay = Relay(channel_layer(), lambda bell: hub.hint(bell))
    hub = Hub(get_event_log(), relay, options)
    return hub


class Subscription:
    """One reader's stream over its topics; give it to ``EventSourceResponse`` or iterate it.

    ``cursor``: the ``id`` of the last event that the reader had. Raises IllegalTopic, UnknownTopic
    or TooManyTopics when it is made; it joins its topics when iteration begins, in ``hub`` or else in
    that of the loop.
    """

    def __init__(self, topics: Iterable[str], *, cursor: str | None = None, hub: Hub | None = None) -> None:
        names = list(dict.fromkeys(topics))
        most = conf.SSE_MAX_TOPICS
        if len(names) > most:
            raise TooManyTopics(f"{len(names)} topics are more than the {most} of SSE_MAX_TOPICS")
        if sum(len(name) + LONGEST_POSITION for name in names) > MAX_CURSOR_LENGTH:
            raise TooManyTopics(f"a cursor of these {len(names)} topics would be too long to be read back")
        self.rules: dict[str, TopicRule] = {name: topic_rules().rule(name) for name in names}
        self._claims, self._known = _claims(self.rules, cursor)
        self._hub = hub
        self._reader = Reader()
        self._positions: Cursor = {}
        self._messages: deque[Message] = deque()
        self._open = False
        self._primed = False

    async def items(self, seconds: float | None = None) -> list[Item] | None:
        """Wait for the next items; [] once at the start, None after silence, or once it is closed."""
        if not self._open:
            self._attach()
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        while not self._reader.closed:
            if self._reader.ready:
                if not self._primed:
                    return self._prime()
                if items := self._reader.take():
                    return items
            if not await self._reader.wait(deadline):
                return None
        return None

    async def blocks(self, keep_alive: float | None = None) -> AsyncIterator[bytes]:
        """Give the event stream as blocks of bytes, all that is pending in one."""
        try:
            while not self._reader.closed:
                items = await self.items(keep_alive)
                if items is None:
                    yield KEEP_ALIVE
                else:
                    yield b"".join(self._encode(items)) if items else self._priming_block()
        finally:
            self.close()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Message:
        """Give the events one by one; control events have an empty topic. It may be cancelled."""
        while not self._messages:
            if self._reader.closed:
                raise StopAsyncIteration
            for item in self._merged(await self.items() or []):
                if isinstance(item, Entry):
                    item = Message(item.topic, item.event, item.data, self._id(item.topic))
                self._messages.append(item)
        return self._messages.popleft()

    def close(self) -> None:
        """Leave all topics and end the iteration; may be called twice, but only in the loop."""
        self._reader.close()

    def _attach(self) -> None:
        self._open = True
        hub = self._hub or get_hub()
        for topic, rule in self.rules.items():
            hub.attach(self._reader, topic, rule, self._claims.get(topic), topic not in self._known)

    def _prime(self) -> list[Item]:
        self._primed = True
        self._reader.begin()
        self._positions = self._reader.positions
        return []

    def _priming_block(self) -> bytes:
        """Give the client its cursor, so that a stream cut before its first event can be resumed."""
        spread = random.uniform(0.75, 1.25)
        retry = timedelta(seconds=max(0.5, conf.SSE_RETRY * spread))  # browsers honour 0
        return ServerSentEvent("", event="cursor", id=self._id(), retry=retry).encode()

    def _encode(self, items: list[Item]) -> Iterator[bytes]:
        alone = len(self.rules) == 1
        for message in self._merged(items):
            if isinstance(message, Entry):
                yield message.block if alone else message.block_with_id(self._id(message.topic))
            else:
                yield ServerSentEvent(message.data, event=message.event, id=message.id).encode()

    def _merged(self, items: list[Item]) -> Iterator[Entry | Message]:
        """Give all resets as one message, then the rest, and move the cursor along."""
        resets = [item for item in items if isinstance(item, Reset)]
        for reset in resets:
            self._positions[reset.topic] = reset.position
        if resets:
            yield self._control("reset", {"topics": [_told(reset) for reset in resets]})
        for item in items:
            if isinstance(item, Lagged):
                yield self._control("lagged", {"topic": item.topic, "missed": item.missed})
            elif isinstance(item, Entry):
                if item.logged:
                    self._positions[item.topic] = item.position
                yield item

    def _control(self, event: str, data: object) -> Message:
        return Message("", event, to_text(data), self._id())

    def _id(self, first: str | None = None) -> str | None:
        """Write the cursor; None while a topic has no proven place, because it would claim one."""
        for topic, position in self._positions.items():
            if position is None and self.rules[topic].kind is not TopicKind.EPHEMERAL:
                return None
        return encode_cursor(self._positions, first)


@asynccontextmanager
async def subscribe(topics: str | Iterable[str], *, cursor: str | None = None) -> AsyncIterator[Subscription]:
    """Read topics from anywhere: a task, a command, a consumer. See the module's example.

    ``cursor`` is the ``id`` of the last message of an earlier subscription.
    """
    subscription = Subscription([topics] if isinstance(topics, str) else topics, cursor=cursor)
    try:
        yield subscription
    finally:
        subscription.close()


def _told(reset: Reset) -> dict[str, object]:
    return {"topic": reset.topic, "reason": reset.reason, "missed": reset.missed}


def _claims(rules: dict[str, TopicRule], cursor: str | None) -> tuple[Cursor, set[str]]:
    """Give the positions that the client claims, and the topics that are not in doubt."""
    if not cursor:
        return {}, set(rules)
    decoded = decode_cursor(cursor)
    if decoded is None or not decoded.keys() & rules.keys():
        return {}, set()
    claimed: Cursor = {topic: at for topic, at in decoded.items() if at is not None}
    return claimed, {topic for topic in rules if topic in claimed or topic not in decoded}
