"""The promises of the README, one test each (those that need real processes: tests/integration)."""

import asyncio
import json
import random
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections, transaction
from django.test import override_settings

from sse_app import apublish, publish
from sse_app.models import Event
from tests.asgi import fetch, poll, request

pytestmark = pytest.mark.django_db(transaction=True)

STREAM = "/sse/topics/notifications/"
app = get_asgi_application()


async def test_order_events_arrive_in_the_order_of_their_commits():
    def publish_slowly(name):
        for number in range(10):
            with transaction.atomic():
                publish("notifications", f"{name}{number}")
        connections.close_all()

    threads = [threading.Thread(target=publish_slowly, args=(name,)) for name in "abcd"]
    async with request(app, STREAM) as stream:
        await stream.primed()
        for thread in threads:
            thread.start()
        events = [await stream.event() for _ in range(40)]
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    committed = await sync_to_async(list)(Event.objects.order_by("seq").values_list("data", flat=True))
    assert [event.data for event in events] == committed
    for name in "abcd":
        own = [event.data for event in events if event.data.startswith(name)]
        assert own == [f"{name}{number}" for number in range(10)]


async def test_nothing_lost_in_silence_what_is_gone_is_told_with_its_number():
    first = await apublish("notifications", "seen")
    for number in range(20):
        await apublish("notifications", str(number))
    await sync_to_async(Event.objects.filter(seq__lt=15).delete)()
    async with request(app, STREAM, last_event_id=first.id) as stream:
        reset = await stream.event("reset")
        await apublish("notifications", "goes on")
        assert (await stream.event()).data == "goes on"
    assert json.loads(reset.data) == {
        "topics": [{"topic": "notifications", "reason": "trimmed", "missed": 20}]
    }


async def test_nothing_twice_whenever_the_connection_is_cut():
    rng = random.Random(7)
    last, seen, published = None, [], 0
    while len(seen) < 100:
        async with request(app, STREAM, last_event_id=last) as stream:
            last = await stream.primed()
            for _ in range(rng.randrange(8)):
                await apublish("notifications", str(published))
                published += 1
            for _ in range(rng.randrange(published - len(seen) + 1)):
                event = await stream.event()
                seen.append(event.data)
                last = event.id
    assert seen == [str(number) for number in range(len(seen))]


async def test_atomic_with_the_orm_an_event_exists_if_and_only_if_its_transaction_commits():
    def outcomes():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish("notifications", "rolled back")
            1 / 0  # noqa: B018
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish("notifications", "rolled back with its savepoint")
                1 / 0  # noqa: B018
            publish("notifications", "committed")
            assert not stream.events

    async with request(app, STREAM) as stream:
        await stream.primed()
        await sync_to_async(outcomes)()
        event = await stream.event()
    assert event.data == "committed"
    assert await Event.objects.acount() == 1


@override_settings(SSE_RING_ENTRIES=8)
async def test_slow_readers_hurt_only_themselves_a_durable_topic_catches_up_from_the_log():
    async with request(app, STREAM) as slow, request(app, STREAM) as quick:
        await slow.primed()
        await quick.primed()
        slow.stall()
        for number in range(300):
            await apublish("notifications", str(number))
        assert [(await quick.event()).data for _ in range(300)] == [str(n) for n in range(300)]
        assert slow.events == []
        slow.resume()
        assert [(await slow.event()).data for _ in range(300)] == [str(n) for n in range(300)]


@override_settings(SSE_RING_ENTRIES=8)
async def test_slow_readers_hurt_only_themselves_an_ephemeral_topic_tells_once_how_many_were_lost():
    async with request(app, "/sse/topics/demo.ticks/") as slow:
        await slow.primed()
        slow.stall()
        await apublish("demo.ticks", "stuck in send")
        await poll(lambda: slow.blocked_in_send)
        for number in range(100):
            await apublish("demo.ticks", str(number))
        await asyncio.sleep(0)
        slow.resume()
        assert (await slow.event()).data == "stuck in send"
        lagged = await slow.event("lagged")
        assert json.loads(lagged.data) == {"topic": "demo.ticks", "missed": 92}
        assert [(await slow.event()).data for _ in range(8)] == [str(number) for number in range(92, 100)]


class BrokenLayer:
    """A channel layer whose broker is gone."""

    def __init__(self, **options):
        pass

    async def new_channel(self, prefix="specific"):
        raise ConnectionError("no broker")

    receive = group_add = group_discard = group_send = new_channel


@override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_promises.BrokenLayer"}})
async def test_the_channel_layer_is_a_doorbell_without_it_events_arrive_all_the_same(caplog):
    async with request(app, STREAM) as stream:
        await stream.primed()
        await apublish("notifications", "published here")
        assert (await stream.event()).data == "published here"
        await sync_to_async(append_as_another_process_would)("published elsewhere")
        assert (await stream.event()).data == "published elsewhere"
    assert "no broker" in caplog.text


def append_as_another_process_would(data):
    from sse_app.eventlog.orm import ORMEventLog

    ORMEventLog().append("notifications", None, data, keep_one=False)


async def test_closed_by_default_without_a_policy_nobody_reads_and_nobody_publishes():
    with override_settings(SSE_TOPIC_POLICY="sse_app.TopicPolicy"):
        reading = await fetch(app, STREAM)
        publishing = await fetch(app, STREAM, method="POST", body=b'{"data": 1}')
    assert (reading.status, publishing.status) == (401, 401)
    assert await Event.objects.acount() == 0
