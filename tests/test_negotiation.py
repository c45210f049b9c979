"""One source in the format that the client asks for."""

import gc
import gzip
import json

import pytest
from django.core.asgi import get_asgi_application
from django.http import HttpRequest
from django.test import override_settings
from django.urls import path

from sse_app import ServerSentEvent, negotiate
from sse_app.negotiation import EVENT_STREAM, FORMATS, JSON, JSON_LINES, NDJSON, preferred
from tests.asgi import fetch, request

RECORDS = [{"id": 1, "name": "é"}, {"id": 2, "name": "a\nb"}, {"id": 3, "name": "event: click"}]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, NDJSON),
        ("", NDJSON),
        (" ", NDJSON),
        ("*/*", NDJSON),
        (BROWSER, NDJSON),
        ("text/event-stream", EVENT_STREAM),
        ("TEXT/Event-Stream", EVENT_STREAM),
        ("application/json", JSON),
        ("application/jsonl", JSON_LINES),
        ("application/x-ndjson", NDJSON),
        ("application/*", NDJSON),
        ("text/*", EVENT_STREAM),
        # Quality.
        ("application/json;q=0.5, text/event-stream;q=0.9", EVENT_STREAM),
        ("application/json, */*;q=0.1", JSON),
        ("application/json;q=0.001, text/html", JSON),
        ("application/json ; q=1.000", JSON),
        # The most specific range counts, wherever it stands.
        ("application/*;q=0.9, application/x-ndjson;q=0.1", JSON_LINES),
        ("*/*;q=0.1, text/event-stream", EVENT_STREAM),
        ("text/event-stream;q=0.2, text/*, application/json;q=0.5", JSON),
        ("*/*, application/x-ndjson;q=0", JSON_LINES),
        ("application/*;q=0, */*", EVENT_STREAM),
        ("*/*, application/*;q=0, text/event-stream;q=0", None),
        # Zero is no.
        ("application/json;q=0", None),
        ("application/json;q=0.000", None),
        ("*/*;q=0", None),
        ("text/html", None),
        ("application/xml, image/*", None),
        # Parameters: ours are UTF-8 and have none else.
        ("application/json;charset=utf-8", JSON),
        ('application/json;charset="UTF-8"', JSON),
        ("application/json;charset=latin-1", None),
        ("application/json;version=2, text/event-stream;q=0.1", EVENT_STREAM),
        ("application/json;q=0.1, application/json;charset=utf-8, application/jsonl;q=0.5", JSON),
        # Commas within quotes separate nothing.
        ('text/html;a="x, application/json", application/jsonl', JSON_LINES),
        (r'text/html;a="x\", application/json", application/jsonl', JSON_LINES),
        # What is no media range is ignored.
        ("json", None),
        ("*/json", None),
        ("application/", None),
        ("/json, application/json", JSON),
        (",, ,application/json,", JSON),
        ("application/json;q=2, text/event-stream", EVENT_STREAM),
        ("application/json;q=-1", None),
        ("application/json;q=nan", None),
        ("application/json;q=0.1234", None),
        ('application/json;a="unclosed', None),
    ],
)
def test_what_a_client_likes_best(accept, expected):
    assert preferred(accept, FORMATS) == expected


@pytest.mark.parametrize("offered", [(JSON, EVENT_STREAM), (EVENT_STREAM, JSON)])
def test_among_equals_the_first_that_is_offered_wins(offered):
    assert preferred("text/event-stream, application/json", offered) == offered[0]
    assert preferred("*/*", offered) == offered[0]


def test_a_long_header_costs_no_more_than_its_length():
    assert preferred('a/b;c="' * 10_000, FORMATS) is None
    assert preferred("application/json;q=0," * 3_000, FORMATS) is None


class Source:
    started = closed = 0


async def records(fails=False):
    Source.started += 1
    try:
        for record in RECORDS:
            yield record
        if fails:
            raise RuntimeError("a secret")
    finally:
        Source.closed += 1


async def export(request):
    def event(record):
        return ServerSentEvent(record, event="record", id=str(record["id"]))

    return negotiate(request, records(), event=event)


async def plain(request):
    return negotiate(request, records(), formats=[EVENT_STREAM, JSON])


async def failing(request):
    return negotiate(request, records(fails=True))


async def nothing(request):
    async def none():
        return
        yield

    return negotiate(request, none())


async def encoded(request):
    async def lines():
        yield b'{"id":1}\n{"id":2}\n'
        yield b'{"id":3}\n'

    return negotiate(request, lines())


urlpatterns = [path(f"{view.__name__}/", view) for view in (export, plain, failing, nothing, encoded)]


@pytest.fixture
def app():
    Source.started = Source.closed = 0
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield get_asgi_application()


def accepting(media_type, *more):
    return [(b"accept", media_type.encode()), *more]


@pytest.mark.parametrize("media_type", [NDJSON, JSON_LINES])
async def test_lines_of_json(app, media_type):
    answer = await fetch(app, "/export/", headers=accepting(media_type))
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-stream-format"] == {NDJSON: "ndjson", JSON_LINES: "jsonl"}[media_type]
    assert [json.loads(line) for line in answer.content.splitlines()] == RECORDS
    assert answer.content.endswith(b"\n")


async def test_a_json_array(app):
    answer = await fetch(app, "/export/", headers=accepting(JSON))
    assert (answer.status, answer.headers["content-type"]) == (200, JSON)
    assert json.loads(answer.content) == RECORDS
    assert answer.content.count(b"\n") == len(RECORDS) + 1


async def test_an_array_of_nothing(app):
    answer = await fetch(app, "/nothing/", headers=accepting(JSON))
    assert answer.content == b"[]\n"


@pytest.mark.parametrize(
    ("media_type", "read"),
    [(NDJSON, lambda body: [json.loads(line) for line in body.splitlines()]), (JSON, json.loads)],
)
async def test_lines_that_were_encoded_before_are_taken_as_they_are(app, media_type, read):
    answer = await fetch(app, "/encoded/", headers=accepting(media_type))
    assert read(answer.content) == [{"id": 1}, {"id": 2}, {"id": 3}]


async def test_an_event_stream_with_names_and_ids(app):
    answer = await fetch(app, "/export/", headers=accepting(EVENT_STREAM))
    assert answer.headers["content-type"] == EVENT_STREAM
    events = [event for event in answer.events if event.data is not None]
    assert [(event.event, event.id, json.loads(event.data)) for event in events] == [
        ("record", str(record["id"]), record) for record in RECORDS
    ]


async def test_an_event_of_a_record_has_its_data_alone_by_default(app):
    answer = await fetch(app, "/plain/", headers=accepting(EVENT_STREAM))
    events = [event for event in answer.events if event.data is not None]
    assert [json.loads(event.data) for event in events] == RECORDS
    assert {(event.event, event.id) for event in events} == {(None, None)}


async def test_a_client_that_takes_none_is_told_what_there_is(app):
    answer = await fetch(app, "/plain/", headers=accepting("text/html, application/jsonl"))
    assert (answer.status, answer.headers["content-type"]) == (406, "application/json")
    assert json.loads(answer.content) == {
        "error": "this address serves text/event-stream, application/json",
        "available": [EVENT_STREAM, JSON],
    }
    assert answer.headers["cache-control"] == "no-store"
    assert Source.started == 0


@pytest.mark.parametrize("accept", [*FORMATS, "text/html"])
async def test_every_answer_varies_by_what_was_asked(app, accept):
    answer = await fetch(app, "/export/", headers=accepting(accept))
    assert "Accept" in [name.strip() for name in answer.headers["vary"].split(",")]


@pytest.mark.parametrize("accept", [NDJSON, JSON_LINES, JSON])
async def test_a_client_that_accepts_gzip_gets_it(app, accept):
    answer = await fetch(app, "/export/", headers=accepting(accept, (b"accept-encoding", b"gzip")))
    assert answer.headers["content-encoding"] == "gzip"
    plain = await fetch(app, "/export/", headers=accepting(accept))
    assert gzip.decompress(answer.content) == plain.content
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding, Accept"


@pytest.fixture
def failed_request():
    """Django 5.2 closes nothing then; collect what it leaves here, and not in the middle."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_array_that_failed_has_no_end(app, failed_request):
    with pytest.raises(RuntimeError, match="a secret"):
        async with request(app, "/failing/", headers=accepting(JSON)) as exchange:
            await exchange.until(lambda: exchange.ended)
    assert exchange.ended is False
    assert exchange.content.startswith(b'[{"id":1')
    assert b"secret" not in exchange.content
    assert b"]" not in exchange.content
    assert Source.closed == 1


async def test_head_starts_no_source(app):
    answer = await fetch(app, "/export/", method="HEAD", headers=accepting(JSON))
    assert (answer.status, answer.content, answer.headers["content-type"]) == (200, b"", JSON)
    assert Source.started == 0


def test_a_format_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="formats: must be of application/x-ndjson, .*, not 'text/csv'"):
        negotiate(HttpRequest(), records(), formats=[JSON, "text/csv"])
