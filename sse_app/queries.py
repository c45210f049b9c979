"""Queries: what a client asks for in the address of a stream, the same for every way in."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from sse_app.refusals import Refused
from sse_app.subscribing import EARLIEST
from sse_app.subscription import Subscription
from sse_app.topics import UnknownTopic

T = TypeVar("T")


def named_topics(query: QueryDict) -> list[str]:
    """Give the topics that the query names, or refuse."""
    topics: list[str] = query.getlist("topic")
    if not topics:
        raise Refused(400, "name at least one topic, as in ?topic=notifications")
    return topics


def make_subscription(topics: Iterable[str], query: QueryDict, cursor: str | None) -> Subscription:
    """Give the subscription that the query describes, or refuse; nobody has admitted it yet."""
    since = parameter(query, "since", parse_moment)
    if since is not None and "last_event_id" in query:
        raise Refused(400, "give last_event_id or since, not both")
    if cursor == "earliest":
        cursor, since = None, EARLIEST
    try:
        return Subscription(topics, cursor=cursor, since=None if cursor else since)
    except UnknownTopic as error:
        raise Refused(404, error.args[0]) from error
    except ValueError as error:
        raise Refused(400, str(error)) from error


def parameter(query: QueryDict, name: str, parse: Callable[[str], T]) -> T | None:
    """Give what ``parse`` makes of a parameter, None where there is none; refuse what it can't parse."""
    text = query.get(name)
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise Refused(400, str(error)) from error


def parse_moment(text: str) -> datetime:
    """Read a time with its zone. Raises ValueError."""
    try:
        # A plus sign that was not escaped arrives as a space.
        moment = parse_datetime(text.replace(" ", "+")) or parse_datetime(text)
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or one at the ends of time that UTC has not
        pass
    raise ValueError(f"since: must be a time with its zone, such as 2026-01-31T12:00:00Z, not {text!r}")
