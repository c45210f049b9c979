"""Snapshots among other topics, before slow clients, and in streams that fail or are closed."""

import asyncio
import threading
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from django.core.asgi import get_asgi_application

from sse_app import ServerSentEvent, Subscription, apublish
from sse_app.snapshot import MAX_AHEAD
from tests.asgi import poll, request
from tests.clock import run
from tests.snapshot_makers import KINDS, SHOWN, Maker, blocks, reset, shown
from tests.world import World

app = get_asgi_application()

MAKERS = "tests.snapshot_makers"
ORDERS = "/sse/events/?topic=orders"
GENESIS = "0-00000000"


@pytest.fixture(autouse=True)
def declared(settings, monkeypatch):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"
    settings.SSE_TOPICS = {
        "orders": {"snapshot": f"{MAKERS}.slow"},
        "alerts": {},
        "ticks": {"kind": "ephemeral", "snapshot": f"{MAKERS}.plain"},
        "config": {"kind": "latest", "snapshot": f"{MAKERS}.generator"},
    }
    Maker.begin(monkeypatch)


@pytest.fixture(params=KINDS)
def each_kind(request, settings):
    settings.SSE_TOPICS = {"orders": {"snapshot": f"{MAKERS}.{request.param}"}}


def making():
    return [task for task in asyncio.all_tasks() if "Snapshot" in repr(task.get_coro())]


# Several topics.


async def test_the_other_topics_of_a_stream_wait_for_the_snapshot():
    stopped = asyncio.Event()
    Maker.midway = stopped.wait
    async with request(app, "/sse/events/?topic=alerts&topic=orders") as stream:
        await blocks(stream, 2)
        await apublish("alerts", "meanwhile")
        stopped.set()
        assert await blocks(stream, 2) == [(event, data, None) for event, data in SHOWN[1:]]
        assert await blocks(stream, 1) == [("cursor", "", f"alerts={GENESIS}&orders={GENESIS}")]
        assert [data for _, data, _ in await blocks(stream, 1)] == ["meanwhile"]


async def test_snapshots_of_several_topics_come_one_after_the_other():
    value = (await apublish("config", "value")).position
    async with request(app, "/sse/events/?topic=config&topic=alerts&topic=orders") as stream:
        *opening, cursor, newest = await blocks(stream, 9)
    assert opening == [("cursor", "", None), *shown(), *shown()]
    assert [topic for _, _, topic in Maker.calls] == ["config"]
    assert cursor[2] == f"config={GENESIS}&alerts={GENESIS}&orders={GENESIS}"
    assert newest == (None, "value", f"config={value}&alerts={GENESIS}&orders={GENESIS}")


async def test_only_the_topic_that_the_cursor_lacks_is_shown():
    alert = (await apublish("alerts", "1")).id
    await apublish("alerts", "2")
    async with request(app, "/sse/events/?topic=alerts&topic=orders", last_event_id=alert) as stream:
        assert await blocks(stream, 5) == [
            ("cursor", "", None),
            *shown(),
            ("cursor", "", f"{alert}&orders={GENESIS}"),
        ]
        assert [data for _, data, _ in await blocks(stream, 1)] == ["2"]


async def test_only_the_topic_that_was_reset_is_shown_again():
    cursor = f"orders=9-00000009&config={GENESIS}"
    async with request(app, "/sse/events/?topic=orders&topic=config", last_event_id=cursor) as stream:
        assert (await blocks(stream, 5))[1:] == [reset("rewound"), *shown()]
    assert Maker.calls == []  # of the function that shows the other topic


async def test_an_ephemeral_topic_is_shown_at_each_connect():
    for cursor in (None, "ticks=", "ticks=7-00000007", "junk"):
        async with request(app, "/sse/topics/ticks/", last_event_id=cursor) as stream:
            assert await blocks(stream, 5) == [("cursor", "", None), *shown(), ("cursor", "", "ticks=")]


# Failures.


async def assert_failed(stream, caplog, *texts):
    """The stream has ended without a cursor, and the error is logged."""
    await stream.until(lambda: stream.ended)
    assert stream.decoder.last_event_id == ""
    assert stream.status == 200
    assert "a stream failed" in caplog.text
    for text in texts:
        assert text in caplog.text
        assert text.encode() not in stream.content


async def test_a_function_that_fails_ends_the_stream_and_the_next_connect_gets_it_whole(each_kind, caplog):
    Maker.error = RuntimeError("the orders are out of reach")
    async with request(app, ORDERS) as stream:
        await assert_failed(stream, caplog, "RuntimeError: the orders are out of reach")
    Maker.error = None
    async with request(app, ORDERS) as stream:
        assert await blocks(stream, 5) == [
            ("cursor", "", None),
            *shown(),
            ("cursor", "", f"orders={GENESIS}"),
        ]


async def test_an_event_with_an_id_is_refused(each_kind, caplog):
    Maker.parts = ["fine", ServerSentEvent("x", id="7")]
    async with request(app, ORDERS) as stream:
        await assert_failed(
            stream, caplog, "ValueError: a snapshot's event must have no id, but this one has '7'"
        )
    assert "data: fine\n" in stream.content.decode()


async def test_what_has_no_form_on_the_wire_is_refused(each_kind, caplog):
    Maker.parts = ["fine", object()]
    async with request(app, ORDERS) as stream:
        await assert_failed(stream, caplog, "ValueError: data: not JSON: object has no JSON form")


async def test_a_stray_cancellation_is_a_failure_too(settings, caplog):
    """It comes from a client library that has cancelled its own request, say; nobody has asked for it."""
    settings.SSE_TOPICS = {"orders": {"snapshot": f"{MAKERS}.coroutine"}}
    Maker.error = asyncio.CancelledError()
    async with request(app, ORDERS) as stream:
        await assert_failed(stream, caplog)


async def test_after_a_failure_in_a_reset_the_reader_comes_back_with_its_old_cursor(settings, caplog):
    settings.SSE_TOPICS = {"orders": {"snapshot": f"{MAKERS}.async_generator"}}
    old = "orders=9-00000009"
    Maker.error = RuntimeError("out of reach")
    async with request(app, ORDERS, last_event_id=old) as stream:
        await stream.until(lambda: stream.ended)
        assert [event.id for event in stream.events] == [old, None]
    Maker.error = None
    async with request(app, ORDERS, last_event_id=old) as stream:
        end = ("cursor", "", f"orders={GENESIS}")
        assert await blocks(stream, 6) == [("cursor", "", old), reset("rewound"), *shown(), end]


# Slow clients, and those that go.


async def test_it_is_not_made_far_ahead_of_a_slow_client():
    made = []
    Maker.parts = (made.append(number) or number for number in range(1000))
    async with request(app, ORDERS) as stream:
        await stream.until(lambda: stream.status)
        stream.stall()
        await poll(lambda: stream.blocked_in_send)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(made) <= 3 * MAX_AHEAD
        stream.resume()
        _, *parts, cursor = await blocks(stream, 1002)
    assert [int(data) for _, data, _ in parts] == list(range(1000))
    assert cursor[2] == f"orders={GENESIS}"


@pytest.mark.parametrize("where", ["at work", "waiting for the client"])
async def test_closing_in_the_middle_leaves_no_task_and_ends_the_function_where_it_ran(where):
    if where == "at work":
        Maker.midway = asyncio.Event().wait
    else:
        Maker.parts = range(1000)
    async with request(app, ORDERS) as stream:
        await stream.until(lambda: Maker.tasks)
        if where == "waiting for the client":
            stream.stall()
            await poll(lambda: stream.blocked_in_send)
        assert len(making()) == 1
    await poll(lambda: not making())
    began, ended = Maker.tasks
    assert began is ended


@pytest.mark.django_db(transaction=True)
async def test_functions_that_take_their_time_do_not_hold_up_what_others_read(settings, monkeypatch):
    """They run in the threads that read the log; the tick, which alone finds a lost bell, needs one."""
    settings.SSE_EVENT_LOG = "orm"
    settings.SSE_TOPICS = {"alerts": {}, "orders": {"snapshot": f"{MAKERS}.plain"}}
    going_on = threading.Event()
    Maker.midway = lambda: going_on.wait(30)
    async with AsyncExitStack() as stack:
        stack.callback(going_on.set)
        reader = await stack.enter_async_context(request(app, "/sse/topics/alerts/"))
        await reader.primed()
        for number in range(1, 9):
            await stack.enter_async_context(request(app, ORDERS))
            await poll(lambda number=number: len(making()) == number)
        monkeypatch.setattr("sse_app.hub.Hub.ring", lambda hub, bell: None)
        await apublish("alerts", "found by the tick")
        async with asyncio.timeout(5):
            await reader.until(lambda: b"found by the tick" in reader.content)
        going_on.set()


def test_keep_alives_go_on_while_it_is_made():
    async def orders():
        for number in range(3):
            await asyncio.sleep(40)
            yield ServerSentEvent(number)

    async def play():
        world = World()
        stream = Subscription(["orders"], hub=world.hubs[0])
        stream.snapshots = {"orders": orders}
        blocks, times, kinds = stream.blocks(15), [0], []
        while len(kinds) < 12:
            kinds.append((await anext(blocks)).partition(b"\n")[0])
            times.append(asyncio.get_running_loop().time())
        await blocks.aclose()
        await world.close()
        assert kinds == [b"event: cursor", *[b":", b":", b"data: 0"], *[b":", b":", b"data: 1"],
                         *[b":", b":", b"data: 2", b"event: cursor"], b":"]  # fmt: skip
        assert max(after - before for before, after in pairwise(times)) <= 15.1

    run(play())
