"""EventSourceResponse under Django's own ASGI handler, driven by hand."""

import asyncio
import gc
import threading
from wsgiref.util import setup_testing_defaults

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from sse_app import EventSourceResponse, ServerSentEvent
from tests.accounts import headers_of
from tests.asgi import fetch, poll, request
from tests.clock import run
from tests.sources import Source, timed

pytestmark = [pytest.mark.django_db(transaction=True)]

urlpatterns = []


def view(function):
    """Mount a view under its own name."""
    urlpatterns.append(path(f"{function.__name__}/", function))
    return function


@pytest.fixture
def app():
    with override_settings(ROOT_URLCONF=__name__, SSE_TICK=None):
        yield get_asgi_application()


@pytest.fixture(autouse=True)
def no_history():
    Endless.ended = 0
    Endless.started = 0


class Endless:
    """A source that never ends by itself, and counts how often it was started and cleaned up."""

    started = ended = 0

    @classmethod
    async def events(cls, first=1):
        cls.started += 1
        try:
            for number in range(first):
                yield f"event {number}"
            while True:
                await asyncio.sleep(3600)
                yield "late"
        finally:
            await asyncio.sleep(0)  # cleaning up may take an await
            cls.ended += 1

    @classmethod
    async def flood(cls):
        cls.started += 1
        try:
            while True:
                yield b"data: " + b"x" * 1000 + b"\n\n"
                await asyncio.sleep(0)
        finally:
            cls.ended += 1


@view
async def endless(request):
    return EventSourceResponse(Endless.events())


@view
async def flood(request):
    return EventSourceResponse(Endless.flood(), keep_alive=None)


@view
async def flood_with_keep_alive(request):
    return EventSourceResponse(Endless.flood())


@view
async def all_kinds(request):
    async def source():
        yield "text\nof two lines"
        yield {"number": 1}
        yield ServerSentEvent("named", event="greeting", id="7")
        yield b"data: raw\n\n"

    return EventSourceResponse(source(), prime=False)


@view
async def retry(request):
    async def source():
        yield "only"

    return EventSourceResponse(source(), retry=1500)


@view
async def failing(request):
    async def source():
        yield "good"
        raise RuntimeError("a secret")

    return EventSourceResponse(source(), prime=False)


@view
async def failing_kindly(request):
    async def source():
        yield "good"
        raise RuntimeError("a secret")

    return EventSourceResponse(
        source(), prime=False, on_error=lambda error: ServerSentEvent("sorry", event="failed")
    )


@view
async def quiet(request):
    return EventSourceResponse(Endless.events(first=0), keep_alive=0.01)


@view
async def quiet_with_a_text(request):
    text = "still\nhere\n\nevent: click"
    return EventSourceResponse(Endless.events(first=0), keep_alive=0.01, keep_alive_text=text)


@view
async def short(request):
    return EventSourceResponse(Endless.events(), lifetime=0.05)


@view
def from_a_sync_view(request):
    return EventSourceResponse(Endless.events())


@view
def from_the_admin(request):
    return admin.site.admin_view(from_a_sync_view)(request)


@view
async def sync_source(request):
    return EventSourceResponse(iter("abc"))


async def after_a_query():
    await get_user_model().objects.acount()
    return Endless.events()


@view
async def uses_the_database(request):
    return EventSourceResponse(await after_a_query())


@view
async def uses_the_database_as_django_does(request):
    async def source(events):
        async for event in events:
            yield event

    return StreamingHttpResponse(source(await after_a_query()))


async def test_everything_an_iterator_may_yield_is_encoded(app):
    answer = await fetch(app, "/all_kinds/")
    assert answer.content == (
        b"data: text\ndata: of two lines\n\n"
        b'data: {"number":1}\n\n'
        b"event: greeting\nid: 7\ndata: named\n\n"
        b"data: raw\n\n"
    )


async def test_headers_are_those_of_an_event_stream(app):
    answer = await fetch(app, "/all_kinds/")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["content-encoding"] == "identity"
    assert not {"connection", "content-length", "etag"} & answer.headers.keys()


@override_settings(SSE_CONTENT_ENCODING="")
async def test_the_content_encoding_can_be_left_out(app):
    assert "content-encoding" not in (await fetch(app, "/all_kinds/")).headers


async def test_without_a_primer_an_empty_chunk_still_sends_the_headers(app):
    answer = await fetch(app, "/all_kinds/")
    assert answer.chunks[0] == b""


async def test_the_first_bytes_say_when_to_come_back(app):
    answer = await fetch(app, "/retry/")
    assert answer.chunks[0] == b":\nretry: 1500\n"
    assert answer.decoder.retry == 1500


async def test_a_failing_source_ends_the_body_and_tells_the_client_nothing(app, caplog):
    answer = await fetch(app, "/failing/")
    assert answer.content == b"data: good\n\n"
    assert "a secret" in caplog.text


async def test_on_error_may_give_a_last_event(app, caplog):
    answer = await fetch(app, "/failing_kindly/")
    assert answer.content == b"data: good\n\nevent: failed\ndata: sorry\n\n"


async def test_keep_alives_come_when_nothing_else_does(app):
    async with request(app, "/quiet/") as stream:
        await stream.until(lambda: stream.content.count(b":\n") >= 4)
    assert Endless.started == Endless.ended == 1


def test_a_silent_stream_gets_a_comment_every_15_seconds_unless_told_otherwise():
    source = Source((40, "late"), (5, "soon"))
    seen = run(timed(EventSourceResponse(source.items())))
    assert seen == [(0, b":\n"), (15, b":\n"), (30, b":\n"), (40, b"data: late\n\n"), (45, b"data: soon\n\n")]


async def test_a_keep_alive_may_carry_a_text_which_stays_a_comment(app):
    async with request(app, "/quiet_with_a_text/") as stream:
        await stream.until(lambda: stream.content.count(b": here\n") >= 2)
    block = b": still\n: here\n: \n: event: click\n"
    assert stream.content.removeprefix(b":\n").replace(block, b"") == b""
    assert stream.events == []


async def test_a_lifetime_ends_the_body(app):
    answer = await fetch(app, "/short/")
    assert answer.content.endswith(b"data: event 0\n\n")
    assert Endless.ended == 1


async def test_the_source_is_closed_when_an_idle_client_goes(app):
    async with request(app, "/endless/") as stream:
        await stream.event()
        assert Endless.ended == 0
    assert Endless.ended == 1


@pytest.mark.parametrize("address", ["/flood/", "/flood_with_keep_alive/"])
async def test_the_source_is_closed_when_the_client_goes_while_send_is_blocked(app, address):
    async with request(app, address) as stream:
        await stream.until(lambda: len(stream.chunks) > 3)
        stream.stall()
        await poll(lambda: stream.blocked_in_send)
        stream._gone.set()
        await asyncio.wait({stream.task}, timeout=10)
        assert stream.task.done()
        await poll(lambda: Endless.ended == 1)


@pytest.fixture
def cancelled_by_the_server():
    """Django 5.2 leaves a file and a task behind then; collect them here, and not in the middle."""
    gc.disable()  # a collection must not be what closes the source
    yield
    gc.enable()
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_source_is_closed_when_the_server_cancels(app, cancelled_by_the_server):
    async with request(app, "/quiet/") as stream:
        await stream.until(lambda: stream.content.count(b":\n") >= 2)
        stream.task.cancel()
        await poll(lambda: Endless.ended == 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_source_is_closed_when_the_server_cancels_a_blocked_send(app, cancelled_by_the_server):
    async with request(app, "/flood/") as stream:
        await stream.until(lambda: len(stream.chunks) > 3)
        stream.stall()
        await poll(lambda: stream.blocked_in_send)
        stream.task.cancel()
        await asyncio.wait({stream.task})
        stream.resume()  # what Django 5.2 leaves behind would go on sending
        await poll(lambda: Endless.ended == 1)


async def test_head_answers_without_starting_the_stream(app):
    answer = await fetch(app, "/endless/", method="HEAD")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.content == b""
    assert Endless.started == 0


async def test_a_sync_view_may_answer_with_a_stream(app):
    async with request(app, "/from_a_sync_view/") as stream:
        assert (await stream.event()).data == "event 0"


async def test_a_view_of_the_admin_site_may_answer_with_a_stream(app):
    staff = await get_user_model().objects.acreate(username="staff", is_staff=True)
    headers = await sync_to_async(headers_of)(staff)
    async with request(app, "/from_the_admin/", headers=headers) as stream:
        assert (await stream.event()).data == "event 0"
    assert Endless.started == Endless.ended == 1


async def test_a_sync_iterator_is_refused_with_a_word_what_to_do(app):
    with pytest.raises(TypeError) as refusal:
        EventSourceResponse(iter("abc"))
    assert str(refusal.value) == (
        "EventSourceResponse needs an async iterator, not str_ascii_iterator: a sync one would block the "
        "server or be read to its end first; use `async def` and `yield`"
    )


def test_wsgi_is_refused_with_a_word_what_to_do():
    with override_settings(ROOT_URLCONF=__name__):
        environ = {"PATH_INFO": "/from_a_sync_view/"}
        setup_testing_defaults(environ)
        answer = get_wsgi_application()(environ, lambda status, headers: None)
        with pytest.raises(RuntimeError) as refusal:
            iter(answer)
        answer.close()
    assert str(refusal.value).startswith("streams need ASGI: serve this project's ASGI application")


@pytest.mark.parametrize(
    ("address", "threads"), [("/uses_the_database/", 0), ("/uses_the_database_as_django_does/", 3)]
)
async def test_a_stream_keeps_no_thread_and_so_no_database_connection(app, address, threads):
    before = set(threading.enumerate())

    def busy():
        new = set(threading.enumerate()) - before
        return sum(thread.name.startswith("ThreadPoolExecutor") for thread in new)

    async with request(app, address) as one, request(app, address) as two, request(app, address) as three:
        for stream in (one, two, three):
            await stream.until(lambda stream=stream: b"event 0" in stream.content)
        await poll(lambda: busy() == threads)
