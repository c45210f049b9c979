"""Bad input: each refusal with its exact status and text, and cursors at fault that end in a reset."""

import io
import json
import re
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.test import override_settings

from sse_app import apublish
from sse_app.models import Event
from sse_app.positions import MAX_CURSOR_LENGTH
from tests.accounts import headers_of, make_user, signed_in
from tests.asgi import fetch, request

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

EVENTS = "/sse/events/?topic="
TOPIC = "/sse/topics/notifications/"
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"
SHAPE = 'the body must be {"data": …} or {"data": …, "event": "name"}'
RESERVED = ["closed", "cursor", "error", "lagged", "open", "reset", "shutdown"]
ASGI_NEEDED = (
    "streams need ASGI: serve this project's ASGI application with an ASGI server, such as "
    "`uvicorn yourproject.asgi:application` or daphne's runserver"
)
CSRF_FAILED = "the CSRF check failed: send this site's token in the X-CSRFToken header"


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
        "21 topics are more than the 20 of SSE_MAX_TOPICS",
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
    case(
        "anonymous, someone's own topic", 401, "you may not read 'user.1'; sign in first", f"{EVENTS}user.1"
    ),
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
    posted(
        "nested more than the encoder takes",
        400,
        "data: not JSON: Recursion limit reached",
        b'{"data": ' + b"[" * 300 + b"]" * 300 + b"}",
    ),
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
        "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.",
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


@pytest.mark.parametrize(("who", "method", "target", "accept", "body", "status", "error"), STREAMS)
async def test_a_refusal_is_never_a_redirect_to_a_login_page(
    who, method, target, accept, body, status, error
):
    middleware = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with override_settings(MIDDLEWARE=middleware):
        guarded = get_asgi_application()
        elsewhere = await fetch(guarded, "/", headers=await headers_for("anyone"))
        answer = await fetch(guarded, target, method=method, headers=await headers_for(who, accept))
    assert elsewhere.status == 302
    assert_refused(answer, status, error)


ADDRESSES = {
    "/sse/events/": "GET, HEAD",
    TOPIC: "GET, HEAD, POST",
    "/sse/health/live/": "GET, HEAD",
    "/sse/health/ready/": "GET, HEAD",
}
WRONG = [
    (address, method)
    for address, allowed in ADDRESSES.items()
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
    if method not in allowed
]


@pytest.mark.parametrize(("address", "method"), WRONG)
async def test_a_wrong_method_is_told_which_are_right(address, method):
    answer = await fetch(app, address, method=method)
    assert_refused(answer, 405, f"{method} is not allowed here")
    assert answer.headers["allow"] == ADDRESSES[address]


PUBLISH = b'{"data": "sent"}'


async def test_publishing_with_a_cookie_and_its_csrf_token_is_accepted():
    headers = await signed_in(may_publish=True)
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=PUBLISH)
    assert answer.status == 201


async def test_publishing_with_a_cookie_and_no_csrf_token_is_refused():
    headers = await signed_in(may_publish=True, csrf=False)
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=PUBLISH)
    assert_refused(answer, 403, CSRF_FAILED)
    assert await Event.objects.acount() == 0


async def test_publishing_with_a_wrong_csrf_token_is_refused():
    cookies = (await signed_in(may_publish=True))[:1]
    headers = [*cookies, (b"x-csrftoken", b"b" * 32)]
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=PUBLISH)
    assert_refused(answer, 403, CSRF_FAILED)
    assert await Event.objects.acount() == 0


async def test_publishing_from_another_site_is_refused_even_with_the_token():
    headers = [*await signed_in(may_publish=True), (b"origin", b"https://elsewhere.example")]
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=PUBLISH)
    assert_refused(answer, 403, CSRF_FAILED)
    assert await Event.objects.acount() == 0


async def test_any_cookie_at_all_calls_for_the_csrf_token():
    answer = await fetch(app, TOPIC, method="POST", headers=[(b"cookie", b"seen=1")], body=PUBLISH)
    assert_refused(answer, 403, CSRF_FAILED)


FORM = "multipart/form-data; boundary=x"
FORMS = [
    pytest.param(
        FORM,
        b"--x\r\n",
        400,
        "the body is not JSON: Expecting value: line 1 column 1 (char 0)",
        id="multipart",
    ),
    pytest.param(
        "multipart/form-data", b"--x\r\n", 400, "Invalid boundary in multipart: None", id="no boundary"
    ),
    pytest.param(
        "application/x-www-form-urlencoded; charset=utf-7",
        PUBLISH,
        400,
        "HTTP requests with the 'application/x-www-form-urlencoded' content type must be UTF-8 encoded.",
        id="not UTF-8",
    ),
    pytest.param(
        "application/x-www-form-urlencoded",
        b"a&" * 1001,
        400,
        "The number of GET/POST parameters exceeded settings.DATA_UPLOAD_MAX_NUMBER_FIELDS.",
        id="too many fields",
    ),
    pytest.param(
        "application/x-www-form-urlencoded",
        b"a" * 2_621_441,
        413,
        "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.",
        id="too large",
    ),
]


@pytest.mark.parametrize(("content_type", "body", "status", "error"), FORMS)
async def test_a_form_where_json_belongs_is_refused(content_type, body, status, error):
    headers = [*await signed_in(may_publish=True), (b"content-type", content_type.encode())]
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=body)
    assert_refused(answer, status, error)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", FORM])
async def test_json_under_another_name_is_accepted(content_type):
    headers = [*await signed_in(may_publish=True), (b"content-type", content_type.encode())]
    answer = await fetch(app, TOPIC, method="POST", headers=headers, body=PUBLISH)
    assert answer.status == 201


async def test_without_the_middleware_that_knows_users_the_answer_says_so():
    with override_settings(MIDDLEWARE=[]):
        bare = get_asgi_application()
        answers = [await fetch(bare, TOPIC), await fetch(bare, TOPIC, method="POST", body=PUBLISH)]
    for answer in answers:
        assert_refused(answer, 501, "django.contrib.auth's AuthenticationMiddleware is missing")


# Under WSGI.


def call_wsgi(target, *, method="GET", headers=(), body=b""):
    """Call the WSGI application as a server does."""
    path, _, query = target.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    setup_testing_defaults(environ)
    for name, value in headers:
        environ["HTTP_" + name.decode().upper().replace("-", "_")] = value.decode()
    started = []
    response = get_wsgi_application()(environ, lambda *head: started.append(head))
    content = b"".join(response)
    response.close()
    ((status, headers),) = started
    return int(status[:3]), dict(headers), content


@pytest.mark.parametrize("target", [f"{EVENTS}notifications", TOPIC])
def test_streams_under_wsgi_are_refused_with_the_way_out(target):
    status, headers, content = call_wsgi(target)
    assert (status, content.decode()) == (501, json.dumps({"error": ASGI_NEEDED}))
    assert headers["Content-Type"] == "application/json"


def test_publishing_under_wsgi_works():
    publisher = headers_of(make_user(may_publish=True))
    status, headers, content = call_wsgi(TOPIC, method="POST", headers=publisher, body=PUBLISH)
    event = Event.objects.get()
    assert status == 201
    assert json.loads(content) == {
        "id": f"notifications={event}",
        "topic": "notifications",
        "receivers": 0,
    }
    assert event.data == "sent"


def test_publishing_under_wsgi_is_refused_as_under_asgi():
    status, _, content = call_wsgi(TOPIC, method="POST", body=PUBLISH)
    error = "you may not publish to 'notifications'; sign in first"
    assert (status, content.decode()) == (401, json.dumps({"error": error}))


# Cursors at fault: a stream that says so, and goes on.

UNREADABLE = {
    "truncated in the tag": b"notifications=1-abcdef1",
    "truncated before the tag": b"notifications=1-",
    "truncated in the name": b"notif",
    "truncated after a topic": b"notifications=1-00000001&",
    "of other topics": b"orders=3-00000001&alerts=7-00000002",
    "of 64 KiB": b"notifications=1-" + b"0" * 65_520,
    "of 64 KiB of entries": b"&".join(b"room.%d=1-00000001" % number for number in range(3500)),
    "one character too long": b"notifications=1-00000001&" + b"a" * (MAX_CURSOR_LENGTH - 24),
    "not UTF-8": b"notifications=\xff\xfe-00000001",
    "with NUL": b"notifications=1-0000000\0",
    "NUL alone": b"\0",
    "separators alone": b"&&&",
    "with a seq that no log has": b"notifications=9999999999999999999-00000001",
    "with a negative seq": b"notifications=-1-00000001",
    "with a topic twice": b"notifications=1-00000001&notifications=1-00000001",
    "in upper case": b"notifications=1-ABCDEF12",
    "of digits that are not ASCII": "notifications=\N{ARABIC-INDIC DIGIT ONE}-00000001".encode(),
    "HTML": b"<script>alert(1)</script>",
}


async def publish_three():
    return [(await apublish("notifications", str(number))).id for number in range(3)]


def reset_of(reason):
    told = {"topics": [{"topic": "notifications", "reason": reason, "missed": None}]}
    return json.dumps(told, separators=(",", ":"))


async def assert_reset_and_live(stream, reason, head):
    """The stream says what is wrong with the position, goes on at the head, and lives."""
    reset = await stream.event("reset")
    assert (reset.data, reset.id) == (reset_of(reason), head)
    published = await apublish("notifications", "live")
    event = await stream.event()
    assert (event.data, event.id) == ("live", published.id)
    assert stream.status == 200
    assert not stream.ended


def with_cursor(cursor, place):
    """Put the cursor in the header or in the query."""
    if place == "header":
        return {"target": TOPIC, "headers": [(b"last-event-id", cursor)]}
    return {"target": f"{TOPIC}?last_event_id={quote(cursor)}"}


@pytest.mark.parametrize("place", ["header", "query"])
@pytest.mark.parametrize("cursor", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_cursor_that_can_not_be_read_gives_a_reset_and_a_live_stream(cursor, place):
    *_, head = await publish_three()
    async with request(app, **with_cursor(cursor, place)) as stream:
        await assert_reset_and_live(stream, "unknown", head)


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_cursor_of_another_past_is_forked(place):
    _, middle, head = await publish_three()
    cursor = f"notifications={middle.removeprefix('notifications=')[:2]}{'0' * 8}"
    async with request(app, **with_cursor(cursor.encode(), place)) as stream:
        await assert_reset_and_live(stream, "forked", head)


@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_cursor_ahead_of_the_log_is_rewound(place):
    *_, head = await publish_three()
    async with request(app, **with_cursor(b"notifications=4-00000001", place)) as stream:
        await assert_reset_and_live(stream, "rewound", head)


@pytest.mark.parametrize("index", range(len("notifications=2-00000000")))
async def test_a_flipped_bit_anywhere_in_the_cursor_is_found(index):
    _, middle, head = await publish_three()
    cursor = bytearray(middle.encode())
    cursor[index] ^= 1
    readable = re.fullmatch(rb"notifications=[0-9]-[0-9a-f]{8}", cursor)
    async with request(app, **with_cursor(bytes(cursor), "header")) as stream:
        await assert_reset_and_live(stream, "forked" if readable else "unknown", head)


async def test_the_cursor_in_the_header_beats_the_one_in_the_query():
    first, *_ = await publish_three()
    async with request(app, f"{TOPIC}?last_event_id=broken", last_event_id=first) as stream:
        assert [(await stream.event()).data for _ in range(2)] == ["1", "2"]
    async with request(app, f"{TOPIC}?last_event_id={quote(first)}", last_event_id="broken") as stream:
        await stream.event("reset")


async def test_an_empty_header_leaves_the_query_its_say():
    first, *_ = await publish_three()
    async with request(app, f"{TOPIC}?last_event_id={quote(first)}", last_event_id="") as stream:
        assert [(await stream.event()).data for _ in range(2)] == ["1", "2"]


async def test_a_cursor_at_fault_in_one_topic_leaves_the_other_alone():
    _, middle, head = await publish_three()
    async with request(
        app, f"{EVENTS}notifications&topic=demo.clock", last_event_id=f"demo.clock=&{middle[:-8]}{'0' * 8}"
    ) as stream:
        reset = await stream.event("reset")
        assert reset.data == reset_of("forked")
        assert reset.id == f"notifications={head.removeprefix('notifications=')}&demo.clock="
        await apublish("demo.clock", "tick")
        assert (await stream.event()).data == "tick"
