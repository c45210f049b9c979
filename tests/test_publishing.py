"""Publishing from programs."""

import asyncio
import itertools
import threading
from contextlib import contextmanager

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.translation import gettext_lazy

from sse_app import EventTooLarge, IllegalTopic, UnknownTopic, apublish, publish, subscribe
from sse_app.eventlog import get_event_log
from sse_app.local import get_hub
from sse_app.models import Event, Topic
from sse_app.publishing import RESERVED_EVENTS, Outgoing, Published, apublish_many, publish_many
from tests.asgi import started

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
        waiting = [await started(messages) for messages in (first, second)]
        assert (await apublish("orders", 1)).receivers == 2
        assert (await apublish("ticks", 1)).receivers == 1
        await asyncio.wait(waiting)


async def test_receivers_are_fewer_once_a_reader_has_gone():
    async with subscribe("orders") as stays:
        waiting = await started(stays)
        async with subscribe("orders") as goes:
            (await started(goes)).cancel()
            assert (await apublish("orders", 1)).receivers == 2
        assert (await apublish("orders", 2)).receivers == 1
        await waiting
    assert (await apublish("orders", 3)).receivers == 0


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


# Many at once.

MIXED = [
    ("orders", 1),
    ("ticks", 2, "tick"),
    Outgoing("alerts", {"three": 3}, "alarm"),
    ("config", 4),
    Outgoing("orders", 5, event="order"),
    ("config", 6, None),
    ("ticks", 7),
]


@pytest.fixture
def alerts(settings):
    settings.SSE_TOPICS = {**settings.SSE_TOPICS, "alerts": {}}


def rows():
    return [
        (event.topic.name, event.seq, event.event, event.data)
        for event in Event.objects.select_related("topic").order_by("topic__name", "seq")
    ]


def test_many_events_are_answered_in_their_order(alerts):
    published = publish_many(MIXED)
    assert [(one.topic, one.position and one.position.seq) for one in published] == [
        ("orders", 1),
        ("ticks", None),
        ("alerts", 1),
        ("config", 1),
        ("orders", 2),
        ("config", 2),
        ("ticks", None),
    ]
    assert {type(one) for one in published} == {Published}
    assert rows() == [
        ("alerts", 1, "alarm", '{"three":3}'),
        ("config", 2, "", "6"),
        ("orders", 1, "", "1"),
        ("orders", 2, "order", "5"),
    ]
    kept = {str(event): event.topic.name for event in Event.objects.select_related("topic")}
    for one in (published[0], published[2], published[4], published[5]):
        assert one.id == f"{kept[str(one.position)]}={one.position}"


def test_a_batch_is_one_chain_in_each_topic(alerts):
    for _ in range(2):
        publish_many(MIXED)
    before = "00000000"
    for event in Event.objects.filter(topic__name="orders").order_by("seq"):
        assert event.prev == before
        before = event.tag
    head = Topic.objects.get(name="orders")
    assert (head.seq, head.tag) == (4, before)


def test_nothing_to_publish_is_no_error():
    assert publish_many([]) == []
    assert publish_many(iter([])) == []


def test_events_may_come_from_an_iterator():
    assert len(publish_many(("orders", number) for number in range(3))) == 3
    assert Event.objects.count() == 3


async def test_many_can_be_published_from_asynchronous_code():
    first, second = await apublish_many([("orders", 1), ("orders", 2)])
    assert (first.position.seq, second.position.seq) == (1, 2)


@pytest.mark.parametrize("count", [1, 2, 500])
def test_each_topic_costs_one_append_whatever_its_events(alerts, count):
    publish_many([("orders", 0), ("alerts", 0)])  # a new topic costs more
    with CaptureQueriesContext(connection) as queries:
        publish_many([(topic, number) for number in range(count) for topic in ("orders", "alerts")])
    written = [query["sql"].split()[0] for query in queries if "sse_app_" in query["sql"]]
    # SQLite takes only so many values in one statement.
    assert [verb for verb, _ in itertools.groupby(written)] == ["UPDATE", "SELECT", "INSERT"] * 2
    assert len(written) <= 6 + count // 50


def test_topics_are_locked_in_the_order_of_their_names(alerts):
    with CaptureQueriesContext(connection) as queries:
        publish_many([("orders", 1), ("config", 2), ("alerts", 3), ("orders", 4)])
    locked = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    names = [next(name for name in ("alerts", "config", "orders") if name in sql) for sql in locked]
    assert [name for name, _ in itertools.groupby(names)] == ["alerts", "config", "orders"]


def test_batches_in_opposite_order_wait_for_each_other_and_do_not_deadlock(alerts):
    errors = []
    start = threading.Barrier(2)

    def publish_often(topics):
        try:
            start.wait(10)
            for number in range(25):
                publish_many([(topic, number) for topic in topics])
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    orders = [["orders", "alerts", "config"], ["config", "alerts", "orders"]]
    threads = [threading.Thread(target=publish_often, args=(topics,)) for topics in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert dict(Topic.objects.values_list("name", "seq")) == {"orders": 50, "alerts": 50, "config": 50}


async def bells_of(call):
    """Call it in a thread; give the doorbells that this process's hub takes."""
    heard = []
    hub = get_hub()
    hub.hint = heard.append
    try:
        await sync_to_async(call)()
    finally:
        await asyncio.sleep(0)
    return heard


async def test_each_topic_gets_one_doorbell_and_an_ephemeral_one_gets_its_events(alerts):
    published = []
    bells = await bells_of(lambda: published.extend(publish_many(MIXED)))
    assert [(bell.topic, bell.event, bell.data) for bell in bells] == [
        ("orders", None, None),  # more than one: its readers fetch them from the log
        ("ticks", "tick", "2"),
        ("ticks", None, "7"),
        ("alerts", "alarm", '{"three":3}'),
        ("config", None, None),
    ]
    last = await Event.objects.aget(topic__name="orders", seq=2)
    assert (bells[0].position, bells[0].prev) == (published[4].position, last.prev)
    assert str(bells[4].position) == str(published[5].position)


@contextmanager
def failing_at(statement):
    """Let the so-many-th INSERT of the events fail."""
    inserts = itertools.count(1)

    def fail(execute, sql, *rest):
        if sql.startswith("INSERT INTO") and "sse_app_event" in sql and next(inserts) == statement:
            raise DatabaseError("the disk is full")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        yield


async def test_a_log_that_fails_at_one_topic_keeps_nothing_and_rings_for_nobody(alerts):
    def publish_in_vain():
        with failing_at(3), pytest.raises(DatabaseError, match="the disk is full"):
            publish_many(MIXED)

    assert await bells_of(publish_in_vain) == []
    assert await sync_to_async(rows)() == []
    assert await Topic.objects.filter(seq__gt=0).acount() == 0


BAD_ITEMS = {
    "illegal topic": (("or ders", 1), IllegalTopic),
    "unknown topic": (("others", 1), UnknownTopic),
    "not JSON": (("orders", object()), ValueError),
    "reserved event": (("orders", 1, "reset"), ValueError),
    "too large": (("orders", "x" * 65_537), EventTooLarge),
    "bad ephemeral event": (("ticks", b"\xff"), ValueError),
    "no data": (("orders",), TypeError),
    "too much": (("orders", 1, None, None, 2), TypeError),
}


@pytest.mark.parametrize("log", ["orm", "memory"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("item", "error"), BAD_ITEMS.values(), ids=BAD_ITEMS)
async def test_one_bad_event_and_none_is_sent(settings, item, error, place, log):
    settings.SSE_EVENT_LOG = log
    batch = [("orders", "good"), ("ticks", "good")]
    batch.insert(place, item)

    def publish_in_vain():
        with pytest.raises(error):
            publish_many(batch)

    assert await bells_of(publish_in_vain) == []
    assert await Topic.objects.acount() == 0
    assert (await apublish("orders", "next")).position.seq == 1


async def test_a_batch_in_a_transaction_that_fails_was_never_sent(alerts):
    def roll_back():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_many(MIXED)
            1 / 0  # noqa: B018

    assert await bells_of(roll_back) == []
    assert await sync_to_async(rows)() == []


@pytest.mark.parametrize("log", ["orm", "memory"])
async def test_a_batch_in_a_transaction_goes_out_when_it_commits(alerts, settings, log):
    settings.SSE_EVENT_LOG = log
    published = []

    def publish_in_transaction():
        with transaction.atomic():
            published.extend(publish_many([("orders", 1), ("orders", 2)]))

    (bell,) = await bells_of(publish_in_transaction)
    assert bell.topic == "orders" and bell.position.seq == 2
    seqs = [one.position and one.position.seq for one in published]
    assert seqs == ([1, 2] if log == "orm" else [None, None])


@pytest.mark.parametrize("log", ["orm", "memory"])
async def test_readers_get_a_batch_once_and_in_order(alerts, settings, log):
    settings.SSE_EVENT_LOG = log
    topics = ["orders", "alerts", "ticks"]
    async with asyncio.timeout(20), subscribe(topics) as messages:
        first = await started(messages)
        published = await apublish_many((topic, number) for number in range(200) for topic in topics)
        await apublish("orders", "end")
        seen = [await first] + [await anext(messages) for _ in range(600)]
    assert {one.receivers for one in published} == {1}
    for topic in topics:
        expected = [str(number) for number in range(200)] + ["end"] * (topic == "orders")
        assert [message.data for message in seen if message.topic == topic] == expected


async def test_a_reader_of_a_latest_topic_gets_the_last_of_a_batch():
    async with subscribe("config") as messages:
        first = await started(messages)
        await apublish_many([("config", number) for number in range(10)])
        assert (await first).data == "9"


def test_an_ephemeral_event_needs_no_query():
    with CaptureQueriesContext(connection) as queries:
        publish("ticks", 1)
    assert len(queries) == 0


def test_a_publish_that_fails_and_is_caught_leaves_the_transaction_usable(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("the insert failed")

    with transaction.atomic():
        with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="the insert failed"):
            broken.setattr(get_event_log(), "_insert", fail)
            publish("orders", "fails")
        assert publish("orders", "works").position.seq == 1
    assert [event.data for event in Event.objects.all()] == ["works"]


def test_outside_a_transaction_a_log_that_fails_says_so(settings, monkeypatch):
    settings.SSE_EVENT_LOG = "memory"

    def fail(*args, **kwargs):
        raise OSError("the log is out of reach")

    monkeypatch.setattr(get_event_log(), "append_many", fail)
    with pytest.raises(OSError, match="the log is out of reach"):
        publish("orders", 1)
