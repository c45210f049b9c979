"""``sse_trim``: what it removes, what it says, and what live readers see of it."""

import asyncio
import io
import json
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sse_app import apublish
from sse_app.eventlog import get_event_log
from sse_app.models import Event, Topic
from sse_app.publishing import publish_many
from tests.asgi import request

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86400
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {
        "notifications": {},
        "orders": {"keep": 3},
        "alerts": {"max_age": 2 * DAY},
        "both.{name}": {"keep": 4, "max_age": 2 * DAY},
        "ticks": {"kind": "ephemeral"},
        "config": {"kind": "latest"},
        "nothing": {"keep": 0},
    }


@pytest.fixture(params=["orm", "memory"])
def log(request, settings):
    settings.SSE_EVENT_LOG = request.param
    return get_event_log()


def trimmed(*arguments):
    output = io.StringIO()
    call_command("sse_trim", *arguments, stdout=output)
    return output.getvalue()


def fill(*topics, count=6):
    """Publish events to the topics; in the ORM log the newest is of now, each other a day older."""
    publish_many([(topic, str(number)) for number in range(1, count + 1) for topic in topics])
    for event in Event.objects.all():
        age = timedelta(days=count - event.seq, minutes=1)
        Event.objects.filter(pk=event.pk).update(created_at=timezone.now() - age)


def left(topic):
    page = asyncio.run(get_event_log().read(topic, 0, 10_000))
    return [int(entry.data) for entry in page.entries]


@pytest.mark.parametrize(
    ("arguments", "kept", "said"),
    [
        (["--keep", "2"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--keep", "0"], [], "notifications: 6 removed\n6 events removed\n"),
        (["--keep", "6"], [1, 2, 3, 4, 5, 6], "0 events removed\n"),
        (["--keep", "100"], [1, 2, 3, 4, 5, 6], "0 events removed\n"),
        ([], [1, 2, 3, 4, 5, 6], "0 events removed\n"),
    ],
)
def test_by_number(log, arguments, kept, said):
    fill("notifications")
    assert trimmed(*arguments) == said
    assert left("notifications") == kept
    assert trimmed(*arguments) == "0 events removed\n"


@pytest.mark.parametrize(
    ("arguments", "kept", "said"),
    [
        (["--older-than", "2d"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--older-than", "48h"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--older-than", "2880m"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--older-than", f"{2 * DAY}s"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--older-than", "1w"], [1, 2, 3, 4, 5, 6], "0 events removed\n"),
        (["--older-than", "0s"], [], "notifications: 6 removed\n6 events removed\n"),
        (["--older-than", "2d", "--keep", "1"], [6], "notifications: 5 removed\n5 events removed\n"),
        (["--older-than", "2d", "--keep", "5"], [5, 6], "notifications: 4 removed\n4 events removed\n"),
        (["--older-than", "0s", "--keep", "5"], [], "notifications: 6 removed\n6 events removed\n"),
        (["--older-than", "999999999w"], [1, 2, 3, 4, 5, 6], "0 events removed\n"),
        (["--older-than", "999999999w", "--keep", "1"], [6], "notifications: 5 removed\n5 events removed\n"),
    ],
)
def test_by_age_and_by_both(arguments, kept, said):
    fill("notifications")
    assert trimmed(*arguments) == said
    assert left("notifications") == kept


def test_without_arguments_each_topic_is_trimmed_as_its_options_say():
    fill("both.a", "orders", "notifications", "alerts", "nothing", "config")
    assert trimmed() == (
        "alerts: 4 removed\nboth.a: 4 removed\nnothing: 6 removed\norders: 3 removed\n17 events removed\n"
    )
    assert {topic: left(topic) for topic in ("alerts", "both.a", "nothing", "orders")} == {
        "alerts": [5, 6],
        "both.a": [5, 6],
        "nothing": [],
        "orders": [4, 5, 6],
    }
    assert (left("notifications"), left("config")) == ([1, 2, 3, 4, 5, 6], [6])


def test_arguments_take_the_place_of_the_topics_options():
    fill("orders")
    assert trimmed("--keep", "5") == "orders: 1 removed\n1 events removed\n"
    assert trimmed("--older-than", "4d") == "orders: 1 removed\n1 events removed\n"
    assert left("orders") == [3, 4, 5, 6]


def test_only_the_named_topics_are_trimmed(log):
    fill("orders", "notifications", "both.a")
    assert trimmed("notifications", "both.a", "--keep", "1") == (
        "notifications: 5 removed\nboth.a: 5 removed\n10 events removed\n"
    )
    assert left("orders") == [1, 2, 3, 4, 5, 6]


def test_a_named_topic_without_events_is_no_error(log):
    assert trimmed("notifications", "ticks", "--keep", "1") == "0 events removed\n"


def test_a_topic_that_is_declared_no_more_is_trimmed_when_it_is_told_how(settings):
    fill("orders")
    settings.SSE_TOPICS = {"notifications": {}}
    forget_rules()
    assert trimmed() == "0 events removed\n"
    assert trimmed("--keep", "1") == "orders: 5 removed\n5 events removed\n"


def forget_rules():
    from sse_app.conf import topic_rules

    topic_rules.cache_clear()


AGES = "such as 90s, 15m, 12h, 7d or 4w"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--keep", "-1"], "--keep must not be negative"),
        (["--older-than", "2"], f"--older-than: '2' is no age, {AGES}"),
        (["--older-than", ""], f"--older-than: '' is no age, {AGES}"),
        (["--older-than", "d"], f"--older-than: 'd' is no age, {AGES}"),
        (["--older-than", "2D"], f"--older-than: '2D' is no age, {AGES}"),
        (["--older-than=-2d"], f"--older-than: '-2d' is no age, {AGES}"),
        (["--older-than", "1.5d"], f"--older-than: '1.5d' is no age, {AGES}"),
        (["--older-than", "2d\n"], f"--older-than: '2d\\n' is no age, {AGES}"),
        (["--older-than", "2y"], f"--older-than: '2y' is no age, {AGES}"),
        (["--older-than", "\N{ARABIC-INDIC DIGIT ONE}d"], f"--older-than: '١d' is no age, {AGES}"),
        (["--older-than", "9999999999s"], f"--older-than: '9999999999s' is no age, {AGES}"),
        (["others"], "no topic 'others' is declared"),
        (["orders", "a b", "--keep", "1"], f"illegal topic 'a b': {LEGAL}"),
    ],
)
def test_it_refuses_with_the_reason_and_removes_nothing(arguments, error):
    fill("orders")
    with pytest.raises(CommandError) as refusal:
        trimmed(*arguments)
    assert str(refusal.value) == error
    assert Event.objects.count() == 6


def test_a_number_that_is_none_is_refused():
    with pytest.raises(CommandError, match="argument --keep: invalid int value: 'all'"):
        trimmed("--keep", "all")


def test_it_touches_no_head_and_deletes_few_rows_at_a_time():
    publish_many([("notifications", str(number)) for number in range(1200)])
    head = Topic.objects.values().get()
    with CaptureQueriesContext(connection) as queries:
        assert trimmed("--keep", "0") == "notifications: 1200 removed\n1200 events removed\n"
    written = [
        query["sql"] for query in queries if not query["sql"].startswith(("SELECT", "BEGIN", "COMMIT"))
    ]
    deleted = [sql.split()[:3] for sql in written]
    assert deleted == [["DELETE", "FROM", '"sse_app_event"']] * 3
    assert Topic.objects.values().get() == head
    assert asyncio.run(get_event_log().heads(["notifications"]))["notifications"].seq == 1200


def test_publishing_goes_on_where_the_head_was(log):
    fill("notifications")
    trimmed("--keep", "0")
    (published,) = publish_many([("notifications", "7")])
    assert published.position.seq == 7
    assert left("notifications") == [7]


# Beside live readers.


async def test_a_reader_reads_on_while_what_it_has_read_is_removed(settings):
    settings.SSE_RING_ENTRIES = 2  # so that it needs the log
    first = await apublish("notifications", "1")
    async with request(app(), "/sse/topics/notifications/", last_event_id=first.id) as stream:
        for number in range(2, 12):
            await apublish("notifications", str(number))
            assert (await stream.event()).data == str(number)
            await sync_to_async(trimmed)("--keep", "1")
        last = stream.decoder.last_event_id
    await apublish("notifications", "12")
    await sync_to_async(trimmed)("--keep", "1")  # its own position is gone, what follows it is not
    async with request(app(), "/sse/topics/notifications/", last_event_id=last) as stream:
        assert (await stream.event()).data == "12"


async def test_a_reader_whose_place_was_removed_gets_one_reset():
    first = await apublish("notifications", "1")
    for number in range(2, 7):
        await apublish("notifications", str(number))
    await sync_to_async(trimmed)("--keep", "2")
    async with request(app(), "/sse/topics/notifications/", last_event_id=first.id) as stream:
        reset = await stream.event("reset")
        assert json.loads(reset.data) == {
            "topics": [{"topic": "notifications", "reason": "trimmed", "missed": 5}]
        }
        await apublish("notifications", "7")
        assert (await stream.event()).data == "7"


async def test_a_stalled_reader_that_is_overtaken_gets_one_reset_and_reads_on(settings):
    settings.SSE_RING_ENTRIES = 2
    async with request(app(), "/sse/topics/notifications/") as stream:
        await stream.primed()
        stream.stall()
        for number in range(1, 21):
            await apublish("notifications", str(number).ljust(1000))
        await sync_to_async(trimmed)("--keep", "1")
        stream.resume()
        seen = []
        while not seen or seen[-1] != "last":
            event = await stream.event()
            seen.append(event.event or event.data.strip())
            if event.event == "reset":
                await apublish("notifications", "last")
    assert seen.count("reset") == 1
    before, after = seen[: seen.index("reset")], seen[seen.index("reset") + 1 :]
    assert before == [str(number) for number in range(1, len(before) + 1)]
    assert after == ["last"]


def app():
    return get_asgi_application()
