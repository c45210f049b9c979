"""The long poll: what comes at once, what is waited for, nothing lost between two; refusals."""

import asyncio
import json
import random
from urllib.parse import quote

import pytest
from asgiref.sync import SyncToAsync
from django.core.asgi import get_asgi_application
from django.test import override_settings

from sse_app import ServerSentEvent, TopicPolicy, apublish, apublish_many
from sse_app import poll as poll_module
from sse_app.doorbell import Doorbell
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.hub import hubs
from tests.accounts import signed_in
from tests.asgi import fetch, poll, request

pytestmark = pytest.mark.django_db(transaction=True)

app = get_asgi_application()

POLL = "/sse/poll/?topic="
START = "notifications=0-00000000"
LEGAL = "1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, the first a letter or digit"


class Hiding(TopicPolicy):
    def can_subscribe(self, user, scope, topic):
        return True

    def can_replay(self, user, scope, topic):
        return topic != "secret"

    def event_filter(self, user, scope, topic):
        return lambda event, data: data != "hidden"


class OutOfReach(MemoryEventLog):
    async def heads(self, topics):
        raise OSError("no route to the log")


def orders(user, scope, topic):
    yield ServerSentEvent("a", event="order")
    yield ServerSentEvent("b", event="order")


def large(user, scope, topic):
    for _ in range(80):
        yield "x" * 60_000


def readers():
    return [reader for hub in hubs() for tail in hub.tails.values() for reader in tail.readers]


async def ask(target, **options):
    answer = await fetch(app, target, **options)
    assert answer.status == 200, answer.content
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    content = json.loads(answer.content)
    assert content.keys() == {"events", "last_event_id"}
    return content["events"], content["last_event_id"]


def after(topic, cursor, wait=5):
    return f"{POLL}{topic}&wait={wait}&last_event_id={quote(cursor)}"


async def test_a_first_poll_answers_at_once_with_the_cursor_of_the_moment():
    assert await ask(f"{POLL}notifications&wait=60") == ([], START)
    published = await apublish("notifications", "before")
    assert await ask(f"{POLL}notifications") == ([], published.id)
    assert readers() == []


async def test_what_came_since_the_cursor_is_answered_at_once():
    published = await apublish_many([("notifications", {"n": 1}, "made"), ("notifications", "two")])
    events, cursor = await ask(after("notifications", START, wait=0))
    assert events == [
        {"topic": "notifications", "event": "made", "data": '{"n":1}', "id": published[0].id},
        {"topic": "notifications", "event": "message", "data": "two", "id": published[1].id},
    ]
    assert cursor == published[1].id
    assert await ask(after("notifications", cursor, wait=0)) == ([], cursor)


async def test_the_header_beats_the_query_as_on_the_event_stream():
    published = await apublish_many([("notifications", "1"), ("notifications", "2")])
    events, _ = await ask(after("notifications", START), last_event_id=published[0].id)
    assert [event["data"] for event in events] == ["2"]


async def test_it_waits_for_the_next_event():
    async with request(app, after("notifications", START, wait=30)) as waiting:
        await poll(readers)
        published = await apublish("notifications", "now")
        await waiting.until(lambda: waiting.ended)
    content = json.loads(waiting.content)
    assert [event["data"] for event in content["events"]] == ["now"]
    assert content["last_event_id"] == published.id
    assert readers() == []


async def test_after_the_wait_it_answers_with_nothing_and_the_same_cursor():
    loop = asyncio.get_running_loop()
    before = loop.time()
    assert await ask(after("notifications", START, wait="0.3")) == ([], START)
    assert loop.time() - before >= 0.3


async def test_many_events_come_in_several_answers_each_once():
    await apublish_many([("notifications", str(number).ljust(5000)) for number in range(300)])
    cursor, seen, answers = START, [], 0
    while len(seen) < 300:
        events, cursor = await ask(after("notifications", cursor, wait=0))
        seen += [int(event["data"]) for event in events]
        answers += 1
        assert sum(len(event["data"]) for event in events) <= 256 * 1024
    assert seen == list(range(300))
    assert answers > 3


async def test_several_topics_share_a_cursor():
    _, cursor = await ask(f"{POLL}notifications&topic=demo.ticks")
    assert cursor == f"{START}&demo.ticks="
    await apublish("notifications", "one")
    events, cursor = await ask(f"{after('notifications', cursor)}&topic=demo.ticks")
    assert [event["data"] for event in events] == ["one"]
    target = f"{after('notifications', cursor, wait=30)}&topic=demo.ticks"
    async with request(app, target) as waiting:
        await poll(lambda: len(readers()) == 2)
        await apublish("demo.ticks", "tick")
        await waiting.until(lambda: waiting.ended)
    assert [event["data"] for event in json.loads(waiting.content)["events"]] == ["tick"]


@pytest.mark.parametrize("start", ["last_event_id=earliest", "since=2026-01-01T00:00:00Z"])
async def test_it_may_begin_in_the_past(start):
    published = await apublish_many([("notifications", "one"), ("notifications", "two")])
    events, cursor = await ask(f"{POLL}notifications&{start}")
    assert [event["data"] for event in events] == ["one", "two"]
    assert cursor == published[1].id


@override_settings(SSE_TOPICS={"config": {"kind": "latest"}}, SSE_TOPIC_POLICY=f"{__name__}.Hiding")
async def test_the_newest_value_of_a_latest_topic_comes_with_the_first_poll():
    await apublish_many([("config", "old"), ("config", "new")])
    events, cursor = await ask(f"{POLL}config")
    assert [event["data"] for event in events] == ["new"]
    assert await ask(after("config", cursor, wait=0)) == ([], cursor)


@override_settings(
    SSE_TOPICS={
        "orders": {"snapshot": f"{__name__}.orders"},
        "ticks": {"kind": "ephemeral", "snapshot": f"{__name__}.orders"},
    },
    SSE_TOPIC_POLICY=f"{__name__}.Hiding",
)
@pytest.mark.parametrize("topic", ["orders", "ticks"])
async def test_the_snapshot_comes_whole_with_the_first_poll_and_not_with_the_next(topic):
    events, cursor = await ask(f"{POLL}{topic}&wait=0")
    assert [(event["event"], event["data"], event["id"]) for event in events] == [
        ("order", "a", None),
        ("order", "b", None),
    ]
    assert cursor == ("orders=0-00000000" if topic == "orders" else "ticks=")
    assert await ask(after(topic, cursor, wait=0)) == ([], cursor)


@override_settings(
    SSE_TOPICS={"orders": {"snapshot": f"{__name__}.large"}, "others": {}},
    SSE_TOPIC_POLICY=f"{__name__}.Hiding",
)
async def test_a_snapshot_larger_than_an_answer_is_refused():
    answer = await fetch(app, f"{POLL}orders")
    assert answer.status == 501
    error = "a snapshot has more than the 4194304 bytes of one answer"
    assert json.loads(answer.content) == {"error": error}
    assert readers() == []


@override_settings(SSE_TOPICS={"orders": {}, "secret": {}}, SSE_TOPIC_POLICY=f"{__name__}.Hiding")
async def test_what_the_policy_hides_moves_the_cursor_and_ends_no_poll():
    hidden = await apublish("orders", "hidden")
    assert await ask(after("orders", "orders=0-00000000", wait="0.2")) == ([], hidden.id)
    async with request(app, after("orders", hidden.id, wait=30)) as waiting:
        await poll(readers)
        await apublish_many([("orders", "hidden"), ("orders", "shown")])
        await waiting.until(lambda: waiting.ended)
    assert [event["data"] for event in json.loads(waiting.content)["events"]] == ["shown"]


@pytest.mark.parametrize("wait", [0, 5])
async def test_a_reset_is_an_event_with_an_empty_topic(wait):
    published = await apublish("notifications", "one")
    events, cursor = await ask(after("notifications", "notifications=1-00000001", wait=wait))
    (reset,) = events
    assert (reset["topic"], reset["event"], reset["id"]) == ("", "reset", published.id)
    assert json.loads(reset["data"])["topics"][0]["reason"] == "forked"
    assert cursor == published.id


@pytest.mark.parametrize("cursor", ["rubbish", "orders=1-00000001", "notifications=1"])
async def test_a_cursor_that_can_t_be_read_is_a_reset(cursor):
    events, after_it = await ask(after("notifications", cursor))
    assert json.loads(events[0]["data"])["topics"] == [
        {"topic": "notifications", "reason": "unknown", "missed": None}
    ]
    assert after_it == START


@override_settings(SSE_RING_ENTRIES=4)
async def test_lagged_is_an_event_with_an_empty_topic():
    async with request(app, after("demo.ticks", "demo.ticks=", wait=30)) as waiting:
        await poll(lambda: any(reader.places["demo.ticks"].position for reader in readers()))
        (hub,) = hubs()
        for number in range(10):  # all at once, before the poll is woken
            hub.hint(Doorbell("demo.ticks", data=str(number)))
        await waiting.until(lambda: waiting.ended)
    events = json.loads(waiting.content)["events"]
    assert [(event["topic"], event["event"]) for event in events][0] == ("", "lagged")
    assert [event["data"] for event in events][1:] == ["6", "7", "8", "9"]


async def test_head_answers_at_once_without_a_body():
    async with asyncio.timeout(10):
        answer = await fetch(app, after("notifications", START, wait=60), method="HEAD")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert readers() == []


async def test_a_client_that_goes_leaves_its_topics_at_once():
    async with request(app, after("notifications", START, wait=60)) as waiting:
        await poll(readers)
    assert waiting.task.done()
    await poll(lambda: not readers())


async def test_a_poll_that_waits_holds_no_thread():
    headers = await signed_in()
    _, cursor = await ask(f"{POLL}room.a", headers=headers)
    async with request(app, after("room.a", cursor, wait=60), headers=headers):
        await poll(readers)
        assert not SyncToAsync.context_to_thread_executor


@override_settings(SSE_EVENT_LOG=f"{__name__}.OutOfReach")
async def test_a_log_out_of_reach_is_told_or_outwaited(monkeypatch):
    monkeypatch.setattr(poll_module, "OPENING_SECONDS", 0.2)
    answer = await fetch(app, f"{POLL}notifications")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert json.loads(answer.content) == {"error": "the event log is out of reach"}
    assert await ask(after("notifications", "notifications=7-11aa22bb", wait="0.1")) == (
        [],
        "notifications=7-11aa22bb",
    )


WAIT = "wait: must be a number of seconds from 0 to 60, not "
REFUSALS = [
    *[
        (f"wait {wait}", 400, f"{WAIT}{wait!r}", f"{POLL}notifications&wait={quote(wait)}")
        for wait in [
            "",
            "-1",
            "61",
            "60.001",
            "1e1",
            "nan",
            "inf",
            "ten",
            "1.",
            ".5",
            "٣",
            "1_0",
            "0x1",
            "9" * 400,
        ]
    ],
    ("no topic", 400, "name at least one topic, as in ?topic=notifications", "/sse/poll/"),
    ("illegal topic", 400, f"illegal topic 'a b': {LEGAL}", f"{POLL}a%20b"),
    ("unknown topic", 404, "no topic 'nothing' is declared", f"{POLL}nothing"),
    ("anonymous", 401, "you may not read 'room.a'; sign in first", f"{POLL}room.a"),
    (
        "two beginnings",
        400,
        "give last_event_id or since, not both",
        f"{POLL}notifications&last_event_id=x&since=2026-01-31T12:00:00Z",
    ),
    (
        "a bad moment",
        400,
        "since: must be a time with its zone, such as 2026-01-31T12:00:00Z, not 'now'",
        f"{POLL}notifications&since=now",
    ),
]


@pytest.mark.parametrize(
    ("status", "error", "target"), [row[1:] for row in REFUSALS], ids=[row[0][:20] for row in REFUSALS]
)
async def test_a_refusal_says_what_is_wrong(status, error, target):
    answer = await fetch(app, target)
    assert (answer.status, json.loads(answer.content)) == (status, {"error": error})


async def test_one_who_is_signed_in_but_not_allowed_gets_403():
    answer = await fetch(app, f"{POLL}user.0", headers=await signed_in())
    assert (answer.status, json.loads(answer.content)) == (403, {"error": "you may not read 'user.0'"})


@override_settings(SSE_TOPICS={"secret": {}}, SSE_TOPIC_POLICY=f"{__name__}.Hiding")
async def test_the_past_is_closed_where_the_policy_says_so():
    answer = await fetch(app, f"{POLL}secret&last_event_id=earliest")
    assert answer.status == 401
    assert json.loads(answer.content)["error"] == "you may not read the past of 'secret'; sign in first"


async def test_it_is_read_with_get():
    answer = await fetch(app, f"{POLL}notifications", method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("seed", range(12))
@override_settings(SSE_EVENT_LOG="memory", SSE_RING_ENTRIES=8)
async def test_whatever_is_published_between_and_during_polls_comes_exactly_once(seed):
    """Publishes and polls overlap at random; each poll begins where the one before it ended."""
    rng = random.Random(seed)
    topics = ["notifications", "demo.kept"] if seed % 2 else ["notifications"]
    kinds = {"notifications": {"kind": "durable"}, "demo.kept": {"kind": "durable"}}
    total = 150
    with override_settings(SSE_TOPICS=kinds):
        query = "&topic=".join(topics)
        _, cursor = await ask(f"{POLL}{query}")
        publishing = asyncio.create_task(publish_at_random(rng, topics, total))
        seen = {topic: [] for topic in topics}
        while sum(map(len, seen.values())) < total:
            wait = rng.choice(["0", "0.01", "1"])
            events, cursor = await ask(f"{POLL}{query}&wait={wait}&last_event_id={quote(cursor)}")
            for event in events:
                seen[event["topic"]].append(int(event["data"]))
            await asyncio.sleep(rng.choice([0, 0, 0.005, 0.02]))
        sent = await publishing
        assert seen == sent
        assert await ask(f"{POLL}{query}&wait=0&last_event_id={quote(cursor)}") == ([], cursor)


async def publish_at_random(rng, topics, total):
    sent = {topic: [] for topic in topics}
    number = 0
    while number < total:
        batch = []
        for _ in range(min(rng.choice([1, 1, 2, 20]), total - number)):
            topic = rng.choice(topics)
            sent[topic].append(number)
            batch.append((topic, str(number)))
            number += 1
        await apublish_many(batch)
        await asyncio.sleep(rng.choice([0, 0, 0.003, 0.03]))
    return sent
