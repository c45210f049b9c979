"""Idempotency keys that are none: refused, over HTTP and in programs, and nothing is sent."""

import json

import pytest
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command

from sse_app import Outgoing, publish_many
from sse_app.models import Event, Topic
from tests.accounts import signed_in
from tests.asgi import fetch

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

RULE = "idempotency_key: must be 1 to 200 printable characters, not "
EPHEMERAL = "idempotency_key: 'ticks' is ephemeral, nothing remembers it"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {"orders": {}, "config": {"kind": "latest"}, "ticks": {"kind": "ephemeral"}}


@pytest.fixture(autouse=True)
def nothing_sent():
    yield
    assert not Event.objects.exists()
    assert not Topic.objects.exists()


REFUSED = {
    "": "''",
    "x" * 201: "'" + "x" * 59,
    "a\nb": r"'a\nb'",
    "\0": r"'\x00'",
    "\ud800": r"'\ud800'",
    "\N{ZERO WIDTH SPACE}": r"'\u200b'",
    7: "7",
    b"key": "b'key'",
    True: "True",
    ("key",): "('key',)",
}


async def post(topic, headers):
    return await fetch(app, f"/sse/topics/{topic}/", method="POST", headers=headers, body=b'{"data": 1}')


def refusals():
    for key, told in REFUSED.items():
        yield "orders", key, RULE + told
        yield "config", key, RULE + told
        yield "ticks", key, RULE + told
    yield "ticks", "key", EPHEMERAL


def test_a_key_that_is_none_is_refused_and_nothing_is_sent():
    for topic, key, error in refusals():
        with pytest.raises(ValueError) as refusal:
            publish_many([("orders", "good"), Outgoing(topic, "bad", None, key)])
        assert refusal.value.args == (error,), key


def test_the_command_refuses_it_too():
    for topic, key, told in (
        ("orders", "", f"{RULE}''"),
        ("ticks", "k", EPHEMERAL),
    ):
        with pytest.raises(CommandError) as refusal:
            call_command("sse_publish", topic, "data", idempotency_key=key)
        assert str(refusal.value) == told


async def test_over_http_it_is_a_400():
    headers = await signed_in(may_publish=True)
    keys = {b"": "''", b'""': "''", b"x" * 201: "'" + "x" * 59, b"a\x00b": r"'a\x00b'", b"\x7f": r"'\x7f'"}
    for key, told in keys.items():
        answer = await post("orders", [*headers, (b"idempotency-key", key)])
        assert (answer.status, json.loads(answer.content)) == (400, {"error": RULE + told})
        assert answer.headers["cache-control"] == "no-store"
    answer = await post("ticks", [*headers, (b"idempotency-key", b"key")])
    assert (answer.status, json.loads(answer.content)) == (400, {"error": EPHEMERAL})
