"""Races of transactions: who takes a place in the log first, who commits first, and who never does."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections, transaction

from sse_app import publish
from sse_app.models import Event
from tests.asgi import request

pytestmark = pytest.mark.django_db(transaction=True)

TOPIC = "notifications"
STREAM = f"/sse/topics/{TOPIC}/"
app = get_asgi_application()


class RolledBack(Exception):
    """Ends a transaction without a trace."""


def in_thread(call):
    """Start it in a thread with a database connection of its own."""
    done = threading.Event()

    def run():
        try:
            call()
        finally:
            connections.close_all()
            done.set()

    threading.Thread(target=run).start()
    return done


def hold_a_place_while_another_publishes(ending):
    """A publishes and stays in its transaction until B, too, is about to publish."""
    b_begins = threading.Event()
    committed = []

    def publish_b():
        b_begins.set()
        publish(TOPIC, "b")

    try:
        with transaction.atomic():
            publish(TOPIC, "a")
            b_ends = in_thread(publish_b)
            assert b_begins.wait(10)
            look = in_thread(lambda: committed.extend(Event.objects.values_list("data", flat=True)))
            assert look.wait(10)
            assert committed == []  # B waits for A's place in the log
            if ending is not None:
                raise ending
    except RolledBack:
        pass
    assert b_ends.wait(30)


async def seen_by_a_reader(call, count):
    async with request(app, STREAM) as stream:
        await stream.primed()
        await sync_to_async(call)()
        events = [await stream.event() for _ in range(count)]
        assert not stream.events
    return [(event.id.partition("-")[0], event.data) for event in events]


async def test_a_takes_its_seq_first_and_b_can_not_commit_before_it():
    """A plain id would let a reader that has seen B pass A by for ever."""
    seen = await seen_by_a_reader(lambda: hold_a_place_while_another_publishes(None), 2)
    assert seen == [(f"{TOPIC}=1", "a"), (f"{TOPIC}=2", "b")]


async def test_a_rolls_back_after_it_has_taken_its_seq_and_leaves_no_gap():
    seen = await seen_by_a_reader(lambda: hold_a_place_while_another_publishes(RolledBack()), 1)
    assert seen == [(f"{TOPIC}=1", "b")]


def nest():
    with transaction.atomic():
        publish(TOPIC, "outer")
        with transaction.atomic():
            publish(TOPIC, "inner")
            with pytest.raises(RolledBack), transaction.atomic():
                publish(TOPIC, "innermost, undone with its savepoint")
                raise RolledBack
        with pytest.raises(RolledBack), transaction.atomic(savepoint=True):
            with transaction.atomic():
                publish(TOPIC, "undone with the savepoint around its own")
            raise RolledBack
        publish(TOPIC, "after")


async def test_nested_atomic_and_savepoints_that_are_rolled_back():
    seen = await seen_by_a_reader(nest, 3)
    assert seen == [(f"{TOPIC}=1", "outer"), (f"{TOPIC}=2", "inner"), (f"{TOPIC}=3", "after")]


def fail(*args):
    raise ZeroDivisionError("somebody else's callback")


def commit_with_a_callback_that_fails(first):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        if first:
            transaction.on_commit(fail)
        publish(TOPIC, "committed")
        if not first:
            transaction.on_commit(fail)


@pytest.mark.parametrize("first", [True, False], ids=["before the doorbell", "after it"])
async def test_an_exception_in_on_commit_hides_no_event(first):
    """Django runs no callback after one that fails: the doorbell is lost, and the tick must do."""
    async with asyncio.timeout(3):
        assert await seen_by_a_reader(lambda: commit_with_a_callback_that_fails(first), 1) == [
            (f"{TOPIC}=1", "committed")
        ]


async def test_an_exception_in_the_doorbell_hides_nothing_from_the_caller(monkeypatch, caplog):
    """The event is committed: the caller must not be told that publishing has failed."""
    monkeypatch.setattr("sse_app.outbox.send", fail)
    async with asyncio.timeout(3):
        assert await seen_by_a_reader(lambda: publish(TOPIC, "committed"), 1) == [(f"{TOPIC}=1", "committed")]
    assert "somebody else's callback" in caplog.text
