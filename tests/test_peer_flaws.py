"""What other servers of event streams lose, repeat, reorder or stumble over; each of it holds here."""

import asyncio
import random
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections, transaction

from sse_app import apublish, publish, publish_many
from sse_app.eventlog import get_event_log
from tests.asgi import poll, request
from tests.logs import LOGS, assert_complete, choose_log, everything_after, seq_of, take

app = get_asgi_application()

STREAM = "/sse/topics/orders/"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_MEMORY_LOG_ENTRIES = 10_000
    settings.SSE_TOPICS = {"orders": {}, "ticks": {"kind": "ephemeral"}}
    settings.SSE_TOPIC_POLICY = "tests.test_start.Open"


@pytest.fixture(params=LOGS)
def log(request, settings):
    return choose_log(request, settings)


# Publishing while a reader attaches.


class Disturbed:
    """Lets others publish just before and just after the first reads of the log."""

    def __init__(self, method):
        self.read = getattr(get_event_log(), method)
        self.left = 10
        self.under_way = 0

    async def __call__(self, *args, **options):
        self.under_way += 1
        await self._publish("before")
        answer = await self.read(*args, **options)
        await self._publish("after")
        self.under_way -= 1
        return answer

    async def _publish(self, moment):
        if self.left:
            self.left -= 1
            await apublish("orders", f"{moment} {self.left}")


@pytest.mark.parametrize(
    ("method", "resuming"),
    [("heads", False), ("heads", True), ("read", True)],
    ids=["fresh", "resuming", "resuming, at the log"],
)
async def test_what_is_published_while_a_reader_attaches_is_neither_lost_nor_repeated(
    log, monkeypatch, method, resuming
):
    backlog = [await apublish("orders", number) for number in range(4)]
    disturbed = Disturbed(method)
    monkeypatch.setattr(get_event_log(), method, disturbed)
    last = backlog[0].id if resuming else None
    async with request(app, STREAM, last_event_id=last) as stream:
        cursor = await stream.primed()
        assert not resuming or cursor == last
        await poll(lambda: disturbed.left < 10)
        monkeypatch.undo()
        await poll(lambda: not disturbed.under_way)
        await assert_complete(stream, cursor)


async def test_readers_reach_the_live_stream_of_a_topic_that_never_rests(log):
    resting = asyncio.Event()

    async def publish_without_rest():
        number = 0
        while not resting.is_set():
            await apublish("orders", number)
            number += 1

    publishing = asyncio.create_task(publish_without_rest())
    first = await apublish("orders", "first")
    async with request(app, STREAM) as fresh, request(app, STREAM, last_event_id=first.id) as resuming:
        cursors = [await fresh.primed(), await resuming.primed()]
        seen = [await take(stream, 20) for stream in (fresh, resuming)]
        resting.set()
        await publishing
        await apublish("orders", "end")
        for stream, cursor, begin in zip((fresh, resuming), cursors, seen, strict=True):
            expected = await everything_after(cursor)
            assert begin + await take(stream, len(expected) - 20) == expected


# Bursts, order, rollbacks.


def publish_in_batches(count, size):
    for begin in range(0, count, size):
        publish_many([("orders", number) for number in range(begin, begin + size)])


@pytest.mark.parametrize("batch", [500, 5])
async def test_of_a_burst_of_500_every_event_arrives(log, batch):
    async with request(app, STREAM) as stream:
        cursor = await stream.primed()
        stream.stall()
        await sync_to_async(publish_in_batches)(500, batch)
        stream.resume()
        await assert_complete(stream, cursor)


def publish_from_threads(threads, count):
    def publish_often(name):
        for number in range(count):
            with transaction.atomic():
                publish("orders", f"{name}{number}")
        connections.close_all()

    running = [threading.Thread(target=publish_often, args=(name,)) for name in "abcdefgh"[:threads]]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@pytest.mark.django_db(transaction=True)
async def test_ids_of_concurrent_publishers_come_in_order_and_a_cut_after_any_of_them_loses_none(log):
    publishing = asyncio.create_task(asyncio.to_thread(publish_from_threads, 6, 15))
    rng, last, seen = random.Random(7), "orders=0-00000000", []
    while len(seen) < 90:
        async with request(app, STREAM, last_event_id=last) as stream:
            for _ in range(min(rng.randrange(1, 9), 90 - len(seen))):
                event = await stream.event()
                seen.append(event.data)
                assert seq_of(event.id) == len(seen)
                last = event.id
    await publishing
    assert sorted(seen) == sorted(f"{name}{number}" for name in "abcdef" for number in range(15))
    for name in "abcdef":
        assert [data for data in seen if data[0] == name] == [f"{name}{number}" for number in range(15)]


@pytest.mark.django_db(transaction=True)
async def test_what_is_rolled_back_reaches_nobody_and_takes_no_id(log):
    def roll_back():
        for _ in range(3):
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                publish("orders", "never")
                1 / 0  # noqa: B018

    async with request(app, STREAM) as stream:
        cursor = await stream.primed()
        await sync_to_async(roll_back)()
        await assert_complete(stream, cursor)
    assert b"never" not in stream.content
    assert seq_of(stream.decoder.last_event_id) == 1


@pytest.mark.django_db(transaction=True)
async def test_a_reader_that_reconnects_while_a_transaction_is_open_is_not_reset(log):
    before = await apublish("orders", "before")
    published, committing = threading.Event(), threading.Event()

    def publish_slowly():
        with transaction.atomic():
            publish("orders", "inside")
            published.set()
            assert committing.wait(10)
        connections.close_all()

    slow = asyncio.create_task(asyncio.to_thread(publish_slowly))
    await asyncio.to_thread(published.wait, 10)
    for _ in range(2):
        async with request(app, STREAM, last_event_id=before.id) as stream:
            assert await stream.primed() == before.id
    async with request(app, STREAM, last_event_id=before.id) as stream:
        await stream.primed()
        committing.set()
        await slow
        await assert_complete(stream, before.id)


async def test_what_is_only_in_memory_is_sent_while_the_database_is_away():
    """This test has no database: connecting to it fails."""
    async with request(app, "/sse/topics/ticks/") as stream:
        await stream.primed()
        await apublish("ticks", "tick")
        assert (await stream.event()).data == "tick"
