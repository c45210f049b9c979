"""Junk in every header and parameter: never a 500, and a stream that opens is a live one."""

import json
from urllib.parse import quote

import pytest
from django.core.asgi import get_asgi_application

from sse_app import apublish
from tests.accounts import signed_in
from tests.asgi import fetch, request

app = get_asgi_application()

STREAM = "/sse/events/?topic=orders"
EXPORT = "/sse/topics/orders/export/?"

HEADERS = [
    *("accept", "accept-charset", "accept-encoding", "accept-language", "authorization", "cache-control"),
    *("connection", "content-encoding", "content-length", "content-type", "cookie", "date", "expect"),
    *("forwarded", "from", "host", "idempotency-key", "if-match", "if-modified-since", "if-none-match"),
    *("if-range", "keep-alive", "last-event-id", "max-forwards", "origin", "pragma", "range", "referer"),
    *("te", "transfer-encoding", "upgrade", "user-agent", "via", "x-csrftoken", "x-forwarded-for"),
    *("x-forwarded-host", "x-forwarded-proto", "x-http-method-override", "x-requested-with"),
]
JUNK = {
    "nothing": b"",
    "a word": b"junk",
    "a channel and a word": b"t:abc",
    "bytes that are no UTF-8": b"\xff\xfe\x80",
    "NUL": b"a\0b",
    "lines": b"a\r\nb: c\n\n",
    "separators": b",;=&:/%?\"'",
    "a number without end": b"9" * 5000,
    "a negative number": b"-1",
    "a number that is none": b"1e999",
    "braces": b'{"a": [{}]}' * 50,
    "64 KiB": b"x" * 65_536,
    "an emoji": "\N{PILE OF POO}".encode(),
    "a format": b"%s%n{0}{{x}}${jndi:x}",
}


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPICS = {"orders": {}}
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"


async def assert_live(stream):
    """What is published now arrives, after a reset or without one, and the stream goes on."""
    await stream.primed()
    published = await apublish("orders", "live")
    event = await stream.event()
    while event.event == "reset":
        event = await stream.event()
    assert (event.data, event.id) == ("live", published.id)
    assert not stream.ended


async def assert_sound(target, **options):
    """The answer is a refusal that is told, or a stream that lives."""
    async with request(app, target, **options) as stream:
        await stream.until(lambda: stream.status)
        if stream.status == 200:
            await assert_live(stream)
        else:
            assert 400 <= stream.status < 500
            await stream.until(lambda: stream.ended)
    return stream.status


def each_with_junk(headers, left_out):
    """Give all headers with the same junk, and those that are left out each by itself."""
    names = [name for name in headers if name not in left_out]
    for junk in JUNK.values():
        yield names, junk
    for name in left_out:
        for junk in JUNK.values():
            yield [name], junk


@pytest.mark.django_db(transaction=True)
async def test_junk_in_the_headers_breaks_no_stream():
    for names, junk in each_with_junk(HEADERS, left_out=["accept", "host", "cookie", "last-event-id"]):
        status = await assert_sound(STREAM, headers=[(name.encode(), junk) for name in names])
        refused = {"accept": 406, "host": 400}.get(names[0])
        assert status == 200 or (len(names) == 1 and status == refused), (names, junk[:20])


@pytest.mark.django_db(transaction=True)
async def test_junk_in_the_headers_breaks_no_publishing():
    headers = await signed_in(may_publish=True)
    body = b'{"data": 1}'
    sound = [name for name in HEADERS if name != "content-length"]  # servers refuse it themselves
    alone = ["cookie", "host", "idempotency-key", "origin", "referer", "x-csrftoken"]
    for names, junk in each_with_junk(sound, left_out=alone):
        sent = [*headers, *((name.encode(), junk) for name in names)]
        answer = await fetch(app, "/sse/topics/orders/", method="POST", headers=sent, body=body)
        assert answer.status == 201 or 400 <= answer.status < 500, (names, junk[:20])


UNKNOWN = ["es-meta", "after", "limit", "event", "", "\0", "topic[]", "\N{PILE OF POO}"]


async def test_junk_in_the_parameters_breaks_no_stream():
    for junk in map(quote, JUNK.values()):
        unknown = "&".join(f"{quote(name)}={junk}" for name in UNKNOWN)
        assert await assert_sound(f"{STREAM}&{unknown}") == 200
        assert await assert_sound(f"{STREAM}&last_event_id={junk}&{unknown}") == 200
        assert await assert_sound(f"{STREAM}&since={junk}&{unknown}") == 400
        assert await assert_sound(f"{STREAM}&topic={junk}&{unknown}") in (400, 404)


async def test_junk_in_the_parameters_breaks_no_export():
    await apublish("orders", 1)
    for junk in JUNK.values():
        for name in ("after", "since", "limit", "es-meta"):
            answer = await fetch(app, f"{EXPORT}{name}={quote(junk)}")
            assert answer.status == 400
            assert list(json.loads(answer.content)) == ["error"]
        answer = await fetch(app, f"{EXPORT}event={quote(junk)}")
        assert (answer.status, answer.content if junk else b"") == (200 if junk else 400, b"")


async def test_junk_in_a_path_is_no_topic():
    for junk in JUNK.values():
        for end in ("/", "/export/"):
            answer = await fetch(app, f"/sse/topics/{quote(junk, safe='')}{end}")
            assert answer.status in (400, 404)


BROKEN_QUERIES = [
    *("&&&", "=&=", "&" * 900, "%", "%%%", "#", "?topic=", "+", "topic&last_event_id", "since%"),
    *("last_event_id", "last_event_id=%", "last_event_id=%F0%9F%92"),
]


async def test_a_broken_query_breaks_no_stream():
    for query in BROKEN_QUERIES:
        await assert_sound(f"{STREAM}&{query}")
