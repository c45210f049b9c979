"""Idempotency keys on PostgreSQL, retried by several processes and threads at the same time."""

import json
import subprocess
import sys

import psycopg
import pytest

from tests.site import DEADLINE, ROOT, Site

PROCESSES, THREADS, KEYS = 2, 4, 15

# Each thread tries each key, of new and of known topics; some tries are rolled back and made again.
RETRY = f"""
import json, random, sys, threading
from django.db import connections, transaction
from sse_app import publish, publish_many

TOPICS = ["room.a", "room.b"]
answers, errors = [], []

def attempt(number, fails):
    try:
        with transaction.atomic():
            published = publish_many([(topic, number, None, f"key {{number}}") for topic in TOPICS])
            if fails:
                raise KeyError
        answers.extend((one.topic, number, str(one.position)) for one in published)
    except KeyError:
        attempt(number, fails=False)

def run():
    try:
        for number in random.sample(range({KEYS}), {KEYS}):
            attempt(number, fails=random.random() < 0.3)
    except Exception as error:
        errors.append(repr(error))
    finally:
        connections.close_all()

print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=run) for _ in range({THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([answers, errors]))
"""

# A second try waits for the first, whose transaction then ends in one way or the other.
OVERTAKEN = """
import json, threading, time
from django.db import connection, connections, transaction
from sse_app import publish

def second():
    got.append(str(publish(topic, "second", idempotency_key="key").position))
    connections.close_all()

def wait_until_it_waits():
    deadline = time.monotonic() + 10
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with connection.cursor() as cursor:
        while not cursor.execute(waiting).fetchone()[0]:
            assert time.monotonic() < deadline and retry.is_alive()

answers = {}
for used in (False, True):
    for end in ("commit", "rollback"):
        topic, got = f"room.{end}-{used}", []
        if used:
            publish(topic, "before")
        retry = threading.Thread(target=second)
        try:
            with transaction.atomic():
                got.append(str(publish(topic, "first", idempotency_key="key").position))
                retry.start()
                wait_until_it_waits()
                if end == "rollback":
                    raise KeyError
        except KeyError:
            pass
        retry.join(10)
        answers[topic] = got
with connection.cursor() as cursor:
    isolation = cursor.execute("SHOW transaction_isolation").fetchone()[0]
print(json.dumps([isolation, answers]))
"""


@pytest.fixture(scope="module")
def site(postgres, tmp_path_factory):
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS idempotency WITH (FORCE)")
        admin.execute("CREATE DATABASE idempotency")
    site = Site(tmp_path_factory.mktemp("idempotency"), DATABASE_URL=f"{postgres}/idempotency")
    site.manage("migrate", "-v0")
    return site


def kept(postgres):
    """Give the data and the position of each event, by its topic."""
    with psycopg.connect(f"{postgres}/idempotency") as reader:
        rows = reader.execute(
            "SELECT t.name, e.data, e.seq || '-' || e.tag FROM sse_app_event e"
            " JOIN sse_app_topic t ON t.id = e.topic_id ORDER BY e.seq"
        ).fetchall()
    topics = {}
    for topic, data, position in rows:
        topics.setdefault(topic, []).append((data, position))
    return topics


def retry_in_a_process(site):
    return subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-v0", "-c", RETRY],
        cwd=ROOT,
        env=site.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_concurrent_retries_one_sends_and_all_get_the_same_answer(site, postgres):
    processes = [retry_in_a_process(site) for _ in range(PROCESSES)]
    answers = []
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, complaints = process.communicate(timeout=2 * DEADLINE)
            given, errors = json.loads(output)
            assert errors == [], complaints
            answers += given
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert len(answers) == PROCESSES * THREADS * KEYS * 2
    topics = kept(postgres)
    for topic in ("room.a", "room.b"):
        events = topics[topic]
        assert sorted(int(data) for data, _ in events) == list(range(KEYS))
        assert [int(position.partition("-")[0]) for _, position in events] == list(range(1, KEYS + 1))
        given = {(str(number), position) for name, number, position in answers if name == topic}
        assert given == set(events)


def test_a_retry_waits_for_a_first_try_whose_outcome_is_open(site, postgres):
    isolation, answers = json.loads(site.shell(OVERTAKEN))
    assert isolation == "read committed"
    topics = kept(postgres)
    for used in (False, True):
        before = ["before"] if used else []
        committed, rolled_back = answers[f"room.commit-{used}"], answers[f"room.rollback-{used}"]
        assert committed[0] == committed[1] == topics[f"room.commit-{used}"][-1][1]
        assert [data for data, _ in topics[f"room.commit-{used}"]] == [*before, "first"]
        assert rolled_back[0] != rolled_back[1] == topics[f"room.rollback-{used}"][-1][1]
        assert [data for data, _ in topics[f"room.rollback-{used}"]] == [*before, "second"]
