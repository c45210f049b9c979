"""Snapshots on the wire."""

import pytest

from sse_app import ServerSentEvent
from sse_app.events import EventDecoder
from sse_app.snapshot import Shown
from sse_app.subscription import Subscription

pytestmark = pytest.mark.django_db(transaction=True)


def snapshot(user, scope, topic):
    yield ServerSentEvent(f"of {topic}", event="shown")
    yield ServerSentEvent()


async def shown(*topics):
    """Give the comment and the data of the snapshots that a new reader of the topics gets."""
    subscription = Subscription(topics)

    async def source(topic):
        for event in snapshot(None, {}, topic):
            yield event

    subscription.snapshots = {topic: lambda topic=topic: source(topic) for topic in topics}
    decoder, events = EventDecoder(), []
    blocks = subscription.blocks()
    async for block in blocks:
        events += decoder.feed(block)
        if events[-1].event == "cursor" and events[-1].id:
            break
    await blocks.aclose()
    assert all(event.id is None for event in events[:-1])
    return [(event.comment, event.data) for event in events if event.event == "shown"]


async def test_a_stream_of_several_topics_says_of_which_each_part_is(settings):
    settings.SSE_TOPICS = {"orders": {}, "alerts": {}}
    assert await shown("orders", "alerts") == [
        ("topic=orders", "of orders"),
        ("topic=alerts", "of alerts"),
    ]
    assert await shown("alerts") == [(None, "of alerts")]


def test_what_is_nothing_on_the_wire_has_no_topic_either():
    assert Shown("orders", ServerSentEvent()).block_with_topic == b""
