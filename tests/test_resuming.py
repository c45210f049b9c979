"""Where a client wants to go on: the header, the query, text and bytes."""

from urllib.parse import quote

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.test import RequestFactory

from sse_app import last_event_id, last_event_id_bytes


def over_asgi(header, query):
    headers = [] if header is None else [(b"last-event-id", header)]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": headers}
    return ASGIRequest(scope, None)


def over_wsgi(header, query):
    extra = {} if header is None else {"HTTP_LAST_EVENT_ID": header.decode("latin-1")}
    return RequestFactory().get("/", QUERY_STRING=query.decode(), **extra)


@pytest.mark.parametrize("make", [over_asgi, over_wsgi])
@pytest.mark.parametrize(
    ("header", "query", "expected"),
    [
        (None, b"", None),
        (b"", b"", None),
        (b"  \t ", b"", None),
        (b"7", b"", b"7"),
        (b"  7 \t", b"", b"7"),
        (b"a b", b"", b"a b"),
        ("é…".encode(), b"", "é…".encode()),
        (b"\xff\x00\xfe", b"", b"\xff\x00\xfe"),
        (b"7", b"last_event_id=3", b"7"),
        (b"", b"last_event_id=3", b"3"),
        (None, b"last_event_id=3&last_event_id=4", b"4"),
        (None, b"topic=a&last_event_id=a%3D1%26b%3D2", b"a=1&b=2"),
        (None, b"last_event_id=+a+b+", b"a b"),
        (None, b"last%5Fevent_id=3", b"3"),
        (None, b"last_event_id=%FF%00%FE", b"\xff\x00\xfe"),
        (None, b"last_event_id", None),
        (None, b"last_event_ids=3&x=last_event_id", None),
        (None, b"last_event_id=" + quote("é…").encode(), "é…".encode()),
    ],
)
def test_the_header_wins_and_spaces_go(make, header, query, expected):
    request = make(header, query)
    assert last_event_id_bytes(request) == expected
    assert last_event_id(request) == (None if expected is None else expected.decode(errors="replace"))


def test_what_is_not_text_does_not_look_like_an_id():
    assert last_event_id(over_asgi(b"7\xff", b"")) == "7\N{REPLACEMENT CHARACTER}"


def test_a_query_that_was_not_escaped_is_read_as_utf_8():
    request = over_asgi(None, "last_event_id=é".encode())
    assert last_event_id(request) == "é"
