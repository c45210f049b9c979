"""Beginnings that are none: refused with the reason, or answered by a reset."""

import json
from urllib.parse import quote

import pytest
from django.core.asgi import get_asgi_application

from sse_app import apublish
from tests.asgi import fetch, request

app = get_asgi_application()

ORDERS = "/sse/events/?topic=orders"
DAYS_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_EVENT_LOG = "memory"
    settings.SSE_TOPICS = {"orders": {}}
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"


def assert_refused(answer, status, error):
    assert (answer.status, answer.content.decode()) == (status, json.dumps({"error": error}))


async def test_two_beginnings_in_one_address_are_refused():
    for header in (None, "earliest", "orders=1-00000000"):
        for cursor in ("earliest", "", "orders=1-00000000"):
            target = f"{ORDERS}&since={DAYS_AGO}&last_event_id={cursor}"
            answer = await fetch(app, target, last_event_id=header)
            assert_refused(answer, 400, "give last_event_id or since, not both")


NO_TIME = [
    *("", "yesterday", "earliest", "0", "\0", "1769860800", "\N{REPLACEMENT CHARACTER}", "9" * 9999),
    *("2026-01-31", "2026-01-31T12:00:00", "2026-02-31T12:00:00Z", "0001-01-01T00:00:00+23:00"),
]


async def test_a_moment_that_is_none_is_refused():
    for since in NO_TIME:
        for address in (f"{ORDERS}&", "/sse/topics/orders/?"):
            answer = await fetch(app, f"{address}since={quote(since)}", last_event_id="orders=1-00000000")
            rule = "since: must be a time with its zone, such as 2026-01-31T12:00:00Z"
            assert_refused(answer, 400, f"{rule}, not {since!r}")


async def test_another_word_for_the_beginning_is_a_cursor_that_can_not_be_read():
    head = (await apublish("orders", 1)).id
    for cursor in ("Earliest", "earliest!", "oldest", "latest", "0", "$", "-1"):
        async with request(app, f"{ORDERS}&last_event_id={quote(cursor)}") as stream:
            reset = await stream.event("reset")
        assert json.loads(reset.data)["topics"] == [{"topic": "orders", "reason": "unknown", "missed": None}]
        assert reset.id == head
