"""NDJSONResponse under Django's own ASGI handler, driven by hand."""

import asyncio
import gc
import json
import zlib
from datetime import date
from decimal import Decimal
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib.auth import get_user_model
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest
from django.test import override_settings
from django.urls import path

from sse_app import NDJSONResponse
from sse_app.cut import _teach_daphne
from sse_app.export import rows
from tests.asgi import fetch, poll, request
from tests.shop.models import Author

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = []

GZIP = [(b"accept-encoding", b"gzip")]
BATCH = 65536


def view(function):
    """Mount a view under its own name."""
    urlpatterns.append(path(f"{function.__name__}/", function))
    return function


@pytest.fixture
def app():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield get_asgi_application()


class Source:
    """What the views read from: as the test says, and it counts how often it was started and closed."""

    started = ended = produced = 0
    gate: asyncio.Event

    @classmethod
    async def read(cls, count, error=None):
        """Give so many records, wait at the gate, and fail or end."""
        cls.started += 1
        try:
            for number in range(count):
                cls.produced += 1
                yield {"number": number, "text": "x" * 100}
            await cls.gate.wait()
            if error is not None:
                raise error
        finally:
            await asyncio.sleep(0)  # cleaning up may take an await
            cls.ended += 1

    @classmethod
    async def flood(cls):
        cls.started += 1
        try:
            while True:
                cls.produced += 1
                yield {"text": "x" * 1000}
        finally:
            cls.ended += 1


@pytest.fixture(autouse=True)
def no_history():
    Source.started = Source.ended = Source.produced = 0
    Source.gate = asyncio.Event()
    Source.gate.set()


async def some_of_each():
    yield {"text": "Grüße \N{GRINNING FACE}\u2028", "lines": "a\nb\r\n"}
    yield [1, 2.5, None, True]
    yield "a string"
    yield None
    yield {"day": date(2026, 1, 31), "price": Decimal("9.90")}
    yield b'{"encoded": 1}\n{"encoded": 2}\n'


@view
async def of_each(request):
    return NDJSONResponse(some_of_each())


@view
async def with_trailer(request):
    return NDJSONResponse(some_of_each(), trailer=True)


@view
async def nothing(request):
    return NDJSONResponse(Source.read(0))


@view
async def nothing_with_trailer(request):
    return NDJSONResponse(Source.read(0), trailer=True)


@view
async def three(request):
    return NDJSONResponse(Source.read(3), request=request)


@view
async def three_with_trailer(request):
    return NDJSONResponse(Source.read(3), request=request, trailer=True)


@view
async def many(request):
    return NDJSONResponse(Source.read(5000), request=request)


@view
async def flood(request):
    return NDJSONResponse(Source.flood(), request=request)


@view
async def named(request):
    return NDJSONResponse(
        some_of_each(), filename='Büch "er.ndjson', headers={"Cache-Control": "private", "X-Extra": "1"}
    )


@view
async def failing(request):
    return NDJSONResponse(Source.read(3, RuntimeError("a secret")), request=request, trailer=True)


@view
async def failing_with_a_type_error(request):
    return NDJSONResponse(Source.read(3, TypeError("'async for' requires an object")), request=request)


@view
async def not_json(request):
    async def source():
        yield {"fine": 1}
        yield {"wrong": object()}

    return NDJSONResponse(source())


@view
async def authors(request):
    return NDJSONResponse(rows(Author.objects.all(), page=2), request=request, trailer=True)


@view
def from_a_sync_view(request):
    return NDJSONResponse(Source.read(3))


def lines(content):
    assert content.endswith(b"\n") and b"\n\n" not in content and b"\r" not in content
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


# Records and headers.


async def test_one_record_a_line_compact_and_in_utf8(app):
    answer = await fetch(app, "/of_each/")
    assert answer.content.decode() == (
        '{"text":"Grüße \N{GRINNING FACE}\u2028","lines":"a\\nb\\r\\n"}\n'
        "[1,2.5,null,true]\n"
        '"a string"\n'
        "null\n"
        '{"day":"2026-01-31","price":"9.90"}\n'
        '{"encoded": 1}\n{"encoded": 2}\n'
    )


HEADERS = {
    "content-type": "application/x-ndjson",
    "x-stream-format": "ndjson",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
    "content-encoding": "identity",
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("address", "asking", "headers"),
    [
        ("of_each", [], HEADERS),
        ("of_each", GZIP, HEADERS),
        ("three", [], {**HEADERS, "vary": "Accept-Encoding"}),
        ("three", GZIP, {**HEADERS, "vary": "Accept-Encoding", "content-encoding": "gzip"}),
        (
            "named",
            [],
            {
                **HEADERS,
                "cache-control": "private",
                "x-extra": "1",
                "content-disposition": "attachment; filename*=utf-8''B%C3%BCch%20%22er.ndjson",
            },
        ),
    ],
    ids=["plain", "not told of the request", "gzip refused", "gzip", "named"],
)
async def test_it_has_exactly_these_headers(app, method, address, asking, headers):
    answer = await fetch(app, f"/{address}/", method=method, headers=asking)
    assert (answer.status, answer.headers) == (200, headers)


@pytest.mark.parametrize("setting", ["", "identity"])
async def test_gzip_has_its_own_name_whatever_the_setting_says_of_plain_bodies(app, setting):
    with override_settings(SSE_CONTENT_ENCODING=setting):
        plain = await fetch(app, "/three/")
        packed = await fetch(app, "/three/", headers=GZIP)
    assert plain.headers.get("content-encoding", "") == setting
    assert packed.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("address", "count"), [("with_trailer", 7), ("three_with_trailer", 3), ("nothing_with_trailer", 0)]
)
async def test_the_trailer_says_how_many_records_there_were(app, address, count):
    *records, last = lines((await fetch(app, f"/{address}/")).content)
    assert last == {"complete": True, "count": count}
    assert len(records) == count


async def test_the_trailer_counts_the_rows_of_a_queryset(app):
    await Author.objects.abulk_create(Author(name=str(number)) for number in range(5))
    *records, last = lines((await fetch(app, "/authors/")).content)
    assert [record["name"] for record in records] == ["0", "1", "2", "3", "4"]
    assert last == {"complete": True, "count": 5}


async def test_an_export_of_nothing_is_empty(app):
    answer = await fetch(app, "/nothing/")
    assert (answer.status, answer.content) == (200, b"")


async def test_a_sync_view_may_answer_with_an_export(app):
    assert len(lines((await fetch(app, "/from_a_sync_view/")).content)) == 3


async def test_head_answers_without_starting_the_source(app):
    answer = await fetch(app, "/three/", method="HEAD")
    assert (answer.content, Source.started) == (b"", 0)


# Batches.


async def test_a_fast_source_goes_out_in_few_batches_that_django_does_not_split(app):
    answer = await fetch(app, "/many/")
    assert len(lines(answer.content)) == 5000
    first, *full, last, end = answer.chunks
    assert first == end == b""  # the headers go out at once; Django ends with an empty message
    assert len(full) < 5000 / 10
    assert all(len(batch) < BATCH for batch in [*full, last])
    assert all(batch.endswith(b"}\n") for batch in [*full, last])


async def test_what_there_is_goes_out_while_the_source_is_slow(app):
    Source.gate.clear()
    async with request(app, "/three/") as answer:
        await answer.until(lambda: answer.content.count(b"\n") == 3)
        assert not answer.ended
        Source.gate.set()
        await answer.until(lambda: answer.ended)


async def test_the_headers_go_out_before_the_first_record(app):
    Source.gate.clear()
    async with request(app, "/nothing/") as answer:
        await answer.until(lambda: answer.status)
        assert (answer.status, answer.content, answer.ended) == (200, b"", False)


async def test_the_source_is_not_read_far_ahead_of_a_client_that_has_stopped_reading(app):
    async with request(app, "/flood/") as answer:
        await answer.until(lambda: len(answer.chunks) > 3)
        answer.stall()
        await poll(lambda: answer.blocked_in_send)
        stopped_at = Source.produced
        for _ in range(100):
            await asyncio.sleep(0)
        assert Source.produced - stopped_at <= BATCH // 1000 + 1


# Gzip.


ACCEPTED = ["gzip", "GZIP", "br, gzip", "gzip;q=0.5", "deflate;q=1, gzip; q=0.001", "gzip, gzip;q=0"]
REFUSED = [
    None,
    "",
    "identity",
    "br",
    "*",
    "x-gzip",
    "gzip;q=0",
    "gzip; q=0.0",
    "gzip;q=0.000, identity",
    "br, GZIP;Q=0",
    "notgzip",
]


@pytest.mark.parametrize("accept", ACCEPTED)
async def test_gzip_is_sent_to_those_who_accept_it(app, accept):
    answer = await fetch(app, "/three/", headers=[(b"accept-encoding", accept.encode())])
    assert answer.headers["content-encoding"] == "gzip"
    assert len(lines(zlib.decompress(answer.content, 31))) == 3


@pytest.mark.parametrize("accept", REFUSED)
async def test_others_get_it_plain(app, accept):
    headers = [] if accept is None else [(b"accept-encoding", accept.encode())]
    answer = await fetch(app, "/three/", headers=headers)
    assert answer.headers["content-encoding"] == "identity"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(lines(answer.content)) == 3


async def test_each_batch_can_be_unpacked_when_it_arrives(app):
    answer = await fetch(app, "/many/", headers=GZIP)
    plain = (await fetch(app, "/many/")).content
    unpacking, seen = zlib.decompressobj(31), b""
    for chunk in answer.chunks:
        piece = unpacking.decompress(chunk)
        seen += piece
        assert piece.endswith(b"}\n") or not piece
    assert unpacking.eof and unpacking.unused_data == b""
    assert seen == plain
    assert len(answer.chunks) >= len(plain) // BATCH
    assert len(answer.content) < len(plain) / 5


async def test_gzip_does_not_hold_back_what_a_slow_source_has_given(app):
    Source.gate.clear()
    async with request(app, "/three/", headers=GZIP) as answer:
        await answer.until(lambda: zlib.decompressobj(31).decompress(answer.content).count(b"\n") == 3)
        assert not answer.ended


@pytest.mark.parametrize("address", ["three", "of_each", "many"])
@pytest.mark.parametrize("asking", [GZIP, []], ids=["gzip", "plain"])
async def test_djangos_gzip_middleware_packs_nothing_a_second_time(app, address, asking):
    with override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"]):
        answer = await fetch(get_asgi_application(), f"/{address}/", headers=asking)
    expected = await fetch(app, f"/{address}/", headers=asking)
    assert answer.headers["content-encoding"] == expected.headers["content-encoding"]
    assert answer.content == expected.content or asking  # the header of gzip has a time in it
    packed = answer.headers["content-encoding"] == "gzip"
    assert lines(zlib.decompress(answer.content, 31) if packed else answer.content)


# Failures.


@pytest.fixture
def failed_request():
    """Django 5.2 closes nothing then; collect what it leaves here, and not in the middle."""
    yield
    gc.collect()


django_leaves_a_file = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@django_leaves_a_file
@pytest.mark.parametrize("asking", [GZIP, []], ids=["gzip", "plain"])
@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("failing", RuntimeError, "a secret"),
        ("failing_with_a_type_error", TypeError, "'async for' requires an object"),
    ],
)
async def test_a_source_that_fails_cuts_the_body(app, failed_request, address, error, text, asking):
    with pytest.raises(error) as failure:
        async with request(app, f"/{address}/", headers=asking) as answer:
            await answer.until(lambda: answer.ended)
    assert str(failure.value) == text
    assert not answer.ended
    content = zlib.decompressobj(31).decompress(answer.content) if asking else answer.content
    assert [record["number"] for record in lines(content)] == [0, 1, 2]
    assert Source.ended == 1


@django_leaves_a_file
async def test_a_record_without_a_json_form_cuts_the_body(app, failed_request):
    with pytest.raises(ValueError, match="data: not JSON: object has no JSON form"):
        async with request(app, "/not_json/") as answer:
            await answer.until(lambda: answer.ended)
    assert (answer.content, answer.ended) == (b'{"fine":1}\n', False)


class Channel:
    """A connection of daphne's."""

    def __init__(self):
        self.done = []

    def loseConnection(self):
        self.done.append("closed")


class Stream(Channel):
    """One of the streams of an HTTP/2 connection."""

    def abortConnection(self):
        self.done.append("aborted")


@pytest.mark.parametrize(
    ("started", "channel", "done"),
    [
        (False, Channel(), ["error page"]),
        (True, Channel(), ["closed"]),
        (True, Stream(), ["aborted"]),
        (True, None, []),
    ],
    ids=["before the response", "HTTP/1.1", "HTTP/2", "client gone"],
)
def test_daphne_closes_the_connection_once_the_response_has_begun(started, channel, done):
    class WebRequest:
        """What daphne asks when an application has failed."""

        _response_started = started

        def __init__(self):
            self.channel = channel

        def handle_exception(self, exception):
            channel.done.append("error page")

    for _ in range(2):
        _teach_daphne(WebRequest)
    WebRequest().handle_exception(RuntimeError())
    assert (channel.done if channel else []) == done


# Clients that go.


@pytest.mark.parametrize("asking", [GZIP, []], ids=["gzip", "plain"])
async def test_the_source_is_closed_when_a_waiting_client_goes(app, asking):
    Source.gate.clear()
    async with request(app, "/three/", headers=asking) as answer:
        await answer.until(lambda: len(answer.content) > 20)
        assert Source.ended == 0
    await poll(lambda: Source.ended == 1)
    assert not answer.ended


@pytest.mark.parametrize("asking", [GZIP, []], ids=["gzip", "plain"])
async def test_the_source_is_closed_when_the_client_goes_while_send_is_blocked(app, asking):
    async with request(app, "/flood/", headers=asking) as answer:
        await answer.until(lambda: len(answer.chunks) > 3)
        answer.stall()
        await poll(lambda: answer.blocked_in_send)
        answer._gone.set()
        await asyncio.wait({answer.task}, timeout=10)
        assert answer.task.done()
        await poll(lambda: Source.ended == 1)


async def test_a_client_that_goes_before_the_first_record_costs_nothing(app):
    Source.gate.clear()
    async with request(app, "/nothing/") as answer:
        await answer.until(lambda: answer.status)
    await poll(lambda: Source.ended == Source.started)


# What can't be served.


@pytest.mark.parametrize(
    ("source", "name"), [(iter("abc"), "str_ascii_iterator"), ([1, 2], "list"), (range(3), "range")]
)
def test_a_sync_iterator_is_refused_with_a_word_what_to_do(source, name):
    with pytest.raises(TypeError) as refusal:
        NDJSONResponse(source)
    assert str(refusal.value) == (
        f"NDJSONResponse needs an async iterator, not {name}: a sync one would block the "
        "server or be read to its end first; use `async def` and `yield`"
    )


def test_a_queryset_is_an_async_iterable_of_instances_which_have_no_json_form():
    get_user_model().objects.create_user("grace")
    response = NDJSONResponse(get_user_model().objects.all())

    async def read():
        return [part async for part in response]

    with pytest.raises(ValueError, match="data: not JSON: User has no JSON form"):
        asyncio.run(read())


def test_wsgi_is_refused_with_a_word_what_to_do():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        environ = {"PATH_INFO": "/from_a_sync_view/"}
        setup_testing_defaults(environ)
        answer = get_wsgi_application()(environ, lambda status, headers: None)
        with pytest.raises(RuntimeError) as refusal:
            iter(answer)
        answer.close()
    assert str(refusal.value).startswith("streams need ASGI: serve this project's ASGI application")


def test_without_a_request_there_is_no_gzip():
    response = NDJSONResponse(some_of_each(), request=HttpRequest())
    assert response.headers["Content-Encoding"] == "identity"
    assert response.headers["Vary"] == "Accept-Encoding"
