"""The event logs, and what befalls them: each test that asks for one runs on all of them."""

from contextlib import contextmanager
from unittest import mock

import pytest
import redis
from django.utils import timezone

from sse_app import apublish
from sse_app.conf import conf
from sse_app.eventlog import get_event_log
from sse_app.models import Event, Topic
from sse_app.positions import decode_cursor

# Only one of them needs the database, whose emptying costs more than most tests.
LOGS = [pytest.param("orm", marks=pytest.mark.django_db(transaction=True)), "memory", "redis"]


def choose_log(request, settings):
    """Put an empty log of the kind that the fixture's parameter names into the settings."""
    settings.SSE_EVENT_LOG = request.param
    if request.param == "redis":
        settings.SSE_REDIS = request.getfixturevalue("redis_url")
        flush_redis(settings)
    return request.param


def flush_redis(settings):
    with redis.Redis.from_url(settings.SSE_REDIS) as client:
        client.flushall()


def wipe(settings):
    """Empty the log of the settings, as an accident would."""
    match conf.SSE_EVENT_LOG:
        case "orm":
            Event.objects.all().delete()
            Topic.objects.all().delete()
        case "memory":
            get_event_log().wipe()
        case "redis":
            flush_redis(settings)


@contextmanager
def clock_at(moment):
    """Let the clocks of those who append stand at a moment."""
    with (
        mock.patch.object(timezone, "now", return_value=moment),
        mock.patch("sse_app.eventlog.redis.time") as time,
    ):
        time.time.return_value = moment.timestamp()
        yield


def seq_of(cursor):
    """Give where in the topic the cursor is."""
    return decode_cursor(cursor)["orders"].seq


async def everything_after(cursor):
    """Give the ids and data of what the log has after a cursor."""
    entries = (await get_event_log().read("orders", seq_of(cursor) + 1, 10_000)).entries
    return [(f"orders={entry.position}", entry.data) for entry in entries]


async def take(stream, count):
    """Give the ids and data of the next so many events."""
    events = [await stream.event() for _ in range(count)]
    assert {event.event for event in events} <= {None}
    return [(event.id, event.data) for event in events]


async def assert_complete(stream, cursor):
    """From the cursor on everything comes, once and in order, up to what is published now."""
    await apublish("orders", "end")
    expected = await everything_after(cursor)
    assert await take(stream, len(expected)) == expected
    assert expected[-1][1] == "end"
    assert stream.events == []
