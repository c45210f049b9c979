"""Publishing: what a program calls to send an event to everyone who reads a topic."""

from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.db import transaction

from sse_app.conf import conf, topic_rules
from sse_app.doorbell import Doorbell
from sse_app.eventlog import get_event_log
from sse_app.events import ServerSentEvent
from sse_app.hub import hubs
from sse_app.payloads import to_text
from sse_app.positions import Position
from sse_app.relay import outbox
from sse_app.topics import TopicKind

# Named by the protocol between the app and its clients, or colliding with EventSource's own events.
RESERVED_EVENTS = frozenset({"cursor", "reset", "lagged", "shutdown", "closed", "open", "error"})
# What the log has room for.
MAX_EVENT_NAME = 100


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


def publish(topic: str, data: Any, *, event: str | None = None) -> Published:
    """Send an event to everyone who reads the topic, once the current transaction commits.

    ``data``: a str as it is, UTF-8 bytes, or anything JSON can carry. With the ORM log the event
    exists if and only if the transaction commits. Raises IllegalTopic, UnknownTopic, EventTooLarge,
    or ValueError for a reserved event name or data without a JSON form; nothing is sent then.
    """
    kind = topic_rules().rule(topic).kind
    name, text = _checked(event, data)
    log = get_event_log()
    if kind is TopicKind.EPHEMERAL:
        _on_commit(lambda: _ring(Doorbell(topic, event=name, data=text)), log.alias)
        return Published(topic, None, _receivers(topic))
    keep_one = kind is TopicKind.LATEST
    if log.transactional:
        entry = log.append(topic, name, text, keep_one=keep_one)
        _on_commit(lambda: _ring(Doorbell.of(entry)), log.alias)
        return Published(topic, entry.position, _receivers(topic))
    done: list[Position] = []

    def append() -> None:
        appended = log.append(topic, name, text, keep_one=keep_one)
        done.append(appended.position)
        _ring(Doorbell.of(appended))

    _on_commit(append, log.alias)
    return Published(topic, done[0] if done else None, _receivers(topic))


async def apublish(topic: str, data: Any, *, event: str | None = None) -> Published:
    """Do what ``publish`` does, from asynchronous code."""
    return await sync_to_async(publish)(topic, data, event=event)


def _checked(event: str | None, data: Any) -> tuple[str | None, str]:
    if event in RESERVED_EVENTS:
        reserved = ", ".join(sorted(RESERVED_EVENTS))
        raise ValueError(f"event: {event!r} is reserved, as are {reserved}")
    text = to_text(data)
    name = ServerSentEvent(event=event).event
    if name is not None and len(name) > MAX_EVENT_NAME:
        raise ValueError(f"event: must have at most {MAX_EVENT_NAME} characters, not {len(name)}")
    size = len(text.encode())
    if size > conf.SSE_MAX_EVENT_BYTES:
        raise EventTooLarge(
            f"data: {size} bytes are more than the {conf.SSE_MAX_EVENT_BYTES} of SSE_MAX_EVENT_BYTES"
        )
    return name, text


def _on_commit(call: Any, alias: str | None) -> None:
    transaction.on_commit(call, using=alias, robust=True)


def _ring(bell: Doorbell) -> None:
    """Tell this process's hubs directly, and the other processes over the channel layer."""
    here = hubs()
    for hub in here:
        hub.ring(bell)
    outbox.send(bell, here[0].loop if here else None)


def _receivers(topic: str) -> int:
    return sum(hub.count(topic) for hub in hubs())
