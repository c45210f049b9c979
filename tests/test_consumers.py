"""Topics over WebSocket: cursor, policy and snapshots as on the event stream, refusals by close code."""

import asyncio
import json

import pytest
from asgiref.sync import SyncToAsync
from channels.routing import URLRouter
from django.test import override_settings

from project.asgi import application
from sse_app import ServerSentEvent, TopicPolicy, apublish, apublish_many, subscribing
from sse_app.hub import hubs
from sse_app.routing import websocket_urlpatterns
from tests.accounts import signed_in
from tests.asgi import poll, request
from tests.sockets import talk

pytestmark = pytest.mark.django_db(transaction=True)

WS = "/sse/ws/?topic="
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"


class Hiding(TopicPolicy):
    def can_subscribe(self, user, scope, topic):
        assert scope["type"] == "websocket"
        return True

    async def can_replay(self, user, scope, topic):
        return topic != "secret"

    def event_filter(self, user, scope, topic):
        return lambda event, data: data != "hidden"


def orders(user, scope, topic):
    yield ServerSentEvent("so far", event="order")


def readers():
    return [reader for hub in hubs() for tail in hub.tails.values() for reader in tail.readers]


async def test_a_socket_opens_with_its_cursor_and_delivers_what_is_published():
    async with talk(application, f"{WS}notifications") as client:
        assert await client.frame() == {
            "topic": "",
            "event": "cursor",
            "data": "",
            "id": "notifications=0-00000000",
        }
        published = await apublish("notifications", {"title": "Hello"}, event="notification")
        assert published.receivers == 1
        assert await client.frame() == {
            "topic": "notifications",
            "event": "notification",
            "data": '{"title":"Hello"}',
            "id": published.id,
        }
        await apublish("notifications", "42")
        frame = await client.frame()
        assert (frame["event"], frame["data"]) == ("message", "42")
    assert readers() == []


async def test_it_goes_on_where_an_event_stream_was_cut_and_the_other_way_round():
    async with request(application, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish("notifications", "first")
        last = (await stream.event()).id
    await apublish_many([("notifications", str(number)) for number in range(300)])
    async with talk(application, f"{WS}notifications&last_event_id={last}") as client:
        await client.frame(event="cursor", id=last)
        frames = [await client.frame(topic="notifications") for _ in range(300)]
    assert [frame["data"] for frame in frames] == [str(number) for number in range(300)]
    await apublish("notifications", "later")
    async with request(application, "/sse/topics/notifications/", last_event_id=frames[-1]["id"]) as stream:
        assert (await stream.event()).data == "later"


@pytest.mark.parametrize("start", ["last_event_id=earliest", "since=2026-01-01T00:00:00Z"])
async def test_it_may_begin_in_the_past(start):
    await apublish_many([("notifications", "one"), ("notifications", "two")])
    async with talk(application, f"{WS}notifications&{start}") as client:
        assert [(await client.frame(topic="notifications"))["data"] for _ in range(2)] == ["one", "two"]


async def test_a_cursor_that_can_t_be_continued_gets_a_reset():
    await apublish("notifications", "one")
    async with talk(application, f"{WS}notifications&last_event_id=notifications=1-00000001") as client:
        frame = await client.frame(event="reset")
        assert frame["topic"] == ""
        (reset,) = json.loads(frame["data"])["topics"]
        assert (reset["topic"], reset["reason"]) == ("notifications", "forked")
        await apublish("notifications", "after")
        assert (await client.frame())["data"] == "after"


async def test_a_slow_reader_of_an_ephemeral_topic_is_told_that_it_lagged(settings):
    settings.SSE_RING_ENTRIES = 4
    async with talk(application, f"{WS}demo.ticks") as client:
        await client.frame(event="cursor")
        client.stall()
        await apublish("demo.ticks", "-1")
        await poll(lambda: client.waiting_to_send)
        await apublish_many([("demo.ticks", str(number)) for number in range(10)])
        client.resume()
        lagged = await client.frame(event="lagged")
        assert json.loads(lagged["data"]) == {"topic": "demo.ticks", "missed": 6}
        assert [(await client.frame())["data"] for _ in range(4)] == ["6", "7", "8", "9"]


@override_settings(SSE_TOPIC_POLICY=f"{__name__}.Hiding", SSE_KEEP_ALIVE=0.05)
async def test_what_the_policy_hides_is_not_sent_but_moves_the_cursor():
    async with talk(application, f"{WS}notifications") as client:
        await client.frame(event="cursor")
        await apublish("notifications", "hidden")
        shown = await apublish("notifications", "shown")
        assert (await client.frame(topic="notifications"))["data"] == "shown"
        hidden = await apublish("notifications", "hidden")
        await client.frame(event="cursor", id=hidden.id)
    assert shown.id != hidden.id


@override_settings(SSE_TOPICS={"orders": {"snapshot": f"{__name__}.orders"}})
@override_settings(SSE_TOPIC_POLICY=f"{__name__}.Hiding")
async def test_a_new_reader_gets_the_snapshot_first():
    async with talk(application, f"{WS}orders") as client:
        frame = await client.frame(topic="orders")
        assert (frame["event"], frame["data"], frame["id"]) == ("order", "so far", None)
        await client.frame(event="cursor", id="orders=0-00000000")
        published = await apublish("orders", "live")
        assert (await client.frame(topic="orders"))["id"] == published.id
    async with talk(application, f"{WS}orders&last_event_id={published.id}") as client:
        await client.frame(event="cursor", id=published.id)
        await apublish("orders", "next")
        assert (await client.frame(topic="orders"))["data"] == "next"


@override_settings(SSE_KEEP_ALIVE=0.05)
async def test_in_silence_the_cursor_is_told_again_as_a_heartbeat():
    async with talk(application, f"{WS}notifications") as client:
        for _ in range(3):
            await client.frame(event="cursor", id="notifications=0-00000000")


REFUSALS = [
    ("no topic", 4400, "name at least one topic, as in ?topic=notifications", "/sse/ws/"),
    ("illegal topic", 4400, f"illegal topic 'a b': {LEGAL}", f"{WS}a%20b"),
    ("unknown topic", 4404, "no topic 'nothing' is declared", f"{WS}nothing"),
    (
        "too many topics",
        4400,
        "21 topics are more than the 20 of SSE_MAX_TOPICS",
        "/sse/ws/?" + "&".join(f"topic=room.{number}" for number in range(21)),
    ),
    (
        "a bad moment",
        4400,
        "since: must be a time with its zone, such as 2026-01-31T12:00:00Z, not 'now'",
        f"{WS}notifications&since=now",
    ),
    (
        "two beginnings",
        4400,
        "give last_event_id or since, not both",
        f"{WS}notifications&last_event_id=x&since=2026-01-31T12:00:00Z",
    ),
    (
        "more parameters than Django takes",
        4400,
        "The number of GET/POST parameters exceeded settings.DATA_UPLOAD_MAX_NUMBER_FIELDS.",
        "/sse/ws/?" + "&".join(["topic=notifications"] * 1001),
    ),
    ("anonymous", 4401, "you may not read 'room.a'; sign in first", f"{WS}room.a"),
    (
        "one private topic of two",
        4401,
        "you may not read 'room.a'; sign in first",
        f"{WS}notifications&topic=room.a",
    ),
    ("no such address", 4404, "no WebSocket is served at /sse/nothing/", "/sse/nothing/?topic=notifications"),
]


@pytest.mark.parametrize(
    ("code", "error", "target"), [row[1:] for row in REFUSALS], ids=[r[0] for r in REFUSALS]
)
async def test_a_refusal_is_told_by_a_message_and_by_the_close_code(code, error, target):
    async with talk(application, target) as client:
        assert await client.closed() == (code, error[:123])
    assert client.accepted
    told = {
        "topic": "",
        "event": "error",
        "data": json.dumps({"code": code, "error": error}, separators=(",", ":")),
        "id": None,
    }
    assert client.frames == [told]
    assert readers() == []


async def test_one_who_is_signed_in_but_not_allowed_gets_4403():
    async with talk(application, f"{WS}user.0", headers=await signed_in()) as client:
        assert await client.closed() == (4403, "you may not read 'user.0'")


@override_settings(SSE_TOPICS={"secret": {}}, SSE_TOPIC_POLICY=f"{__name__}.Hiding")
async def test_the_past_is_closed_where_the_policy_says_so():
    async with talk(application, f"{WS}secret&last_event_id=earliest", headers=await signed_in()) as client:
        assert await client.closed() == (4403, "you may not read the past of 'secret'")


async def test_a_session_opens_what_its_user_may_read():
    async with talk(application, f"{WS}room.a", headers=await signed_in()) as client:
        await client.frame(event="cursor", id="room.a=0-00000000")


async def test_without_channels_authentication_it_says_what_is_missing():
    async with talk(URLRouter(websocket_urlpatterns), "/ws/?topic=notifications") as client:
        assert await client.closed() == (4501, "channels' AuthMiddlewareStack is missing")


@override_settings(SSE_MAX_MESSAGE_BYTES=10)
async def test_what_a_client_sends_is_ignored_up_to_the_limit_and_closes_with_1009_beyond():
    async with talk(application, f"{WS}notifications") as client:
        client.write("0123456789")
        await client.frame(event="cursor")
        client.write("01234567890")
        assert await client.closed() == (1009, "a message may have 10 bytes at most")
    assert readers() == []


async def test_a_client_that_goes_leaves_its_topics_at_once_whatever_the_server_waits_for():
    async with talk(application, f"{WS}notifications") as client:
        await client.frame(event="cursor")
        client.stall()
        await apublish("notifications", "hangs")
        await poll(lambda: client.waiting_to_send)
        client.leave()
        await client.closed()
        assert readers() == []


async def test_a_client_that_never_reads_holds_one_message_and_is_closed(settings):
    settings.SSE_SEND_TIMEOUT = 0.3
    async with talk(application, f"{WS}notifications") as client:
        await client.frame(event="cursor")
        client.stall()
        await apublish_many([("notifications", "x" * 1000) for _ in range(500)])
        await poll(lambda: client.waiting_to_send)
        assert client.waiting_to_send == 1
        await client.closed()
    assert readers() == []


async def test_an_open_socket_holds_no_thread_of_its_own():
    async with talk(application, f"{WS}room.a", headers=await signed_in()) as client:
        await client.frame(event="cursor")
        assert not SyncToAsync.context_to_thread_executor


@pytest.mark.parametrize("origin", [b"http://evil.example", b"null", b"https://testserver.evil.example"])
async def test_another_site_may_not_connect_with_its_visitors_cookies(settings, origin):
    settings.ALLOWED_HOSTS = ["testserver"]
    guarded = guarded_application()
    headers = [(b"origin", origin), *await signed_in()]
    async with talk(guarded, f"{WS}room.a", headers=headers) as client:
        await client.closed()
    assert not client.accepted


async def test_this_site_may(settings):
    settings.ALLOWED_HOSTS = ["testserver"]
    async with talk(guarded_application(), f"{WS}notifications") as client:
        await client.frame(event="cursor")


def guarded_application():
    """Make it as project.asgi does: the validator reads ALLOWED_HOSTS when it is made."""
    validator = application.application_mapping["websocket"]
    return type(validator)(validator.application, ["testserver"])


async def test_the_newest_events_come_first_for_one_who_begins_before_them():
    assert await subscribing.acursor_before("notifications", 3) == "notifications=0-00000000"
    published = await apublish_many([("notifications", str(number)) for number in range(5)])
    assert await subscribing.acursor_before("notifications", 3) == published[1].id
    assert await subscribing.acursor_before("notifications", 5) == "notifications=0-00000000"
    assert await subscribing.acursor_before("notifications", 9) == "notifications=0-00000000"
    async with (
        asyncio.timeout(10),
        subscribing.subscribe("notifications", cursor=published[1].id) as events,
    ):
        assert [(await anext(events)).data for _ in range(3)] == ["2", "3", "4"]
