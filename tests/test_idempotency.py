"""Publishing with an idempotency key: one event, however often and by whomever it is tried."""

import asyncio
import json
import threading
from io import StringIO

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import connections, transaction

from sse_app import Outgoing, apublish, apublish_many, publish, publish_many, subscribe
from sse_app.eventlog import get_event_log
from sse_app.models import IdempotencyKey
from tests.accounts import signed_in
from tests.asgi import fetch, request, started
from tests.logs import choose_log

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

TOPIC = "/sse/topics/notifications/"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {
        "notifications": {},
        "orders": {},
        "config": {"kind": "latest"},
        "ticks": {"kind": "ephemeral"},
    }


@pytest.fixture(params=["orm", "memory", "redis"])
def log(request, settings):
    return choose_log(request, settings)


def _kept(topic="orders"):
    """Give the data of what the log keeps."""
    return [entry.data for entry in asyncio.run(get_event_log().read(topic, 0, 1000)).entries]


kept = sync_to_async(_kept)


async def post(headers, key, *, topic=TOPIC):
    headers = [*headers, (b"idempotency-key", key)]
    return await fetch(app, topic, method="POST", headers=headers, body=b'{"data": "paid"}')


# One event.


async def test_every_way_to_publish_knows_the_keys_of_the_others(log):
    first = await apublish("notifications", "paid", event="order", idempotency_key="invoice 7")
    retries = [
        await sync_to_async(publish)("notifications", "paid", event="order", idempotency_key="invoice 7"),
        *await apublish_many([("notifications", "paid", "order", "invoice 7")]),
        *await sync_to_async(publish_many)([Outgoing("notifications", 1, idempotency_key="invoice 7")]),
    ]
    assert retries == [first] * 3
    output = StringIO()
    options = {"event": "order", "idempotency_key": "invoice 7", "stdout": output}
    await sync_to_async(call_command)("sse_publish", "notifications", "paid", **options)
    assert output.getvalue() == f"{first.id}\n"
    assert await kept("notifications") == ["paid"]


async def test_over_http_a_key_is_known_quoted_or_bare_and_is_its_users_own(log):
    headers = await signed_in(may_publish=True)
    answers = [await post(headers, key) for key in (b"invoice 7", b'"invoice 7"', b"invoice 7")]
    assert [answer.status for answer in answers] == [201] * 3
    (told,) = {answer.content for answer in answers}
    others = await signed_in("another", may_publish=True)
    elsewhere = await post(others, b"invoice 7")
    assert elsewhere.status == 201
    assert json.loads(elsewhere.content)["id"] != json.loads(told)["id"]
    assert await kept("notifications") == ["paid"] * 2


async def test_a_retry_with_other_content_sends_nothing_either(log):
    first = await apublish("orders", "first", idempotency_key="key")
    assert await apublish("orders", {"an": "other"}, event="named", idempotency_key="key") == first
    assert await kept() == ["first"]


async def test_keys_differ_by_topic_by_case_and_by_every_character(log):
    keys = [
        "key",
        "KEY",
        " key",
        "key ",
        "k",
        "'key'",
        '"key"',
        "schlüssel",
        "schlu\N{COMBINING DIAERESIS}ssel",
    ]
    published = [await apublish("orders", key, idempotency_key=key) for key in keys]
    published.append(await apublish("notifications", "key", idempotency_key="key"))
    published.append(await apublish("orders", "without"))
    published.append(await apublish("orders", "without"))
    assert len({one.id for one in published}) == len(published)
    assert await kept() == [*keys, "without", "without"]
    assert await kept("notifications") == ["key"]


async def test_the_longest_key_is_kept_whole(log):
    keys = ["ü" * 199 + end for end in "ab"]
    published = [await apublish("orders", key, idempotency_key=key) for key in keys * 2]
    assert [one.position.seq for one in published] == [1, 2, 1, 2]


async def test_a_batch_may_be_tried_again_with_more_in_it(log):
    keyed = [("orders", number, None, f"key {number}") for number in range(3)]
    first = await apublish_many(keyed[:2])
    again = await apublish_many([*keyed, ("orders", "no key"), keyed[0], ("notifications", 7, None, "key 0")])
    assert [one.position for one in again[:2]] == [one.position for one in first]
    assert again[4] == again[0]
    assert [one.position.seq for one in again] == [1, 2, 3, 4, 1, 1]
    assert await kept() == ["0", "1", "2", "no key"]


def at_once(call, count=8):
    """Call it in so many threads at the same time; give what they got."""
    start, got = threading.Barrier(count), []

    def run():
        start.wait(10)
        got.append(call())
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == count
    return got


def test_of_retries_at_the_same_time_one_sends_and_all_get_the_same_answer(log):
    for number in range(5):  # on a topic never written, and on one that is in use
        answers = at_once(lambda number=number: publish("orders", number, idempotency_key=f"key {number}"))
        assert set(answers) == {answers[0]}
        assert answers[0].position.seq == number + 1
    assert _kept() == ["0", "1", "2", "3", "4"]


async def test_readers_get_one_event_however_often_it_is_tried(log):
    async with subscribe("orders") as messages:
        first = await started(messages)
        for _ in range(5):
            published = await apublish("orders", "once", idempotency_key="key")
        await apublish("orders", "next")
        assert [(await first).data, (await anext(messages)).data] == ["once", "next"]
    assert published.receivers == 1


async def test_of_a_latest_topic_a_late_retry_does_not_bring_back_an_old_value(log):
    first = await apublish("config", "old", idempotency_key="key")
    await apublish("config", "new")
    async with subscribe("config") as messages:
        assert (await anext(messages)).data == "new"
        assert (await apublish("config", "old", idempotency_key="key")).position == first.position
        await apublish("config", "newest")
        assert (await anext(messages)).data == "newest"


# The bell.


async def test_a_reader_whose_bell_was_lost_gets_the_event_from_the_retry(log, settings, monkeypatch):
    settings.SSE_TICK = None  # nothing else would find it
    async with request(app, TOPIC) as stream:
        await stream.primed()
        with monkeypatch.context() as deaf:
            deaf.setattr("sse_app.hub.Hub.ring", lambda hub, bell: None)
            first = await apublish("notifications", "rung twice", idempotency_key="key")
            assert stream.events == []
        await apublish("notifications", "rung twice", idempotency_key="key")
        event = await stream.event()
    assert (event.data, event.id) == ("rung twice", first.id)


# Transactions.


def test_a_first_try_that_is_rolled_back_leaves_no_trace(log):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish("orders", "rolled back", idempotency_key="key")
        1 / 0  # noqa: B018
    assert not IdempotencyKey.objects.exists()
    second = publish("orders", "committed", idempotency_key="key")
    assert second.position.seq == 1
    assert publish("orders", "again", idempotency_key="key") == second
    assert _kept() == ["committed"]


def test_two_tries_in_one_transaction_send_one_event(log):
    with transaction.atomic():
        tries = [publish("orders", number, idempotency_key="key") for number in range(2)]
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish("orders", "in a savepoint", idempotency_key="another")
            1 / 0  # noqa: B018
    assert tries[0] == tries[1]
    assert _kept() == ["0"]
    assert publish("orders", "another", idempotency_key="another").position.seq == 2


# What a key is.


class Shown(str):
    """Text that shows itself otherwise, as the members of some enumerations do."""

    def __str__(self):
        return "Key.PAID"


def test_of_a_key_its_characters_count():
    first = publish("orders", 1, idempotency_key=Shown("paid"))
    assert publish("orders", 2, idempotency_key="paid") == first


async def test_over_http_a_key_may_have_any_printable_characters():
    headers = await signed_in(may_publish=True)
    first, again = [await post(headers, "schlüssel ☃".encode()) for _ in range(2)]
    assert first.status == 201
    assert first.content == again.content
