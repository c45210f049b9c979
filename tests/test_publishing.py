"""Publishing from programs."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils.translation import gettext_lazy

from sse_app import EventTooLarge, IllegalTopic, UnknownTopic, apublish, publish, subscribe
from sse_app.models import Event
from sse_app.publishing import RESERVED_EVENTS
from sse_app.subscribing import get_hub

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {"orders": {}, "ticks": {"kind": "ephemeral"}, "config": {"kind": "latest"}}


def test_it_gives_the_position_in_the_log_and_the_readers_of_this_process():
    published = publish("orders", {"total": 7}, event="order")
    row = Event.objects.get()
    assert (row.event, row.data) == ("order", '{"total":7}')
    assert str(published.position) == str(row)
    assert published.id == f"orders={row}"
    assert published.receivers == 0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("as it is\n", "as it is\n"),
        (b"bytes", "bytes"),
        (None, "null"),
        ("", ""),
        ([1, True], "[1,true]"),
        (gettext_lazy("Home"), '"Home"'),
    ],
)
def test_data_is_kept_as_the_text_that_goes_out(data, text):
    publish("orders", data)
    assert Event.objects.get().data == text


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (
            ("or ders", 1),
            {},
            IllegalTopic,
            "illegal topic 'or ders': 1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, "
            "the first a letter or digit",
        ),
        (("others", 1), {}, UnknownTopic, "no topic 'others' is declared"),
        (("orders", object()), {}, ValueError, "data: not JSON: object has no JSON form"),
        (("orders", b"\xff"), {}, ValueError, "data: bytes must be UTF-8; send binary data as base64"),
        (
            ("orders", "a\0b"),
            {},
            ValueError,
            "data: must not contain NUL, which PostgreSQL can't keep; JSON escapes it",
        ),
        (
            ("orders", 1),
            {"event": "a\0b"},
            ValueError,
            "event: must not contain NUL, which PostgreSQL can't keep",
        ),
        (("orders", "\ud800"), {}, ValueError, "data: must not contain a lone surrogate"),
        (("orders", 1), {"event": "a\nb"}, ValueError, "event: must be one line, without CR or LF"),
        (
            ("orders", 1),
            {"event": "reset"},
            ValueError,
            "event: 'reset' is reserved, as are closed, cursor, error, lagged, open, reset, shutdown",
        ),
        (("orders", 1), {"event": "x" * 101}, ValueError, "event: must have at most 100 characters, not 101"),
        (
            ("orders", "ü" * 32769),
            {},
            EventTooLarge,
            "data: 65538 bytes are more than the 65536 of SSE_MAX_EVENT_BYTES",
        ),
    ],
)
def test_bad_input_is_refused_and_nothing_is_sent(arguments, options, error, text):
    with pytest.raises(error) as refusal:
        publish(*arguments, **options)
    assert refusal.value.args[0] == text
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_names_of_the_protocol_are_reserved(name):
    with pytest.raises(ValueError, match="is reserved"):
        publish("orders", 1, event=name)


async def test_it_counts_the_readers_of_this_process():
    async with subscribe("orders") as first, subscribe(["orders", "ticks"]) as second:
        waiting = [asyncio.ensure_future(anext(messages)) for messages in (first, second)]
        await asyncio.sleep(0.05)
        assert (await apublish("orders", 1)).receivers == 2
        assert (await apublish("ticks", 1)).receivers == 1
        await asyncio.wait(waiting)


@pytest.mark.parametrize("topic", ["orders", "ticks", "config"])
async def test_nothing_goes_out_before_the_transaction_commits(topic):
    heard = []
    hub = get_hub()
    hub.hint = heard.append

    def publish_in_transaction():
        with transaction.atomic():
            publish(topic, "inside")
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), hub.loop).result()
            assert heard == []

    await sync_to_async(publish_in_transaction)()
    await asyncio.sleep(0)
    assert [bell.topic for bell in heard] == [topic]


def test_a_latest_topic_keeps_one_row():
    for number in range(3):
        publish("config", number)
    assert [event.data for event in Event.objects.all()] == ["2"]
