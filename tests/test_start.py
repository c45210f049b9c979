"""Streams that begin in the past: with everything that is kept, or since a moment."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from sse_app import EARLIEST, Subscription, TopicPolicy, apublish, apublish_many, publish, subscribe
from sse_app.eventlog import get_event_log
from tests.asgi import request
from tests.clock import run
from tests.logs import LOGS, choose_log, clock_at
from tests.world import World

app = get_asgi_application()

ORDERS = "/sse/events/?topic=orders"
MIDNIGHT = datetime(2026, 1, 31, tzinfo=UTC)
DAYS_AGO = "2026-01-01T00:00:00Z"


class Open(TopicPolicy):
    """Everyone reads everything."""

    def can_subscribe(self, user, scope, topic):
        return True


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPICS = {
        "orders": {},
        "alerts": {},
        "replayed": {"reset_to": "oldest"},
        "config": {"kind": "latest"},
        "ticks": {"kind": "ephemeral"},
    }
    settings.SSE_TOPIC_POLICY = f"{__name__}.Open"


@pytest.fixture(params=LOGS)
def log(request, settings):
    return choose_log(request, settings)


@sync_to_async
def one_a_minute(count, topic="orders"):
    """Publish events a minute apart, the first one minute after midnight; give their ids."""
    ids = []
    for minute in range(1, count + 1):
        with clock_at(MIDNIGHT + timedelta(minutes=minute)):
            ids.append(publish(topic, str(minute)).id)
    return ids


@sync_to_async
def trim(keep, topic="orders"):
    get_event_log().trim(topic, keep=keep, before=None)


async def until_now(stream, *topics):
    """Give what comes of each topic before what is published from now on."""
    given = {topic: [] for topic in topics or ("orders",)}
    await stream.primed()
    for topic in given:
        await apublish(topic, "end")
    waiting = set(given)
    while waiting:
        event = await stream.event()
        assert event.event is None, event
        topic = event.id.partition("=")[0]
        if event.data == "end":
            waiting.remove(topic)
        else:
            given[topic].append(event.data)
    return given if topics else given["orders"]


def numbers(first, last):
    return [str(number) for number in range(first, last + 1)]


EVERYTHING = [
    {"target": ORDERS, "last_event_id": "earliest"},
    {"target": f"{ORDERS}&last_event_id=earliest"},
    {"target": f"{ORDERS}&since={DAYS_AGO}"},
    {"target": "/sse/topics/orders/?last_event_id=earliest"},
]


async def test_everything_that_is_kept_comes_first_and_then_what_is_new(log):
    await one_a_minute(5)
    expected = numbers(1, 5)
    for ask in EVERYTHING:
        async with request(app, **ask) as stream:
            await stream.primed()
            assert [(await stream.event()).data for _ in expected] == expected, ask
            await apublish("orders", "live")
            assert (await stream.event()).data == "live", ask
        expected.append("live")


async def test_of_a_trimmed_log_comes_what_is_left_without_a_reset(log):
    for ask in EVERYTHING:
        await one_a_minute(5)
        await trim(2)
        async with request(app, **ask) as stream:
            assert await until_now(stream) == ["4", "5"], ask


async def test_a_log_without_entries_gives_only_what_is_new(log):
    head = "orders=0-00000000"
    for ask in EVERYTHING:
        async with request(app, **ask) as stream:
            assert await stream.primed() == head, ask
            head = (await apublish("orders", "live")).id
            event = await stream.event()
            assert (event.data, event.id) == ("live", head), ask
        await trim(0)


async def test_more_than_a_page_comes_whole_and_in_order(log):
    await apublish_many([("orders", number) for number in range(1, 301)])
    async with request(app, ORDERS, last_event_id="earliest") as stream:
        assert await until_now(stream) == numbers(1, 300)


SINCE = {
    "2026-01-30T00:00:00Z": 1,
    "1969-12-31T23:59:59Z": 1,
    "2026-01-31T00:01:00Z": 1,
    "2026-01-31T00:01:00.001Z": 2,
    "2026-01-31 00:03:30Z": 4,
    "2026-01-31T02:04:00%2B02:00": 4,
    "2026-01-31T02:04:00+02:00": 4,  # the plus sign arrives as a space
    "2026-01-31T00:05:00Z": 5,
}


async def test_since_a_moment_comes_what_was_written_then_or_later(log):
    await one_a_minute(5)
    for since, first in SINCE.items():
        async with request(app, f"{ORDERS}&since={quote(since, safe='+%')}") as stream:
            await stream.primed()
            given = [(await stream.event()).data for _ in range(first, 6)]
        assert given == numbers(first, 5), since


async def test_since_a_moment_after_the_newest_event_comes_only_what_is_new(log):
    *_, head = await one_a_minute(5)
    for since in ("2026-01-31T00:05:00.001Z", "2999-01-01T00:00:00Z"):
        async with request(app, f"{ORDERS}&since={since}") as stream:
            assert await stream.primed() == head


async def test_a_program_begins_where_it_wants(log):
    await one_a_minute(5)
    for since, first in ((EARLIEST, 1), (MIDNIGHT + timedelta(minutes=3), 3)):
        async with subscribe("orders", since=since) as messages:
            assert [(await anext(messages)).data for _ in range(first, 6)] == numbers(first, 5)


async def test_for_a_program_too_a_cursor_beats_the_moment():
    ids = await one_a_minute(3)
    messages = Subscription(["orders"], cursor=ids[1], since=EARLIEST)
    assert (await anext(messages)).data == "3"
    messages.close()


async def test_the_first_cursor_is_that_from_before_the_first_event(log):
    ids = await one_a_minute(3)
    async with request(app, f"{ORDERS}&since=2026-01-31T00:02:00Z") as stream:
        assert await stream.primed() == ids[0]


@pytest.mark.django_db(transaction=True)
async def test_topics_of_all_kinds_begin_each_in_its_own_way(log):
    topics = ["orders", "config", "alerts", "ticks", "replayed"]
    for topic, count in (("orders", 3), ("config", 4), ("alerts", 2)):
        await one_a_minute(count, topic)
    address = "/sse/events/?" + "&".join(f"topic={topic}" for topic in topics)
    async with request(app, address, last_event_id="earliest") as stream:
        given = await until_now(stream, *topics)
    assert given.pop("config") in (["4"], [])  # the newest value, or already the one after it
    assert given == {"orders": ["1", "2", "3"], "alerts": ["1", "2"], "ticks": [], "replayed": []}


async def test_what_is_published_while_the_beginning_is_looked_for_comes_once(log, monkeypatch):
    await one_a_minute(3)
    look = get_event_log().first_since

    async def look_while_others_publish(topic, moment):
        await apublish("orders", "before")
        seq = await look(topic, moment)
        await apublish("orders", "after")
        return seq

    monkeypatch.setattr(get_event_log(), "first_since", look_while_others_publish)
    async with request(app, f"{ORDERS}&since=2026-01-31T00:03:00Z") as stream:
        assert await until_now(stream) == ["3", "before", "after"]


def test_while_the_log_is_out_of_reach_keep_alives_go_on_and_then_everything_comes():
    async def play():
        world = World()
        world.publish()
        world.log.failing = True
        messages = Subscription(["orders"], since=EARLIEST, hub=world.hubs[0])
        blocks = messages.blocks(15)
        assert [await anext(blocks) for _ in range(4)] == [b":\n"] * 4
        world.log.failing = False
        assert b"event: cursor\nid: orders=0-00000000\n" in await anext(blocks)
        assert b"data: 0\n" in await anext(blocks)
        await blocks.aclose()
        await world.close()

    run(play())


async def test_the_cursor_of_a_browser_that_comes_back_beats_the_beginning_in_its_address(log):
    ids = await one_a_minute(4)
    for beginning in ("last_event_id=earliest", f"since={DAYS_AGO}"):
        async with request(app, f"{ORDERS}&{beginning}", last_event_id=ids[2]) as stream:
            assert await stream.primed() == ids[2]
            assert (await stream.event()).data == "4"


async def test_the_beginning_in_the_header_beats_what_the_address_says():
    ids = await one_a_minute(3)
    for beginning in (f"last_event_id={quote(ids[1])}", "since=2026-01-31T00:03:00Z"):
        async with request(app, f"{ORDERS}&{beginning}", last_event_id="earliest") as stream:
            await stream.primed()
            assert [(await stream.event()).data for _ in range(3)] == ["1", "2", "3"]
