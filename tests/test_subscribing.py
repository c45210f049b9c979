"""Subscribing outside HTTP."""

import asyncio
import json

import pytest

from sse_app import IllegalTopic, TooManyTopics, UnknownTopic, apublish, subscribe
from sse_app.hub import hubs
from sse_app.subscription import Subscription
from tests.asgi import poll, started

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {"orders": {}, "alerts": {}, "ticks": {"kind": "ephemeral"}}
    settings.SSE_MAX_TOPICS = 3


async def take(messages, count):
    async with asyncio.timeout(10):
        return [await anext(messages) for _ in range(count)]


async def test_messages_say_where_they_belong_and_how_to_come_back():
    async with subscribe("orders") as messages:
        first = await started(messages)
        published = await apublish("orders", {"total": 1}, event="order")
        message = await first
    assert (message.topic, message.event, json.loads(message.data)) == ("orders", "order", {"total": 1})
    assert message.id == published.id
    await apublish("orders", "missed")
    async with subscribe("orders", cursor=message.id) as messages:
        assert (await take(messages, 1))[0].data == "missed"


async def test_topics_of_all_kinds_come_in_one_stream():
    async with subscribe(["orders", "ticks", "alerts"]) as messages:
        first = await started(messages)
        order = await apublish("orders", "1")
        await apublish("ticks", "2")
        alert = await apublish("alerts", "3")
        got = [await first, *await take(messages, 2)]
    assert sorted((message.topic, message.data) for message in got) == [
        ("alerts", "3"),
        ("orders", "1"),
        ("ticks", "2"),
    ]
    by_topic = {message.topic: message.id for message in got}
    assert by_topic["alerts"] == f"alerts={alert.position}&orders={order.position}&ticks="
    assert by_topic["ticks"].startswith("ticks=&orders=")


async def test_resets_and_lags_are_messages_without_a_topic(settings):
    settings.SSE_RING_ENTRIES = 2
    async with subscribe(["orders", "ticks"], cursor="orders=9-00000009") as messages:
        (reset,) = await take(messages, 1)
        assert (reset.topic, reset.event) == ("", "reset")
        assert json.loads(reset.data) == {
            "topics": [{"topic": "orders", "reason": "rewound", "missed": None}]
        }
        for number in range(5):
            await apublish("ticks", number)
        await poll(lambda: hubs()[0].tails["ticks"].ring.last.seq == 5)
        lagged, *rest = await take(messages, 3)
    assert (lagged.event, json.loads(lagged.data)) == ("lagged", {"topic": "ticks", "missed": 3})
    assert [message.data for message in rest] == ["3", "4"]


async def test_leaving_the_block_leaves_the_topics():
    async with subscribe("orders") as messages:
        first = await started(messages)
        (hub,) = hubs()
        assert hub.count("orders") == 1
        first.cancel()
        await asyncio.wait({first})
    assert hub.count("orders") == 0


@pytest.mark.parametrize(
    ("topics", "error", "text"),
    [
        (["-"], IllegalTopic, "illegal topic '-'"),
        (["none"], UnknownTopic, "no topic 'none' is declared"),
        (
            ["orders", "alerts", "ticks", "orders", "x"],
            TooManyTopics,
            "4 topics are more than the 3 of SSE_MAX_TOPICS",
        ),
    ],
)
def test_a_subscription_that_can_not_be_is_refused_when_it_is_made(topics, error, text):
    with pytest.raises(error, match=text):
        Subscription(topics)


def test_topics_whose_cursor_could_not_be_read_back_are_refused(settings):
    settings.SSE_TOPICS = {"{name}": {}}
    settings.SSE_MAX_TOPICS = 1000
    Subscription(["x" * 98 + f"{number:02d}" for number in range(31)])
    with pytest.raises(TooManyTopics) as refusal:
        Subscription(["x" * 98 + f"{number:02d}" for number in range(32)])
    assert str(refusal.value) == "a cursor of these 32 topics would be too long to be read back"


async def test_waiting_for_a_message_may_be_given_up_and_taken_up_again():
    async with subscribe("orders") as messages:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(messages), 0.05)
        await apublish("orders", "at last")
        assert (await take(messages, 1))[0].data == "at last"


async def test_leaving_the_block_ends_an_iteration_elsewhere():
    async with subscribe("orders") as messages:
        elsewhere = await started(messages)
    with pytest.raises(StopAsyncIteration):
        await elsewhere
