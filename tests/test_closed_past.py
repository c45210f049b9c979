"""Policies that open a topic but not its past: what they refuse, and what goes on all the same."""

import asyncio
import json
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from sse_app import TopicPolicy, apublish
from sse_app.eventlog import get_event_log
from tests.accounts import signed_in
from tests.asgi import fetch, request

app = get_asgi_application()

GENESIS = "0-00000000"
SINCE = "since=2026-01-01T00:00:00Z"


class NoPast(TopicPolicy):
    """Everyone reads everything new, and of alerts alone also the past."""

    def can_subscribe(self, user, scope, topic):
        return True

    def can_replay(self, user, scope, topic):
        return topic == "alerts"


class NoPastAsync(NoPast):
    async def can_replay(self, user, scope, topic):
        await asyncio.sleep(0)
        return topic == "alerts"


@pytest.fixture(autouse=True, params=["NoPast", "NoPastAsync"])
def closed_past(request, settings):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPIC_POLICY = f"{__name__}.{request.param}"
    settings.SSE_TOPICS = {"orders": {}, "alerts": {}, "replayed": {"reset_to": "oldest"}}


async def publish_three(topic="orders"):
    return [(await apublish(topic, str(number))).id for number in range(3)]


async def assert_only_new(stream, topic):
    """Nothing of the past comes, and what is published now comes."""
    await apublish(topic, "new")
    event = await stream.event()
    while event.event == "reset":
        event = await stream.event()
    assert event.data == "new"


def told(stream_event):
    return json.loads(stream_event.data)["topics"]


def unknown(topic):
    return {"topic": topic, "reason": "unknown", "missed": None}


PAST = [
    {"target": f"/sse/events/?topic=orders&{SINCE}"},
    {"target": "/sse/events/?topic=orders&last_event_id=earliest"},
    {"target": "/sse/events/?topic=orders", "last_event_id": "earliest"},
    {"target": f"/sse/topics/orders/?{SINCE}"},
    {"target": f"/sse/events/?topic=alerts&topic=orders&{SINCE}"},
    {"target": "/sse/topics/orders/?since=2999-01-01T00:00:00Z"},
    {"target": "/sse/topics/orders/export/"},
    {"target": "/sse/topics/orders/export/?after=3-00000000"},
    {"target": "/sse/topics/orders/export/?since=2999-01-01T00:00:00Z&limit=1"},
]


async def assert_refused(status, error, **options):
    await publish_three()
    for ask in PAST:
        answer = await fetch(app, **ask, **options)
        assert (answer.status, answer.content.decode()) == (status, json.dumps({"error": error})), ask
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"


async def test_the_past_is_not_for_anyone():
    await assert_refused(401, "you may not read the past of 'orders'; sign in first")


@pytest.mark.django_db(transaction=True)
async def test_the_past_is_not_for_those_who_signed_in_either():
    await assert_refused(403, "you may not read the past of 'orders'", headers=await signed_in())


async def test_a_topic_whose_past_is_open_is_given():
    await publish_three("alerts")
    async with request(app, "/sse/topics/alerts/?last_event_id=earliest") as stream:
        assert [(await stream.event()).data for _ in range(3)] == ["0", "1", "2"]
    export = await fetch(app, "/sse/topics/alerts/export/")
    assert [json.loads(line)["data"] for line in export.content.splitlines()] == ["0", "1", "2"]


async def test_a_stream_that_begins_now_is_not_the_past():
    *_, head = await publish_three()
    async with request(app, "/sse/topics/orders/") as stream:
        assert await stream.primed() == head
        await assert_only_new(stream, "orders")


async def test_a_cursor_that_proves_itself_goes_on():
    first, *_ = await publish_three()
    async with request(app, "/sse/topics/orders/", last_event_id=first) as stream:
        assert [(await stream.event()).data for _ in range(2)] == ["1", "2"]
        await assert_only_new(stream, "orders")


async def test_a_cursor_from_before_the_first_event_is_as_good_as_none():
    *_, head = await publish_three()
    cursor = f"orders={GENESIS}"
    for query, header in (("", cursor), (f"?last_event_id={quote(cursor)}", None)):
        async with request(app, f"/sse/topics/orders/{query}", last_event_id=header) as stream:
            reset = await stream.event("reset")
            assert (told(reset), reset.id) == ([unknown("orders")], head)
            await assert_only_new(stream, "orders")
        *_, head = await publish_three()


async def test_of_several_topics_only_those_are_reset_whose_past_is_closed():
    await publish_three("orders")
    await publish_three("alerts")
    cursor = f"orders={GENESIS}&alerts={GENESIS}"
    async with request(app, "/sse/events/?topic=orders&topic=alerts", last_event_id=cursor) as stream:
        events = [await stream.event() for _ in range(4)]
    (reset,) = [event for event in events if event.event == "reset"]
    assert told(reset) == [unknown("orders")]
    assert [event.data for event in events if event is not reset] == ["0", "1", "2"]


async def test_a_reader_that_is_reset_then_goes_on_with_a_cursor_of_its_own():
    await publish_three()
    async with request(app, "/sse/topics/orders/", last_event_id=f"orders={GENESIS}") as stream:
        cursor = (await stream.event("reset")).id
    await apublish("orders", "missed")
    async with request(app, "/sse/topics/orders/", last_event_id=cursor) as stream:
        assert (await stream.event()).data == "missed"


FORGED = ["junk", f"replayed={GENESIS}", "orders=1-00000001", "replayed=2-00000000", "replayed=9-00000000"]


@pytest.mark.parametrize("cursor", [*FORGED, "replayed=1-00000000"])
async def test_a_reset_to_the_oldest_event_does_not_open_the_past_to_a_forged_cursor(cursor):
    await publish_three("replayed")
    if cursor not in FORGED:  # older than what is kept: nothing can tell whether it is forged
        await sync_to_async(get_event_log().trim)("replayed", keep=1, before=None)
    async with request(app, "/sse/topics/replayed/", last_event_id=cursor) as stream:
        await stream.event("reset")
        await assert_only_new(stream, "replayed")
