"""Filters: what a policy hides is nowhere delivered, moves the cursor all the same, and hurts nobody."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from sse_app import Subscription, TopicPolicy, apublish, apublish_many
from sse_app.doorbell import Doorbell
from sse_app.eventlog import get_event_log
from sse_app.events import EventDecoder
from tests.accounts import signed_in
from tests.asgi import fetch, request
from tests.clock import run
from tests.logs import LOGS, choose_log
from tests.world import World

app = get_asgi_application()

ORDERS = "/sse/events/?topic=orders"
KEEP_ALIVE = b":\n"


def is_public(event, data):
    return event != "secret" and "secret" not in data


def faulty(event, data):
    if data == "poison":
        raise LookupError("no such customer")
    return True


class Policy(TopicPolicy):
    """Staff gets everything; the rest nothing that is secret, and of ``faulty`` what the filter can judge."""

    def can_subscribe(self, user, scope, topic):
        return True

    def event_filter(self, user, scope, topic):
        if user.is_authenticated and user.username == "staff":
            return None
        return faulty if b"faulty" in scope["query_string"] else is_public


class AsyncPolicy(Policy):
    async def event_filter(self, user, scope, topic):
        await asyncio.sleep(0)
        return super().event_filter(user, scope, topic)


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPIC_POLICY = f"{__name__}.Policy"
    settings.SSE_TOPICS = {
        "orders": {},
        "alerts": {},
        "config": {"kind": "latest"},
        "ticks": {"kind": "ephemeral"},
    }


@pytest.fixture(params=LOGS)
def log(request, settings):
    return choose_log(request, settings)


async def publish_mixed():
    """Publish what everyone may see and what is secret, by its name and by its data."""
    published = []
    for number in range(4):
        published.append(await apublish("orders", f"{number}"))
        published.append(await apublish("orders", f"{number}", event="secret"))
        published.append(await apublish("orders", {"secret": number}, event="order"))
    return published


@pytest.mark.parametrize("policy", ["Policy", "AsyncPolicy"])
async def test_hidden_events_are_not_delivered_live_nor_from_the_log(log, settings, policy):
    settings.SSE_TOPIC_POLICY = f"{__name__}.{policy}"
    async with request(app, ORDERS) as live, request(app, ORDERS) as other:
        await live.primed()
        await other.primed()
        published = await publish_mixed()
        given = [await live.event() for _ in range(4)]
    async with request(app, ORDERS, last_event_id="earliest") as late:
        replayed = [await late.event() for _ in range(4)]
    visible = [(one.id, f"{number}") for number, one in enumerate(published[::3])]
    assert [(event.id, event.data) for event in given] == visible
    assert [(event.id, event.data) for event in replayed] == visible
    assert b"secret" not in live.content + other.content + late.content


async def test_hidden_events_are_in_no_export(log):
    published = await publish_mixed()
    answer = await fetch(app, "/sse/topics/orders/export/")
    records = [json.loads(line) for line in answer.content.splitlines()]
    assert [record["id"] for record in records] == [one.id for one in published[::3]]
    limited = await fetch(app, "/sse/topics/orders/export/?limit=2&event=message")
    assert limited.content.count(b"\n") == 2
    assert b"secret" not in answer.content + limited.content


@pytest.mark.django_db(transaction=True)
async def test_another_user_gets_what_is_hidden_from_the_rest():
    async with (
        request(app, ORDERS, headers=await signed_in("staff")) as staff,
        request(app, ORDERS, headers=await signed_in("guest")) as guest,
    ):
        await staff.primed()
        await guest.primed()
        await publish_mixed()
        assert len([await staff.event() for _ in range(12)]) == 12
        assert [(await guest.event()).data for _ in range(4)] == ["0", "1", "2", "3"]
    assert b"secret" not in guest.content


async def test_of_a_latest_topic_a_hidden_value_does_not_arrive():
    await apublish("config", "secret")
    async with request(app, "/sse/topics/config/") as stream:
        await stream.primed()
        await apublish("config", "public")
        assert (await stream.event()).data == "public"
        await apublish("config", "secret again")
        await apublish("config", "public again")
        assert (await stream.event()).data == "public again"
    assert b"secret" not in stream.content


@pytest.mark.django_db(transaction=True)
async def test_of_an_ephemeral_topic_hidden_events_do_not_arrive():
    async with request(app, "/sse/topics/ticks/") as stream:
        await stream.primed()
        await apublish("ticks", "secret")
        await apublish("ticks", "public")
        assert (await stream.event()).data == "public"
    assert b"secret" not in stream.content


# The cursor moves.


async def test_a_reader_that_comes_back_with_the_moved_cursor_gets_no_repeat_and_no_reset(log, settings):
    settings.SSE_KEEP_ALIVE = 0.05
    async with request(app, ORDERS) as stream:
        await stream.primed()
        await apublish("orders", "seen")
        await stream.event()
        hidden = await apublish_many([("orders", "secret")] * 5)
        moved = await stream.primed()
    assert moved == hidden[-1].id
    await sync_to_async(get_event_log().trim)("orders", keep=0, before=None)  # only the head proves it
    await apublish("orders", "missed")
    async with request(app, ORDERS, last_event_id=moved) as stream:
        assert await stream.primed() == moved
        assert (await stream.event()).data == "missed"


def watched(play):
    """Play on virtual time, with a stream that hides what is secret; give its blocks and their times."""

    async def in_a_world():
        world = World()
        messages = Subscription(["orders", "ticks"], hub=world.hubs[0])
        messages.filters = dict.fromkeys(messages.rules, is_public)
        loop, seen = asyncio.get_running_loop(), []

        async def read():
            async for block in messages.blocks(15):
                seen.append((loop.time(), block))

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.1)
        await play(world)
        reading.cancel()
        await asyncio.wait({reading})
        await world.close()
        return seen[1:]

    return run(in_a_world())


def test_after_silence_comes_the_moved_cursor_once_and_then_plain_comments():
    async def play(world):
        for _ in range(3):
            world.publish(data="secret")
        await asyncio.sleep(50)
        ids.append(f"orders={world.head()}&ticks=")

    ids = []
    (time, block), *rest = watched(play)
    (cursor,) = EventDecoder().feed(block)
    assert time == pytest.approx(15, abs=0.2)
    assert (cursor.event, cursor.id, cursor.data) == ("cursor", ids[0], "")
    assert [block for _, block in rest] == [KEEP_ALIVE] * 2


def test_an_event_after_hidden_ones_tells_the_cursor_so_that_silence_needs_not():
    async def play(world):
        world.publish(data="secret")
        world.publish(data="public")
        await asyncio.sleep(40)

    (_, event), *rest = watched(play)
    assert b"data: public\n" in event
    assert [block for _, block in rest] == [KEEP_ALIVE] * 2


@pytest.mark.parametrize("topic", ["orders", "ticks"])
def test_keep_alives_keep_their_time_while_hidden_events_come_without_end(topic):
    async def play(world):
        for _ in range(1200):
            if topic == "orders":
                world.publish(data="secret")
            else:
                world.hubs[0].hint(Doorbell("ticks", data="secret"))
            await asyncio.sleep(0.05)

    seen = watched(play)
    moved = topic == "orders"  # a topic without a log has no place in the cursor that could move
    assert {block == KEEP_ALIVE for _, block in seen} == {not moved}
    times = [0.0, *(time for time, _ in seen)]
    assert len(times) in (4, 5)
    assert all(
        before + 14.9 <= after <= before + 15.1 for before, after in zip(times, times[1:], strict=False)
    )


# Filters at fault.


async def test_an_event_at_which_a_filter_fails_is_not_shown_and_the_streams_go_on(caplog):
    async with request(app, ORDERS) as healthy, request(app, f"{ORDERS}&faulty") as stream:
        await healthy.primed()
        await stream.primed()
        for data in ("fine", "poison", "after"):
            await apublish("orders", data)
        assert [(await healthy.event()).data for _ in range(3)] == ["fine", "poison", "after"]
        assert [(await stream.event()).data for _ in range(2)] == ["fine", "after"]
    assert "LookupError: no such customer" in caplog.text
    assert b"customer" not in stream.content
    assert b"poison" not in stream.content
