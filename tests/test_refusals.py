"""Bad input: each refusal with its exact status and text, and cursors at fault that end in a reset."""

import io
import json
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import override_settings

from sse_app import apublish
from sse_app.models import Event
from tests.accounts import CSRF_TOKEN, headers_of, make_user, signed_in
from tests.asgi import fetch, request

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

EVENTS = "/sse/events/?topic="
TOPIC = "/sse/topics/notifications/"
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"
SHAPE = 'the body must be {"data": …} or {"data": …, "event": "name"}'
RESERVED = ["closed", "cursor", "error", "lagged", "open", "reset", "shutdown"]
ASGI_NEEDED = (
    "event streams need ASGI: serve this project's ASGI application with an ASGI server, such as "
    "`uvicorn yourproject.asgi:application` or daphne's runserver"
)
CSRF_FAILED = "CSRF: send the csrftoken cookie's value in the X-CSRFToken header too"


def case(id, status, error, target, *, who="anyone", method="GET", accept=None, body=b""):
    """Give a row of the table: who asks for what, and what the refusal says."""
    return pytest.param(who, method, target, accept, body, status, error, id=id)


def illegal(name):
    return f"illegal topic {name!r}: {LEGAL}"


def posted(id, status, error, body, target=TOPIC):
    return case(id, status, error, target, who="publisher", method="POST", body=body)


STREAMS = [
    case("empty topic", 400, illegal(""), EVENTS),
    case("topic with a space", 400, illegal("a b"), f"{EVENTS}a%20b"),
    case("topic with a space, in the path", 400, illegal("a b"), "/sse/topics/a b/"),
    case("topic with a newline", 400, illegal("a\n"), f"{EVENTS}a%0A"),
    case("topic with NUL", 400, illegal("a\0"), f"{EVENTS}a%00"),
    case("topic not in ASCII", 400, illegal("ä"), f"{EVENTS}%C3%A4"),
    case("topic not in ASCII, in the path", 400, illegal("ä"), "/sse/topics/ä/"),
    case("topic not in UTF-8", 400, illegal("\N{REPLACEMENT CHARACTER}"), f"{EVENTS}%FF"),
    case("topic that begins with a dot", 400, illegal(".a"), f"{EVENTS}.a"),
    case("topic that begins with a dot, in the path", 400, illegal(".a"), "/sse/topics/.a/"),
    case("topic too long", 400, f"illegal topic of 101 characters: {LEGAL}", EVENTS + "a" * 101),
    case(
        "topic too long, in the path",
        400,
        f"illegal topic of 101 characters: {LEGAL}",
        f"/sse/topics/{'a' * 101}/",
    ),
    case("one illegal topic of two", 400, illegal("-"), f"{EVENTS}notifications&topic=-"),
    case("unknown topic", 404, "no topic 'nothing' is declared", f"{EVENTS}nothing"),
    case("unknown topic, in the path", 404, "no topic 'nothing' is declared", "/sse/topics/nothing/"),
    case("one unknown topic of two", 404, "no topic 'x' is declared", f"{EVENTS}notifications&topic=x"),
    case("no topic", 400, "name at least one topic, as in ?topic=notifications", "/sse/events/"),
    case(
        "more topics than SSE_MAX_TOPICS",
        400,
        "21 topics are more than 20",
        "/sse/events/?" + "&".join(f"topic=room.{number}" for number in range(21)),
    ),
    case(
        "more parameters than Django takes",
        400,
        "The number of GET/POST parameters exceeded settings.DATA_UPLOAD_MAX_NUMBER_FIELDS.",
        "/sse/events/?" + "&".join(["topic=notifications"] * 1001),
    ),
    case(
        "wrong Accept",
        406,
        "this address serves text/event-stream only",
        f"{EVENTS}notifications",
        accept=b"application/json",
    ),
    case(
        "wrong Accept, one topic",
        406,
        "this address serves text/event-stream only",
        TOPIC,
        accept=b"text/html, image/*",
    ),
    case("anonymous, private topic", 401, "you may not read 'room.a'; sign in first", f"{EVENTS}room.a"),
    case("anonymous, someone's own topic", 401, "you may not read 'user.1'; sign in first", f"{EVENTS}user.1"),
    case(
        "anonymous, one private topic of two",
        401,
        "you may not read 'room.a'; sign in first",
        f"{EVENTS}notifications&topic=room.a",
    ),
    case("signed in, another's topic", 403, "you may not read 'user.0'", f"{EVENTS}user.0", who="reader"),
    case(
        "signed in, another's topic, in the path",
        403,
        "you may not read 'user.0'",
        "/sse/topics/user.0/",
        who="reader",
    ),
]

PUBLISHING = [
    posted("not JSON", 400, "the body is not JSON: Expecting value: line 1 column 1 (char 0)", b"hello"),
    posted("empty body", 400, "the body is not JSON: Expecting value: line 1 column 1 (char 0)", b""),
    posted(
        "not UTF-8",
        400,
        "the body is not JSON: 'utf-8' codec can't decode byte 0xff in position 10: invalid start byte",
        b'{"data": "\xff"}',
    ),
    posted(
        "nested without end",
        400,
        "the body is not JSON: it is nested too deeply",
        b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ),
    posted("not an object", 400, SHAPE, b'["data"]'),
    posted("JSON text", 400, SHAPE, b'"data"'),
    posted("without data", 400, SHAPE, b'{"event": "news"}'),
    posted("unknown key", 400, SHAPE, b'{"data": 1, "id": "7"}'),
    posted("nested more than JSON is written", 400, "data: not JSON: Recursion limit reached", None),
    posted("number too large", 400, "data: not JSON: Integer exceeds 64-bit range", b'{"data": %d}' % 2**64),
    posted("lone surrogate", 400, "data: must not contain a lone surrogate", rb'{"data": "\ud800"}'),
    posted(
        "lone surrogate within",
        400,
        "data: not JSON: str is not valid UTF-8: surrogates not allowed",
        rb'{"data": ["\ud800"]}',
    ),
    posted(
        "over SSE_MAX_EVENT_BYTES",
        413,
        "data: 65537 bytes are more than the 65536 of SSE_MAX_EVENT_BYTES",
        b'{"data": "%s"}' % (b"x" * 65_537),
    ),
    posted(
        "over SSE_MAX_EVENT_BYTES in bytes, not characters",
        413,
        "data: 65538 bytes are more than the 65536 of SSE_MAX_EVENT_BYTES",
        '{{"data": "{}"}}'.format("ä" * 32_769).encode(),
    ),
    posted(
        "over DATA_UPLOAD_MAX_MEMORY_SIZE",
        413,
        "the body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE",
        b'{"data": "%s"}' % (b"x" * 2_621_440),
    ),
    *(
        posted(
            f"reserved event {name}",
            400,
            f"event: {name!r} is reserved, as are {', '.join(RESERVED)}",
            json.dumps({"data": 1, "event": name}).encode(),
        )
        for name in RESERVED
    ),
    posted(
        "event with a newline",
        400,
        "event: must be one line, without CR or LF",
        b'{"data": 1, "event": "a\\nb"}',
    ),
    posted("event that is a number", 400, "event: must be a str, not int", b'{"data": 1, "event": 5}'),
    posted("event that is a list", 400, "event: must be a str, not list", b'{"data": 1, "event": ["a"]}'),
    posted(
        "event with a lone surrogate",
        400,
        "event: must not contain a lone surrogate",
        rb'{"data": 1, "event": "\ud800"}',
    ),
    posted(
        "event too long",
        400,
        "event: must have at most 100 characters, not 101",
        b'{"data": 1, "event": "%s"}' % (b"a" * 101),
    ),
    posted("illegal topic", 400, illegal("a b"), b'{"data": 1}', target="/sse/topics/a b/"),
    posted(
        "unknown topic", 404, "no topic 'nothing' is declared", b'{"data": 1}', target="/sse/topics/nothing/"
    ),
    case(
        "anonymous",
        401,
        "you may not publish to 'notifications'; sign in first",
        TOPIC,
        method="POST",
        body=b'{"data": 1}',
    ),
    case(
        "signed in without the permission",
        403,
        "you may not publish to 'notifications'",
        TOPIC,
        who="reader",
        method="POST",
        body=b'{"data": 1}',
    ),
]
# Deep enough for the encoder's limit, and shallow enough for the decoder's.
PUBLISHING = [
    pytest.param(*row.values[:4], b'{"data": ' + b"[" * 300 + b"]" * 300 + b"}", *row.values[5:], id=row.id)
    if row.values[4] is None
    else row
    for row in PUBLISHING
]


async def headers_for(who, accept=None):
    accepting = [] if accept is None else [(b"accept", accept)]
    if who == "anyone":
        return accepting
    return accepting + await signed_in(who, may_publish=who == "publisher")


def assert_refused(answer, status, error):
    assert (answer.status, answer.content.decode()) == (status, json.dumps({"error": error}))
    assert b"\n" not in answer.content
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "location" not in answer.headers


@pytest.mark.parametrize(("who", "method", "target", "accept", "body", "status", "error"), STREAMS)
async def test_what_can_not_be_streamed_is_refused_with_its_reason(
    who, method, target, accept, body, status, error
):
    answer = await fetch(app, target, method=method, headers=await headers_for(who, accept), body=body)
    assert_refused(answer, status, error)


@pytest.mark.parametrize(("who", "method", "target", "accept", "body", "status", "error"), PUBLISHING)
async def test_what_can_not_be_published_is_refused_with_its_reason(
    who, method, target, accept, body, status, error
):
    answer = await fetch(app, target, method=method, headers=await headers_for(who, accept), body=body)
    assert_refused(answer, status, error)
    assert await Event.objects.acount() == 0
