"""History: the past events of a topic as records, from the log.

A record has the event's ``id``, which is also the place to go on ``after``.
"""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

from sse_app.entries import Entry, Page, Reason
from sse_app.eventlog import get_event_log
from sse_app.permissions import EventFilter
from sse_app.positions import Position, decode_cursor

PAGE_ENTRIES = 500


class NotContinued(LookupError):
    """The log can't go on after the position."""

    def __init__(self, topic: str, position: Position, reason: Reason) -> None:
        super().__init__(f"after: the log of {topic!r} can't go on after {position} ({reason})")
        self.reason = reason


def parse_position(topic: str, text: str) -> Position:
    """Read an event id of the topic, with or without the topic's name. Raises ValueError."""
    cursor = decode_cursor(text if "=" in text else f"{topic}={text}") or {}
    position = cursor.get(topic)
    if position is None:
        raise ValueError(
            f"after: {text!r} is not the id of an event of {topic!r}, such as '{topic}=7-11aa22bb'"
        )
    return position


async def history(
    topic: str,
    *,
    after: Position | None = None,
    since: datetime | None = None,
    event: str | None = None,
    limit: int | None = None,
    gets: EventFilter | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Give the kept events of a topic, oldest first, up to the head of this moment.

    ``after``: only those after this position. ``since``: from the first one written at or after the
    moment. ``event``: only those of this name, "message" for those without. ``limit``: at most so
    many. ``gets``: only those of whose name and data it is true. Raises NotContinued if the log can't
    prove the position, now or, as it is trimmed meanwhile, later.
    """
    log = get_event_log()
    start = 0 if since is None else await log.first_since(topic, since)
    if after is not None:
        start = max(start, after.seq)
    page = await log.read(topic, start, PAGE_ENTRIES)
    if after is not None and start == after.seq and (reason := page.after(after).reason):
        raise NotContinued(topic, after, reason)
    skipped = after.seq if after is not None else 0
    return _records(topic, page, skipped, limit, lambda entry: _is_wanted(entry, event, gets))


async def _records(
    topic: str, page: Page, skipped: int, limit: int | None, wanted: Callable[[Entry], bool]
) -> AsyncIterator[dict[str, Any]]:
    log = get_event_log()
    end = page.head.seq
    left = limit
    while True:
        for entry in page.entries:
            if not skipped < entry.position.seq <= end or left == 0:
                continue
            if wanted(entry):
                left = None if left is None else left - 1
                yield _record(entry)
        if left == 0 or not page.entries or page.entries[-1].position.seq >= end:
            return
        last = page.entries[-1].position
        skipped = last.seq
        page = await log.read(topic, last.seq, PAGE_ENTRIES)
        if reason := page.after(last).reason:
            raise NotContinued(topic, last, reason)


def _is_wanted(entry: Entry, event: str | None, gets: EventFilter | None) -> bool:
    return event in (None, entry.event or "message") and (gets is None or gets(entry.event, entry.data))


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "id": f"{entry.topic}={entry.position}",
        "topic": entry.topic,
        "event": entry.event or "message",
        "data": entry.data,
        "created_at": entry.created_at,
    }
