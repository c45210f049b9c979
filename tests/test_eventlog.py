"""One contract for every event log."""

import asyncio
import threading
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sse_app import database, publish
from sse_app.entries import Reason
from sse_app.eventlog.base import Draft
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.eventlog.orm import ORMEventLog
from sse_app.eventlog.redis import RedisEventLog
from sse_app.models import Event, Topic
from sse_app.positions import GENESIS, Position

pytestmark = pytest.mark.django_db(transaction=True)


class Contract:
    """What holds for every log."""

    def make(self):
        raise NotImplementedError

    def trim(self, log, topic, before_seq):
        head = asyncio.run(log.heads([topic]))[topic].seq
        return log.trim(topic, keep=max(0, head - before_seq + 1), before=None)

    @pytest.fixture
    def log(self):
        return self.make()

    @pytest.fixture
    def append(self, log):
        async def append(topic="orders", data="data", event=None, keep_one=False):
            return await sync_to_async(log.append)(topic, event, data, keep_one=keep_one)

        return append

    async def test_a_topic_never_written_stands_at_genesis(self, log):
        page = await log.read("orders", 0, 10)
        assert (page.head, list(page.entries)) == (GENESIS, [])
        assert await log.heads(["orders"]) == {}

    async def test_seqs_are_contiguous_and_each_entry_names_the_one_before(self, log, append):
        entries = [await append(data=str(number)) for number in range(5)]
        assert [entry.position.seq for entry in entries] == [1, 2, 3, 4, 5]
        assert [entry.prev for entry in entries] == [
            GENESIS.tag,
            *(entry.position.tag for entry in entries[:-1]),
        ]
        assert len({entry.position.tag for entry in entries}) == 5

    async def test_what_was_appended_is_read_back_as_it_was(self, log, append):
        text = ' {"b": 1,  "a": "Grüße\\u0000\\n"} \r\n'
        written = await append(data=text, event="named")
        plain = await append(data="")
        page = await log.read("orders", 1, 10)
        assert [(e.topic, e.position, e.prev, e.event, e.data) for e in page.entries] == [
            ("orders", written.position, written.prev, "named", text),
            ("orders", plain.position, plain.prev, None, ""),
        ]

    async def test_a_read_gives_one_more_than_its_limit_from_the_seq_on(self, log, append):
        entries = [await append() for _ in range(10)]
        page = await log.read("orders", 4, 3)
        assert [entry.position for entry in page.entries] == [entry.position for entry in entries[3:7]]
        assert page.head == entries[-1].position

    async def test_a_position_is_continued(self, log, append):
        entries = [await append() for _ in range(3)]
        page = await log.read("orders", 1, 10)
        assert [e.position for e in page.after(entries[0].position).entries] == [
            e.position for e in entries[1:]
        ]

    async def test_the_head_outlives_the_entries(self, log, append):
        entries = [await append() for _ in range(3)]
        await sync_to_async(self.trim)(log, "orders", 100)
        page = await log.read("orders", 1, 10)
        assert (page.head, list(page.entries)) == (entries[-1].position, [])
        assert page.after(entries[0].position).reason is Reason.TRIMMED
        assert page.after(entries[-1].position).reason is None
        assert (await append()).prev == entries[-1].position.tag

    async def test_a_trimmed_prefix_leaves_the_rest_readable(self, log, append):
        entries = [await append() for _ in range(5)]
        await sync_to_async(self.trim)(log, "orders", 4)
        page = await log.read("orders", 0, 10)
        assert [entry.position for entry in page.entries] == [entry.position for entry in entries[3:]]
        assert page.before == entries[2].position

    async def test_a_batch_is_one_piece_of_the_chain(self, log, append):
        before = await append()
        batch = await sync_to_async(log.append_many)(
            "orders", [Draft("a", "1"), Draft(None, "2"), Draft("b", "3")], keep_one=False
        )
        after = await append()
        page = await log.read("orders", 1, 10)
        assert [entry.position for entry in page.after(before.position).entries] == [
            *(entry.position for entry in batch),
            after.position,
        ]
        assert [(entry.event, entry.data) for entry in page.entries[1:4]] == [
            ("a", "1"),
            (None, "2"),
            ("b", "3"),
        ]

    async def test_of_a_batch_a_latest_topic_keeps_the_last(self, log, append):
        drafts = [Draft(None, "1"), Draft(None, "2")]
        batch = await sync_to_async(log.append_many)("orders", drafts, keep_one=True)
        page = await log.read("orders", 0, 10)
        assert [(entry.position, entry.prev) for entry in page.entries] == [
            (batch[1].position, batch[1].prev)
        ]
        assert page.head == batch[1].position == Position(2, batch[1].position.tag)

    async def test_it_knows_its_topics(self, log, append):
        await append("orders")
        await append("alerts")
        assert await sync_to_async(log.topics)() == ["alerts", "orders"]

    async def test_topics_do_not_mix(self, log, append):
        order, alert = await append("orders"), await append("alerts")
        assert order.position.seq == alert.position.seq == 1
        assert await log.heads(["orders", "alerts", "none"]) == {
            "orders": order.position,
            "alerts": alert.position,
        }

    async def test_heads_of_very_many_topics_are_read(self, log, append):
        await append("t1500")
        heads = await log.heads([f"t{number}" for number in range(2000)])
        assert list(heads) == ["t1500"]

    async def test_a_latest_topic_keeps_one_entry(self, log, append):
        for number in range(3):
            last = await append(data=str(number), keep_one=True)
        page = await log.read("orders", 0, 10)
        assert [(entry.position, entry.data) for entry in page.entries] == [(last.position, "2")]
        assert page.head == last.position == Position(3, last.position.tag)

    async def test_threads_that_append_at_once_make_one_chain(self, log):
        def append_many():
            for _ in range(10):
                log.append("orders", None, "data", keep_one=False)
            connections.close_all()

        threads = [threading.Thread(target=append_many) for _ in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        page = await log.read("orders", 0, 100)
        assert len(page.after(GENESIS).entries) == 40

    async def test_a_log_within_reach_passes_its_check(self, log):
        await log.check()

    async def test_heads_can_be_read_without_a_loop(self, log, append):
        entry = await append()
        assert await sync_to_async(log.heads_now)(["orders", "none"]) == {"orders": entry.position}

    async def test_the_first_entry_since_a_moment_is_found(self, log, append):
        assert await log.first_since("orders", timezone.now()) == 1
        entries = [await append() for _ in range(5)]
        page = await log.read("orders", 1, 10)
        moments = [entry.created_at for entry in page.entries]
        for moment in moments:
            found = next(index for index, other in enumerate(moments) if other >= moment)
            assert await log.first_since("orders", moment) == entries[found].position.seq
        assert await log.first_since("orders", moments[0] - timedelta(days=1)) == 1
        assert await log.first_since("orders", moments[-1] + timedelta(days=1)) == 6
        await sync_to_async(self.trim)(log, "orders", 3)
        assert await log.first_since("orders", moments[0] - timedelta(days=1)) == 3

    async def test_trimming_by_age_removes_what_is_older(self, log, append):
        for _ in range(3):
            await append()
        moment = timezone.now() + timedelta(seconds=1)
        assert await sync_to_async(log.trim)("orders", keep=None, before=moment - timedelta(days=1)) == 0
        assert await sync_to_async(log.trim)("orders", keep=None, before=moment) == 3

    async def test_batches_for_several_topics_are_appended(self, log, append):
        before = await append("orders")
        given = await sync_to_async(log.append_batches)(
            {"orders": [Draft("a", "1"), Draft(None, "2")], "config": [Draft(None, "3"), Draft(None, "4")]},
            keep_one={"config"},
        )
        assert [receipt.position.seq for receipt in given["orders"]] == [2, 3]
        assert given["orders"][0].prev == before.position.tag
        config = await log.read("config", 0, 10)
        assert [(entry.position, entry.data) for entry in config.entries] == [
            (given["config"][1].position, "4")
        ]

    async def test_a_key_is_appended_once(self, log, append):
        append_many = sync_to_async(log.append_many)
        (first,) = await append_many("orders", [Draft("a", "1", "key")], keep_one=False)
        await append()
        (again,) = await append_many("orders", [Draft("b", "2", "key")], keep_one=False)
        assert again == (first.position, first.prev, None)
        (elsewhere,) = await append_many("alerts", [Draft("a", "1", "key")], keep_one=False)
        assert elsewhere.entry is not None
        page = await log.read("orders", 1, 10)
        assert [(entry.event, entry.data) for entry in page.entries] == [("a", "1"), (None, "data")]

    async def test_a_batch_may_have_new_keys_old_keys_and_none(self, log, append):
        append_many = sync_to_async(log.append_many)
        (old,) = await append_many("orders", [Draft(None, "old", "old")], keep_one=False)
        drafts = [
            Draft(None, "1", "new"),
            Draft(None, "2", "old"),
            Draft(None, "3"),
            Draft(None, "4", "new"),
            Draft(None, "5"),
        ]
        given = await append_many("orders", drafts, keep_one=False)
        assert [receipt.position.seq for receipt in given] == [2, 1, 3, 2, 4]
        assert [receipt.entry is not None for receipt in given] == [True, False, True, False, True]
        page = await log.read("orders", 1, 10)
        assert [entry.data for entry in page.after(old.position).entries] == ["1", "3", "5"]

    async def test_a_key_is_known_after_its_entry_has_gone(self, log, append):
        append_many = sync_to_async(log.append_many)
        (first,) = await append_many("config", [Draft(None, "1", "key")], keep_one=True)
        last = await append("config", keep_one=True)
        assert await append_many("config", [Draft(None, "1", "key")], keep_one=True) == [
            (first.position, first.prev, None)
        ]
        page = await log.read("config", 0, 10)
        assert [entry.position for entry in page.entries] == [last.position]

    async def test_a_key_is_forgotten_when_the_window_has_passed(self, log, settings):
        settings.SSE_IDEMPOTENCY_WINDOW = 0.001
        for seq in (1, 2, 3):
            (receipt,) = await sync_to_async(log.append_many)(
                "orders", [Draft(None, "data", "key")], keep_one=False
            )
            assert receipt.position.seq == seq
            await self.wait_for_the_clock(0.002)

    async def wait_for_the_clock(self, seconds):
        """Wait until every clock, also that of a server, has moved on."""
        start = time.time()
        while time.time() < start + seconds:
            await asyncio.sleep(0)

    async def test_of_retries_at_once_one_appends(self, log):
        given = []

        def retry(number):
            (receipt,) = log.append_many("orders", [Draft(None, str(number), "key")], keep_one=False)
            given.append(receipt)
            connections.close_all()

        threads = [threading.Thread(target=retry, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        assert len({receipt.position for receipt in given}) == 1
        assert sum(receipt.entry is not None for receipt in given) == 1
        assert len((await log.read("orders", 0, 10)).entries) == 1


class TestMemoryEventLog(Contract):
    def make(self):
        return MemoryEventLog()

    def test_it_keeps_a_bounded_number_of_entries(self, settings):
        settings.SSE_MEMORY_LOG_ENTRIES = 3
        log = self.make()
        for _ in range(10):
            log.append("orders", None, "data", keep_one=False)
        page = asyncio.run(log.read("orders", 0, 100))
        assert [entry.position.seq for entry in page.entries] == [8, 9, 10]

    def test_inside_a_transaction_an_event_has_no_position_yet(self, settings):
        settings.SSE_EVENT_LOG = "memory"
        settings.SSE_TOPICS = {"orders": {}}
        with transaction.atomic():
            inside = publish("orders", "in a transaction")
        outside = publish("orders", "in none")
        assert (inside.position, inside.id) == (None, None)
        assert outside.position.seq == 2


class TestRedisEventLog(Contract):
    @pytest.fixture(autouse=True)
    def flushed(self, redis_url, settings):
        settings.SSE_REDIS = redis_url
        with RedisEventLog().client as client:
            client.flushall()

    def make(self):
        return RedisEventLog()

    def test_the_topics_own_limits_are_kept_on_append(self, settings):
        settings.SSE_TOPICS = {"orders": {"keep": 3}, "alerts": {"max_age": 60}, "rest": {}}
        settings.SSE_REDIS_LOG_ENTRIES = 5
        log = self.make()
        for topic, kept in (("orders", 3), ("rest", 5)):
            for _ in range(10):
                log.append(topic, None, "data")
            page = asyncio.run(log.read(topic, 0, 100))
            assert [entry.position.seq for entry in page.entries] == list(range(11 - kept, 11))
            assert page.head.seq == 10

    def test_what_is_too_old_goes_with_the_next_append(self, settings, monkeypatch):
        settings.SSE_TOPICS = {"alerts": {"max_age": 60}}
        log = self.make()
        start = time.time()
        for age in (100, 90, 30, 0):
            monkeypatch.setattr("sse_app.eventlog.redis.time.time", lambda age=age: start - age)
            log.append("alerts", None, f"{age} s")
        page = asyncio.run(log.read("alerts", 0, 100))
        assert [entry.data for entry in page.entries] == ["30 s", "0 s"]

    def test_a_clock_that_is_set_back_does_not_make_time_fall(self, monkeypatch):
        log = self.make()
        start = time.time()
        for change in (0, -86400, 10):
            monkeypatch.setattr("sse_app.eventlog.redis.time.time", lambda change=change: start + change)
            log.append("orders", None, "data")
        first, second, third = asyncio.run(log.read("orders", 0, 100)).entries
        assert first.created_at == second.created_at < third.created_at

    def test_a_script_that_runs_twice_appends_once(self):
        """A client repeats a script whose answer was lost."""
        log = self.make()
        calls = []

        class Twice:
            def __getattr__(self, name):
                return getattr(log.client, name)

            def execute_command(self, *arguments):
                calls.append(log.client.execute_command(*arguments))
                calls.append(log.client.execute_command(*arguments))

        log._append(Twice(), "orders", [Draft(None, "1"), Draft("a", "2", "key")], keep_one=False)
        assert calls[0] == calls[1]
        log.append("orders", None, "3")
        page = asyncio.run(log.read("orders", 0, 100))
        assert [entry.data for entry in page.after(GENESIS).entries] == ["1", "2", "3"]

    @pytest.mark.parametrize("evicted", ["head", "entries"])
    def test_a_head_and_entries_that_were_evicted_apart_are_no_other_log(self, evicted):
        log = self.make()
        entries = [log.append("orders", None, "data") for _ in range(3)]
        log.client.delete(f"sse:{{orders}}:{evicted}")
        page = asyncio.run(log.read("orders", 3, 100))
        assert page.head == entries[-1].position
        assert page.after(entries[-1].position).reason is None
        assert log.heads_now(["orders"]) == {"orders": entries[-1].position}
        assert log.append("orders", None, "data").prev == entries[-1].position.tag

    def test_sites_with_prefixes_of_their_own_share_a_redis(self, settings):
        log = self.make()
        log.append("orders", None, "data")
        settings.SSE_REDIS_PREFIX = "other[site]"
        assert log.topics() == []
        assert log.append("alerts", None, "data").position.seq == 1
        assert log.topics() == ["alerts"]


class TestORMEventLog(Contract):
    def make(self):
        return ORMEventLog()

    def test_an_append_is_undone_with_its_transaction(self):
        log = self.make()
        first = log.append("orders", None, "kept", keep_one=False)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            log.append("orders", None, "undone", keep_one=False)
            1 / 0  # noqa: B018
        with transaction.atomic():
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                log.append("orders", None, "undone with its savepoint", keep_one=False)
                1 / 0  # noqa: B018
            third = log.append("orders", None, "kept too", keep_one=False)
        assert third.prev == first.position.tag
        assert list(Event.objects.order_by("seq").values_list("seq", "data")) == [
            (1, "kept"),
            (2, "kept too"),
        ]

    async def test_one_read_is_one_statement(self):
        log = self.make()
        statements = []

        def read():
            with connection.execute_wrapper(
                lambda execute, sql, *rest: (statements.append(sql), execute(sql, *rest))[1]
            ):
                log._read("orders", 0, 10)
                list(log._heads(["orders", "alerts"]))

        await sync_to_async(read)()
        assert len(statements) == 2

    async def test_reading_survives_a_connection_that_broke(self):
        log = self.make()
        await sync_to_async(log.append)("orders", None, "data", keep_one=False)

        def read_over_a_broken_connection():
            connection = connections[log.alias]
            connection.ensure_connection()
            connection.connection.close()
            list(log._heads(["orders"]))

        with pytest.raises(Exception, match="closed"):
            await database.read(read_over_a_broken_connection)
        assert (await log.heads(["orders"]))["orders"].seq == 1

    def test_trimming_by_age_removes_a_prefix_only(self):
        """A clock that was set back makes an entry look older than one before it: it stays."""
        log = self.make()
        now = timezone.now()
        for age in (9, 8, 1, 7, 0):
            log.append("orders", None, f"{age} days", keep_one=False)
            newest = Event.objects.order_by("-seq").first()
            Event.objects.filter(pk=newest.pk).update(created_at=now - timedelta(days=age))
        assert log.trim("orders", keep=None, before=now - timedelta(days=5)) == 2
        assert [event.data for event in Event.objects.order_by("seq")] == ["1 days", "7 days", "0 days"]
        assert log.trim("orders", keep=None, before=now + timedelta(days=1)) == 3
        assert log.trim("orders", keep=1, before=now) == 0

    def test_trimming_many_entries_goes_in_small_steps(self):
        log = self.make()
        log.append_many("orders", [Draft(None, str(number)) for number in range(1700)], keep_one=False)
        with CaptureQueriesContext(connection) as queries:
            assert log.trim("orders", keep=100, before=None) == 1600
        assert sum('DELETE FROM "sse_app_event"' in query["sql"] for query in queries) == 4
        assert Event.objects.count() == 100

    def test_a_row_says_what_it_is(self):
        log = self.make()
        entry = log.append("orders", None, "data", keep_one=False)
        assert str(Event.objects.get()) == str(entry.position)
        assert str(Topic.objects.get()) == "orders"
