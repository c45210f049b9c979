"""Publishing: what a program calls to send an event to everyone who reads a topic."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from sse_app import outbox
from sse_app.conf import conf, topic_rules
from sse_app.doorbell import Doorbell
from sse_app.eventlog import get_event_log
from sse_app.eventlog.base import Draft, EventLog, Receipt
from sse_app.events import ServerSentEvent
from sse_app.hub import hubs
from sse_app.payloads import to_text
from sse_app.positions import Position
from sse_app.topics import TopicKind

# Named by the protocol between the app and its clients, or colliding with EventSource's own events.
RESERVED_EVENTS = frozenset({"cursor", "reset", "lagged", "shutdown", "closed", "open", "error"})
# What the log has room for.
MAX_EVENT_NAME = 100
MAX_IDEMPOTENCY_KEY = 200


class EventTooLarge(ValueError):
    """The event's data exceeds ``SSE_MAX_EVENT_BYTES``."""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a publish.

    ``position`` is None where the event has none, or none yet: on an ephemeral topic, and inside a
    transaction with a log that appends on commit. ``receivers`` counts the streams of this process
    that read the topic; other processes may have more.
    """

    topic: str
    position: Position | None
    receivers: int

    @property
    def id(self) -> str | None:
        """The cursor that a reader of this topic alone has after the event."""
        return None if self.position is None else f"{self.topic}={self.position}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One event of a batch."""

    topic: str
    data: Any
    event: str | None = None
    idempotency_key: str | None = None


def publish(
    topic: str, data: Any, *, event: str | None = None, idempotency_key: str | None = None
) -> Published:
    """Send an event to everyone who reads the topic, once the current transaction commits.

    ``data``: a str as it is, UTF-8 bytes, or anything JSON can carry. With the ORM log the event
    exists if and only if the transaction commits. A second publish with the same ``idempotency_key``
    (1 to 200 characters) to the same topic within ``SSE_IDEMPOTENCY_WINDOW`` sends nothing and gives
    the position of the first. Raises IllegalTopic, UnknownTopic, EventTooLarge, or ValueError for a
    reserved event name, an unusable key or data without a JSON form; nothing is sent then.
    """
    return publish_many([Outgoing(topic, data, event, idempotency_key)])[0]


async def apublish(
    topic: str, data: Any, *, event: str | None = None, idempotency_key: str | None = None
) -> Published:
    """Do what ``publish`` does, from asynchronous code."""
    return await sync_to_async(publish)(topic, data, event=event, idempotency_key=idempotency_key)


def publish_many(events: Iterable[Outgoing | tuple[Any, ...]]) -> list[Published]:
    """Send many events: ``Outgoing``, or tuples of (topic, data, event, key); answer in their order.

    Each topic gets one append to the log and one doorbell. With the ORM log they are sent all or
    none, and topics are locked in the order of their names; the others append to each topic all or
    none. Raises what ``publish`` raises; nothing is sent then.
    """
    batch = _Batch([item if isinstance(item, Outgoing) else Outgoing(*item) for item in events])
    log = get_event_log()
    if not batch.is_logged and not transaction.get_connection(log.alias).in_atomic_block:
        batch.ring()  # on_commit would connect to a database that has no part in it
    elif not batch.is_logged:
        _on_commit(batch.ring, log.alias)
    elif log.transactional:
        with transaction.atomic(using=log.alias):
            batch.append(log)
            _on_commit(batch.ring, log.alias)
    elif transaction.get_connection(log.alias).in_atomic_block:
        _on_commit(lambda: batch.append_and_ring(log), log.alias)
    else:
        batch.append_and_ring(log)
    return batch.published()


async def apublish_many(events: Iterable[Outgoing | tuple[Any, ...]]) -> list[Published]:
    """Do what ``publish_many`` does, from asynchronous code."""
    return await sync_to_async(publish_many)(events)


def listeners(topic: str) -> int:
    """Count the streams of this process that read the topic; other processes may have more."""
    return sum(hub.count(topic) for hub in hubs())


class _Batch:
    """Checked events, by topic, on their way into the log and to the readers."""

    def __init__(self, events: Sequence[Outgoing]) -> None:
        self._topics = [event.topic for event in events]
        self._kinds = {topic: topic_rules().rule(topic).kind for topic in self._topics}
        self._drafts: dict[str, list[Draft]] = {}
        for event in events:
            self._drafts.setdefault(event.topic, []).append(_checked(event, self._kinds[event.topic]))
        self._receipts: dict[str, list[Receipt]] = {}

    @property
    def is_logged(self) -> bool:
        """Whether any of the topics has a log."""
        return any(kind is not TopicKind.EPHEMERAL for kind in self._kinds.values())

    def append_and_ring(self, log: EventLog) -> None:
        """Append to a log that has no part in the transaction, and tell the readers."""
        self.append(log)
        self.ring()

    def append(self, log: EventLog) -> None:
        """Append to the log."""
        logged = {
            topic: drafts
            for topic, drafts in self._drafts.items()
            if self._kinds[topic] is not TopicKind.EPHEMERAL
        }
        latest = {topic for topic, kind in self._kinds.items() if kind is TopicKind.LATEST}
        self._receipts = log.append_batches(logged, keep_one=latest)

    def ring(self) -> None:
        """Tell this process's hubs directly, and the other processes over the channel layer."""
        here = hubs()
        for topic in self._drafts:
            for bell in self._bells(topic):
                for hub in here:
                    hub.ring(bell)
                outbox.send(bell, here[0].loop if here else None)

    def published(self) -> list[Published]:
        """Say what became of each event, in the order in which they came."""
        positions = {topic: iter(receipts) for topic, receipts in self._receipts.items()}
        receivers = {topic: listeners(topic) for topic in self._drafts}
        return [
            Published(
                topic, next(positions[topic]).position if topic in positions else None, receivers[topic]
            )
            for topic in self._topics
        ]

    def _bells(self, topic: str) -> Iterator[Doorbell]:
        receipts = self._receipts.get(topic)
        if receipts is None:
            yield from (Doorbell(topic, event=draft.event, data=draft.data) for draft in self._drafts[topic])
        elif len(receipts) == 1 and receipts[0].entry is not None:
            yield Doorbell.of(receipts[0].entry)
        else:  # the readers' processes fetch from the log a batch, and what an earlier try has appended
            last = max(receipts, key=lambda receipt: receipt.position.seq)
            yield Doorbell(topic, last.position, last.prev)


def _checked(outgoing: Outgoing, kind: TopicKind) -> Draft:
    name = _checked_name(outgoing.event)
    key = _checked_key(outgoing, kind)
    text = to_text(outgoing.data)
    if "\0" in text:
        raise ValueError("data: must not contain NUL, which PostgreSQL can't keep; JSON escapes it")
    size = len(text.encode())
    if size > conf.SSE_MAX_EVENT_BYTES:
        raise EventTooLarge(
            f"data: {size} bytes are more than the {conf.SSE_MAX_EVENT_BYTES} of SSE_MAX_EVENT_BYTES"
        )
    return Draft(name, text, key)


def _checked_name(event: str | None) -> str | None:
    if isinstance(event, str) and event in RESERVED_EVENTS:
        reserved = ", ".join(sorted(RESERVED_EVENTS))
        raise ValueError(f"event: {event!r} is reserved, as are {reserved}")
    name = ServerSentEvent(event=event).event
    if name is not None and "\0" in name:
        raise ValueError("event: must not contain NUL, which PostgreSQL can't keep")
    if name is not None and len(name) > MAX_EVENT_NAME:
        raise ValueError(f"event: must have at most {MAX_EVENT_NAME} characters, not {len(name)}")
    return name


def _checked_key(outgoing: Outgoing, kind: TopicKind) -> str | None:
    key = outgoing.idempotency_key
    if key is None:
        return None
    require_key(key)
    if kind is TopicKind.EPHEMERAL:
        raise ValueError(f"idempotency_key: {outgoing.topic!r} is ephemeral, nothing remembers it")
    return str.__str__(key)  # of an enum too, the value


def require_key(key: object) -> None:
    """Raise ValueError unless it can be an idempotency key."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_IDEMPOTENCY_KEY or not key.isprintable():
        raise ValueError(
            f"idempotency_key: must be 1 to {MAX_IDEMPOTENCY_KEY} printable characters, not {key!r:.60}"
        )


def _on_commit(call: Any, alias: str | None) -> None:
    transaction.on_commit(call, using=alias, robust=True)
