"""Presence: who reads a topic in all processes, as a function, an address and an event; the rosters."""

import asyncio
import json
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings
from django.utils import timezone

from project.asgi import application
from sse_app import TopicPolicy, UnknownTopic, apresence, apublish, attendance, presence, subscribe
from sse_app.conf import conf
from sse_app.hub import Hub, hubs
from sse_app.local import get_hub
from sse_app.models import Event, PresenceRoll
from sse_app.reader import Reader
from sse_app.roster import get_roster
from sse_app.roster.base import MAX_NAMES, Presence, Roll
from sse_app.roster.memory import MemoryRoster
from sse_app.roster.orm import ORMRoster
from sse_app.roster.redis import RedisRoster
from sse_app.start import Start
from sse_app.topics import TopicRule, TopicRules
from tests.accounts import headers_of, make_user, signed_in
from tests.asgi import fetch, poll, request
from tests.sockets import talk
from tests.world import Deaf

pytestmark = pytest.mark.django_db(transaction=True)

TOPICS = {
    "room.{name}": {"presence": True},
    "presence.room.{name}": {"kind": "latest"},
    "quiet": {"presence": True},
    "plain": {},
}


class Open(TopicPolicy):
    def can_subscribe(self, user, scope, topic):
        return True


@pytest.fixture(autouse=True)
def quick(monkeypatch, settings):
    settings.SSE_TOPICS = TOPICS
    settings.SSE_TOPIC_POLICY = f"{__name__}.Open"
    monkeypatch.setattr(attendance, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(attendance, "GATHER_SECONDS", 0.01)


@pytest.fixture(params=["memory", "orm", "redis"])
def roster(request, settings):
    if request.param == "redis":
        settings.SSE_REDIS = request.getfixturevalue("redis_url")
        settings.SSE_REDIS_PREFIX = f"roster-{time.monotonic_ns()}"
    return {"memory": MemoryRoster, "orm": ORMRoster, "redis": RedisRoster}[request.param]()


def forget(roster, process):
    """Let what the process has said be older than it may be."""
    if isinstance(roster, ORMRoster):
        old = timezone.now() - timedelta(seconds=31)
        PresenceRoll.objects.filter(process=process).update(seen_at=old)
    else:
        roster.client.zadd(f"{conf.SSE_REDIS_PREFIX}:{{presence}}:seen", {process: time.time() - 31})


async def until(condition):
    """Wait for a condition that a coroutine tells."""
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.02)


async def presence_is(topic, readers, users=()):
    async def holds():
        return await apresence(topic) == Presence(topic, readers, tuple(users))

    await until(holds)


@sync_to_async
def announced(topic="room.a"):
    """Give the newest announcement; a latest topic keeps one."""
    newest = Event.objects.filter(topic__name=f"presence.{topic}").order_by("-seq").first()
    return None if newest is None else (newest.seq, newest.event, json.loads(newest.data))


def test_a_roster_adds_up_what_the_processes_say(roster):
    roster.write("one", {"a": Roll(2, ("ada", "bob")), "b": Roll(1)})
    roster.write("two", {"a": Roll(3, ("ada", "cyd"))})
    assert roster.read(["a", "b", "c"]) == {
        "a": Presence("a", 5, ("ada", "bob", "cyd")),
        "b": Presence("b", 1, ()),
        "c": Presence("c", 0, ()),
    }
    roster.write("one", {"a": Roll(1, ("bob",)), "b": Roll(0)})
    assert roster.read(["a", "b"]) == {
        "a": Presence("a", 4, ("ada", "bob", "cyd")),
        "b": Presence("b", 0, ()),
    }
    assert roster.read([]) == {}


@pytest.mark.parametrize("roster", ["orm", "redis"], indirect=True)  # in memory nothing expires
def test_what_a_process_does_not_renew_does_not_count_and_is_removed(roster):
    roster.write("one", {"a": Roll(1)})
    roster.write("two", {"a": Roll(2)})
    since, topics = roster.news(None)
    assert set(topics) == {"a"}
    forget(roster, "one")
    assert roster.read(["a"])["a"].readers == 2
    assert roster.leader() == "two"
    assert "a" in roster.news(since)[1]
    assert roster.refresh("one") is False
    assert roster.refresh("two") is True
    assert roster.read(["a"])["a"].readers == 2


def test_the_leader_is_one_that_has_readers(roster):
    assert roster.leader() is None
    roster.write("b", {"x": Roll(1)})
    roster.write("a", {"x": Roll(1), "y": Roll(1)})
    assert roster.leader() == "a"
    roster.write("a", {"x": Roll(0), "y": Roll(0)})
    assert roster.leader() == "b"
    roster.write("b", {"x": Roll(0)})
    assert roster.leader() is None


def test_news_are_the_topics_that_have_changed_since(roster):
    roster.write("a", {"x": Roll(1)})
    since, topics = roster.news(None)
    assert set(topics) == {"x"}
    roster.write("a", {"y": Roll(1)})
    assert "y" in roster.news(since)[1]
    roster.refresh("a")
    if isinstance(roster, ORMRoster):  # renewing is no news
        PresenceRoll.objects.update(changed_at=timezone.now() - timedelta(seconds=9))
        assert roster.news(since + 3)[1] == set()


def test_the_orm_roster_writes_and_renews_in_one_statement_each(django_assert_num_queries):
    roster = ORMRoster()
    rolls = {f"t{number}": Roll(1, ("ada",)) for number in range(50)}
    with django_assert_num_queries(3):  # with BEGIN and COMMIT
        roster.write("one", rolls)
    with django_assert_num_queries(3):
        roster.write("one", {topic: Roll(2) for topic in rolls})
    with django_assert_num_queries(1):
        roster.refresh("one")
    with django_assert_num_queries(1):
        assert sum(found.readers for found in roster.read(list(rolls)).values()) == 100
    with django_assert_num_queries(1):
        roster.news(None)


async def test_streams_sockets_and_polls_are_counted_and_users_named_once():
    ada, bob = await signed_in("ada"), await signed_in("bob")
    first = await fetch(application, "/sse/poll/?topic=room.a")
    cursor = json.loads(first.content)["last_event_id"]
    async with (
        request(application, "/sse/topics/room.a/", headers=ada),
        request(application, "/sse/events/?topic=room.a&topic=plain", headers=bob),
        request(application, f"/sse/poll/?topic=room.a&wait=60&last_event_id={cursor}"),
    ):
        async with talk(application, "/sse/ws/?topic=room.a", headers=ada) as client:
            await client.frame(event="cursor")
            await presence_is("room.a", 4, ["ada", "bob"])
        await presence_is("room.a", 3, ["ada", "bob"])
    await presence_is("room.a", 0)


async def test_what_a_program_reads_is_not_counted():
    async with subscribe("room.a") as events, talk(application, "/sse/ws/?topic=room.a") as client:
        reading = asyncio.ensure_future(anext(events))
        await client.frame(event="cursor")
        await presence_is("room.a", 1)
        reading.cancel()


async def test_a_process_without_such_topics_keeps_nothing():
    async with talk(application, "/sse/ws/?topic=plain") as client:
        await client.frame(event="cursor")
        assert get_hub().watch is None


async def test_each_change_is_published_where_its_topic_is_declared():
    async with talk(application, "/sse/ws/?topic=presence.room.a") as watcher:
        await watcher.frame(event="cursor")
        ada = await signed_in("ada")
        async with talk(application, "/sse/ws/?topic=room.a", headers=ada):
            frame = await watcher.frame(event="presence")
            assert frame["topic"] == "presence.room.a"
            assert json.loads(frame["data"]) == {"topic": "room.a", "readers": 1, "users": ["ada"]}
            async with talk(application, "/sse/ws/?topic=room.a"):
                frame = await watcher.frame(event="presence")
                assert json.loads(frame["data"])["readers"] == 2
            frame = await watcher.frame(event="presence")
            assert json.loads(frame["data"])["readers"] == 1
        frame = await watcher.frame(event="presence")
        assert json.loads(frame["data"]) == {"topic": "room.a", "readers": 0, "users": []}


async def test_readers_that_come_together_are_one_event(monkeypatch):
    monkeypatch.setattr(attendance, "GATHER_SECONDS", 0.5)
    async with talk(application, "/sse/ws/?topic=presence.room.a") as watcher:
        await watcher.frame(event="cursor")
        clients = [talk(application, "/sse/ws/?topic=room.a") for _ in range(20)]
        for client in clients:
            await (await client.__aenter__()).frame(event="cursor")
        frame = await watcher.frame(event="presence")
        assert json.loads(frame["data"])["readers"] == 20
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_nothing_is_published_where_no_topic_is_declared_for_it():
    async with talk(application, "/sse/ws/?topic=quiet"):
        await presence_is("quiet", 1)
    await presence_is("quiet", 0)
    assert not await Event.objects.aexists()


def crowd(hub, topic, count, name=""):
    """Let clients of another process read the topic."""
    readers = []
    for _ in range(count):
        reader = Reader()
        reader.name = name
        hub.attach(reader, topic, TopicRule(topic, presence=True), Start())
        readers.append(reader)
    return readers


@pytest.fixture
async def processes():
    """Keepers of two processes, as far as they can tell."""
    found = []
    for _ in range(2):
        hub = Hub(FakeLog(), Deaf())
        hub.watch = attendance.Keeper(hub).watch
        found.append(hub)
    yield found
    for hub in found:
        await hub.close()


class FakeLog:
    """The log of readers who read nothing."""

    async def heads(self, topics):
        return {}


@override_settings(SSE_PRESENCE_EXPIRY=6.0)  # long, so that a busy machine makes nobody vanish
async def test_one_process_publishes_whatever_number_there_is(processes, monkeypatch):
    first, second = processes
    many = crowd(first, "room.a", 3, "ada")
    crowd(second, "room.a", 2, "bob")
    await presence_is("room.a", 5, ["ada", "bob"])

    async def told(number):
        newest = await announced()
        return newest is not None and newest[2]["readers"] == number

    await until(lambda: told(5))
    before = (await announced())[0]
    many.pop().close()
    await until(lambda: told(4))
    assert (await announced())[0] == before + 1
    # Renewals and looks change nothing, and nothing is published.
    looks = 0
    news = ORMRoster.news

    def counted(roster, since):
        nonlocal looks
        looks += 1
        return news(roster, since)

    monkeypatch.setattr(ORMRoster, "news", counted)
    await poll(lambda: looks > 2)
    assert (await announced())[0] == before + 1


@override_settings(SSE_PRESENCE_EXPIRY=0.6)
async def test_the_readers_of_a_process_that_dies_vanish_and_another_one_tells_so(processes):
    crowd(processes[0], "room.a", 3)
    crowd(processes[1], "room.a", 2)
    await presence_is("room.a", 5)
    leader = await sync_to_async(get_roster().leader)()
    dying = next(hub for hub in processes if hub.watch.__self__.process == leader)
    left = 2 if dying is processes[0] else 3
    for task in list(dying._tasks):  # as a kill would: nothing is written any more
        task.cancel()
    await presence_is("room.a", left)

    async def told():
        newest = await announced()
        return newest is not None and newest[2]["readers"] == left

    await until(told)


@override_settings(SSE_PRESENCE_EXPIRY=0.6)
async def test_a_process_that_was_thought_dead_writes_everything_again(processes):
    crowd(processes[0], "room.a", 3)
    await presence_is("room.a", 3)
    await PresenceRoll.objects.all().adelete()
    await presence_is("room.a", 3)


async def test_a_roster_out_of_reach_is_tried_again_and_harms_no_reader(monkeypatch):
    broken = True

    class Broken(MemoryRoster):
        def write(self, process, rolls):
            if broken:
                raise OSError("out of reach")
            super().write(process, rolls)

    roster = Broken()
    monkeypatch.setattr(attendance, "get_roster", lambda: roster)
    async with talk(application, "/sse/ws/?topic=room.a") as client:
        await client.frame(event="cursor")
        await apublish("room.a", "still here")
        await client.frame(topic="room.a")
        broken = False
        await presence_is("room.a", 1)


def test_a_crowd_is_counted_whole_and_named_up_to_a_limit():
    class Tail:
        readers = [type("Reader", (), {"name": f"user {number:05}"})() for number in range(MAX_NAMES + 5)]

    class AnyHub:
        tails = {"room.a": Tail()}

    roll = attendance.Keeper(AnyHub())._roll("room.a")
    assert (roll.readers, len(roll.users)) == (MAX_NAMES + 5, MAX_NAMES)


def test_the_function_says_what_it_can_t_answer():
    with pytest.raises(UnknownTopic):
        presence("nothing")
    with pytest.raises(ValueError, match="the presence of 'plain' is not kept"):
        presence("plain")
    assert presence("quiet") == Presence("quiet", 0, ())


@pytest.mark.parametrize("value", [1, "yes", None])
def test_the_option_is_true_or_false(value):
    with pytest.raises(ValueError, match="'a': presence must be True or False, not "):
        TopicRules({"a": {"presence": value}})


ADDRESS = "/sse/topics/room.a/presence/"


async def test_staff_and_those_who_may_publish_see_who_reads():
    publisher = await signed_in("ada", may_publish=True)
    async with talk(application, "/sse/ws/?topic=room.a", headers=publisher):
        await presence_is("room.a", 1, ["ada"])
        answer = await fetch(application, ADDRESS, headers=publisher)
        assert (answer.status, json.loads(answer.content)) == (
            200,
            {"topic": "room.a", "readers": 1, "users": ["ada"]},
        )
        assert answer.headers["cache-control"] == "no-store"
        answer = await fetch(application, ADDRESS, headers=await staff_headers())
        assert answer.status == 200
        assert (await fetch(application, ADDRESS, headers=publisher, method="HEAD")).status == 200


@sync_to_async
def staff_headers():
    user = make_user("staff")
    user.is_staff = True
    user.save()
    return headers_of(user)


@pytest.mark.parametrize(
    ("target", "who", "status", "error"),
    [
        (ADDRESS, None, 401, "you may not see who reads 'room.a'; sign in first"),
        (ADDRESS, "reader", 403, "you may not see who reads 'room.a'"),
        ("/sse/topics/plain/presence/", "reader", 404, "the presence of 'plain' is not kept"),
        ("/sse/topics/nothing/presence/", None, 404, "no topic 'nothing' is declared"),
    ],
)
async def test_others_are_refused(target, who, status, error):
    headers = await signed_in(who) if who else ()
    answer = await fetch(application, target, headers=headers)
    assert (answer.status, json.loads(answer.content)) == (status, {"error": error})


async def test_it_is_read_with_get():
    answer = await fetch(application, ADDRESS, method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    await poll(lambda: not any(hub.count("room.a") for hub in hubs()))
