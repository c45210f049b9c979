"""The addresses, driven through ASGI: streams, publishing, refusals."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from project.urls import urlpatterns as addresses
from sse_app import apublish, publish, views
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.hub import hubs
from tests.accounts import signed_in
from tests.asgi import fetch, poll, request

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

STREAM = "/sse/events/?topic=notifications"
TOPIC = "/sse/topics/notifications/"
BARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


async def an_ordinary_view(request):
    return HttpResponse("fine")


urlpatterns = [path("ordinary/", an_ordinary_view), *addresses]


class FailingLog(MemoryEventLog):
    async def check(self):
        raise ConnectionError("database password is hunter2")


class SilentLog(MemoryEventLog):
    async def check(self):
        await asyncio.Event().wait()


def readers():
    return [reader for hub in hubs() for tail in hub.tails.values() for reader in tail.readers]


async def assert_live(stream, topic="notifications"):
    """The stream is primed, with the cursor that is returned, and what is published arrives."""
    cursor = await stream.primed()
    published = await apublish(topic, {"title": "Hello"})
    event = await stream.event()
    assert (event.data, event.id) == ('{"title":"Hello"}', published.id)
    return cursor


async def test_a_stream_opens_with_its_cursor_and_delivers_what_is_published():
    async with request(app, "/sse/events/?topic=notifications") as stream:
        assert await stream.primed() == "notifications=0-00000000"
        assert stream.status == 200
        published = await apublish("notifications", {"title": "Hello"}, event="notification")
        event = await stream.event("notification")
    assert published.receivers == 1
    assert json.loads(event.data) == {"title": "Hello"}
    assert event.id == published.id == f"notifications={published.position}"


async def test_a_client_that_comes_back_gets_exactly_what_it_missed():
    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish("notifications", "first")
        last = (await stream.event()).id
    for number in range(300):
        await apublish("notifications", str(number))
    async with request(app, "/sse/topics/notifications/", last_event_id=last) as stream:
        assert [(await stream.event()).data for _ in range(300)] == [str(n) for n in range(300)]
        await apublish("notifications", "live again")
        assert (await stream.event()).data == "live again"


async def test_what_is_rolled_back_is_never_sent():
    def roll_back():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish("notifications", "never")
            1 / 0  # noqa: B018

    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await sync_to_async(roll_back)()
        await apublish("notifications", "after")
        event = await stream.event()
    assert event.data == "after"
    assert event.id.startswith("notifications=1-")


@override_settings(SSE_TICK=None)
async def test_without_the_tick_the_doorbell_alone_delivers():
    async with request(app, "/sse/topics/notifications/") as stream:
        await stream.primed()
        await apublish("notifications", "rung")
        assert (await stream.event()).data == "rung"


async def test_streams_work_under_atomic_requests(monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    with override_settings(ROOT_URLCONF=__name__):
        refused_by_django = await fetch(app, "/ordinary/")
        async with request(app, STREAM) as stream:
            await assert_live(stream)
        headers = await signed_in(may_publish=True)
        sent = await fetch(app, TOPIC, method="POST", headers=headers, body=b'{"data": 1}')
    assert refused_by_django.status == 500
    assert sent.status == 201


async def test_events_are_plain_where_gzip_middleware_packs_the_rest():
    with override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]):
        zipping = get_asgi_application()
        page = await fetch(zipping, "/", headers=[(b"accept-encoding", b"gzip")])
        async with request(zipping, STREAM, headers=[(b"accept-encoding", b"gzip")]) as stream:
            await assert_live(stream)
            await apublish("notifications", "x" * 10_000)
            assert (await stream.event()).data == "x" * 10_000
    assert page.headers["content-encoding"] == "gzip"
    assert stream.headers["content-encoding"] == "identity"


async def test_a_public_topic_needs_no_login_under_login_required_middleware():
    middleware = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        guarded = get_asgi_application()
        page = await fetch(guarded, "/")
        async with request(guarded, STREAM) as stream:
            await assert_live(stream)
        health = await fetch(guarded, "/sse/health/live/")
    assert (page.status, health.status) == (302, 200)


@pytest.mark.parametrize("target", [STREAM, TOPIC])
async def test_head_gives_the_headers_and_attaches_nobody(target):
    answer = await fetch(app, target, method="HEAD")
    assert (answer.status, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"
    assert readers() == []


async def test_a_client_that_goes_is_detached_at_once():
    async with request(app, STREAM) as stream:
        await stream.primed()
        assert len(readers()) == 1
    await poll(lambda: readers() == [])


STREAM_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "content-encoding": "identity",
    "vary": "Cookie",
}


@override_settings(MIDDLEWARE=BARE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stream_has_exactly_these_headers(method):
    async with request(get_asgi_application(), STREAM, method=method) as stream:
        await stream.until(lambda: stream.status)
    assert stream.headers == STREAM_HEADERS


@override_settings(MIDDLEWARE=BARE)
async def test_what_a_signed_in_reader_gets_is_stored_nowhere():
    headers = await signed_in()
    async with request(get_asgi_application(), STREAM, headers=headers) as stream:
        await stream.until(lambda: stream.status)
    assert stream.headers == {**STREAM_HEADERS, "cache-control": "no-store, no-transform"}


async def test_the_sites_own_middleware_adds_nothing_that_holds_a_stream_back():
    async with request(app, STREAM) as stream:
        await stream.until(lambda: stream.status)
    assert stream.headers.items() >= STREAM_HEADERS.items()
    assert not {"connection", "content-length", "etag", "transfer-encoding"} & stream.headers.keys()


@override_settings(SSE_CONTENT_ENCODING="")
async def test_the_content_encoding_can_be_left_out():
    async with request(app, STREAM) as stream:
        await stream.until(lambda: stream.status)
    assert "content-encoding" not in stream.headers


async def test_a_stream_of_several_topics_carries_one_cursor_for_all():
    headers = await signed_in()
    target = "/sse/events/?topic=notifications&topic=demo.clock&topic=room.a"
    async with request(app, target, headers=headers) as stream:
        assert await stream.primed() == "notifications=0-00000000&demo.clock=&room.a=0-00000000"
        first = await apublish("room.a", "hello")
        assert (await stream.event()).id == f"{first.id}&notifications=0-00000000&demo.clock="
        await apublish("demo.clock", "tick")
        assert (await stream.event()).id == f"demo.clock=&notifications=0-00000000&{first.id}"
        second = await apublish("notifications", "news")
        last = (await stream.event()).id
    assert last == f"{second.id}&demo.clock=&{first.id}"
    await apublish("room.a", "missed in the room")
    await apublish("demo.clock", "gone for good")
    await apublish("notifications", "missed news")
    async with request(app, target, headers=headers, last_event_id=last) as stream:
        missed = {(await stream.event()).data for _ in range(2)}
        await apublish("demo.clock", "tock")
        assert (await stream.event()).data == "tock"
    assert missed == {"missed in the room", "missed news"}


async def test_an_ephemeral_topic_stands_in_no_cursor_with_a_position():
    async with request(app, "/sse/topics/demo.clock/") as stream:
        assert await stream.primed() == "demo.clock="
        await apublish("demo.clock", "tick")
        assert (await stream.event()).id == "demo.clock="


async def test_a_topic_named_twice_is_read_once():
    async with request(app, f"{STREAM}&topic=notifications") as stream:
        assert await assert_live(stream) == "notifications=0-00000000"


async def test_a_topic_that_the_cursor_lacks_starts_at_its_head():
    await apublish("room.a", "before")
    headers = await signed_in()
    target = "/sse/events/?topic=notifications&topic=room.a"
    async with request(app, target, headers=headers, last_event_id="notifications=0-00000000") as stream:
        await stream.primed()
        await apublish("room.a", "after")
        assert (await stream.event()).data == "after"


async def test_publishing_over_http_answers_with_position_topic_and_receivers():
    headers = await signed_in(may_publish=True)
    body = b'{"data": {"title": "Hello"}, "event": "news"}'
    async with request(app, TOPIC) as stream:
        await stream.primed()
        answer = await fetch(app, TOPIC, method="POST", headers=headers, body=body)
        event = await stream.event("news")
    assert answer.status == 201
    assert json.loads(answer.content) == {"id": event.id, "topic": "notifications", "receivers": 1}
    assert answer.headers["content-type"] == "application/json"
    assert event.data == '{"title":"Hello"}'


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        ('"as it is"', "as it is"),
        ('"two\\nlines"', "two\nlines"),
        ('""', ""),
        ("null", "null"),
        ("[1, 2.5, true]", "[1,2.5,true]"),
        ('{"ä": "\\u2028"}', '{"ä":"\u2028"}'),
    ],
)
async def test_data_published_over_http_arrives_as_text_or_as_compact_json(data, arrives):
    headers = await signed_in(may_publish=True)
    body = f'{{"data": {data}, "event": null}}'.encode()
    async with request(app, TOPIC) as stream:
        await stream.primed()
        await fetch(app, TOPIC, method="POST", headers=headers, body=body)
        event = await stream.event()
    assert (event.data, event.event) == (arrives, None)


async def test_an_ephemeral_event_published_over_http_has_no_id():
    headers = await signed_in(may_publish=True)
    answer = await fetch(app, "/sse/topics/demo.a/", method="POST", headers=headers, body=b'{"data": 1}')
    assert (answer.status, answer.content) == (201, b'{"id": null, "topic": "demo.a", "receivers": 0}')


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("address", "content"),
    [("/sse/health/live/", b'{"status": "live"}'), ("/sse/health/ready/", b'{"status": "ready"}')],
)
async def test_a_healthy_process_says_so(address, content, method):
    answer = await fetch(app, address, method=method)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == content


@pytest.mark.parametrize("log", ["FailingLog", "SilentLog", "NoLogAtAll"])
async def test_a_process_whose_log_is_out_of_reach_is_live_but_not_ready(log, monkeypatch):
    monkeypatch.setattr(views, "READY_SECONDS", 0.01)
    with override_settings(SSE_EVENT_LOG=f"{__name__}.{log}"):
        ready = await fetch(app, "/sse/health/ready/")
        live = await fetch(app, "/sse/health/live/")
    told = {"status": "unavailable", "error": "the event log is out of reach"}
    assert (ready.status, ready.content.decode()) == (503, json.dumps(told))
    assert live.status == 200
