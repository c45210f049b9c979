"""The Redis log on real servers of every kind: a cluster, sentinels, passwords, sockets, one that hangs."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
import redis

from sse_app.eventlog.base import Draft
from sse_app.eventlog.redis import RedisEventLog
from sse_app.positions import GENESIS
from tests.services import redis_binary
from tests.site import DEADLINE, free_port

PASSWORD = "p:a@s/s?w#ö d"
TOPICS = [f"t{number}" for number in range(20)]  # they fall on all nodes of a cluster


@contextmanager
def server(folder, *options, port=None):
    """Run a server of one's own options, and give its port once it answers."""
    port = port or free_port()
    folder.mkdir(exist_ok=True)
    child = subprocess.Popen(
        [redis_binary(), *options, "--port", str(port), "--dir", str(folder), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(port), "the server does not answer")
        yield port, child
    finally:
        child.kill()
        child.wait()


def answers(port):
    with redis.Redis(port=port, retry=None) as client, suppress(redis.ConnectionError):
        with suppress(redis.AuthenticationError):
            client.ping()
        return True


def wait_until(condition, problem):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.02)


@pytest.fixture
def log(settings):
    """Give a log on a host."""

    def make(host):
        settings.SSE_REDIS = host
        return RedisEventLog()

    return make


def read(log, topic, from_seq=0):
    return asyncio.run(log.read(topic, from_seq, 100))


def assert_works(log):
    """One append, one batch over topics, keys, heads, reads, moments, trimming."""
    first = log.append("t0", "named", "Grüße")
    batch = {topic: [Draft(None, "1", "key"), Draft(None, "2")] for topic in TOPICS}
    given = log.append_batches(batch, keep_one={"t1"})
    assert given["t0"][0].prev == first.position.tag
    again = log.append_batches({topic: drafts[:1] for topic, drafts in batch.items()}, keep_one={"t1"})
    assert {topic: receipt.position for topic, (receipt,) in again.items()} == {
        topic: receipts[0].position for topic, receipts in given.items()
    }
    assert all(receipt.entry is None for (receipt,) in again.values())
    heads = {topic: receipts[1].position for topic, receipts in given.items()}
    assert log.heads_now([*TOPICS, "never"]) == heads
    assert log.topics() == sorted(TOPICS)
    assert [entry.data for entry in read(log, "t0").after(GENESIS).entries] == ["Grüße", "1", "2"]
    assert [entry.data for entry in read(log, "t1").entries] == ["2"]
    assert asyncio.run(log.first_since("t2", datetime(2000, 1, 1, tzinfo=UTC))) == 1
    assert log.trim("t2", keep=1, before=None) == log.trim("t2", keep=None, before=datetime.now(UTC)) == 1
    asyncio.run(log.check())


def test_every_form_of_an_address_with_a_password_is_taken(tmp_path, log):
    socket = tmp_path / "redis.sock"
    secret = quote(PASSWORD, safe="")
    with server(tmp_path, "--requirepass", PASSWORD, "--unixsocket", str(socket)) as (port, _):
        hosts = [
            f"redis://:{secret}@127.0.0.1:{port}/0",
            f"unix://:{secret}@{socket}?db=1",
            {"address": f"redis://127.0.0.1:{port}/2", "password": PASSWORD},
            {"host": "127.0.0.1", "port": port, "db": 3, "password": PASSWORD},
        ]
        for host in hosts:
            assert_works(log(host))
        with pytest.raises(redis.AuthenticationError):
            log(f"redis://127.0.0.1:{port}").append("t0", None, "1")


@contextmanager
def cluster(folder, size=3):
    """Run a cluster of masters that share the slots; give the ports and the children."""
    with ExitStack() as stack:
        ports = []
        while len(ports) < size:
            if (port := free_port()) < 55_000 and port not in ports:  # the cluster's own is 10,000 above
                ports.append(port)
        children = [
            stack.enter_context(server(folder / str(port), "--cluster-enabled", "yes", port=port))[1]
            for port in ports
        ]
        nodes = [stack.enter_context(redis.Redis(port=port, decode_responses=True)) for port in ports]
        for number, node in enumerate(nodes):
            slots = range(number * 16384 // size, (number + 1) * 16384 // size)
            node.execute_command("CLUSTER ADDSLOTS", *slots)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
        wait_until(lambda: all(is_whole(node, size) for node in nodes), "no cluster came about")
        yield ports, children


def is_whole(node, size):
    info = node.cluster("info")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == size


def test_a_cluster_of_three_nodes(tmp_path, log):
    with cluster(tmp_path) as (ports, _):
        clustered = log({"cluster": f"redis://127.0.0.1:{ports[0]}"})
        assert_works(clustered)
        assert log({"cluster": f"redis://127.0.0.1:{ports[2]}"}).heads_now(TOPICS).keys() == {*TOPICS}
        child = os.fork()
        if not child:
            os._exit(0 if clustered.append("t0", None, "from a forked process") else 1)
        clustered.append("t0", None, "from its parent")
        assert os.waitpid(child, 0)[1] == 0
        assert len(read(clustered, "t0").after(GENESIS).entries) == 5


@contextmanager
def sentinel(folder, master):
    port = free_port()
    folder.mkdir()
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"sentinel monitor site 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds site 300\n"
        "sentinel failover-timeout site 3000\n"
    )
    child = subprocess.Popen(
        [redis_binary(), str(configuration), "--sentinel", "--port", str(port), "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(port), "the sentinel does not answer")
        yield port
    finally:
        child.kill()
        child.wait()


def test_sentinels_name_the_new_master_after_a_failover(tmp_path, log):
    with ExitStack() as stack:
        master, child = stack.enter_context(server(tmp_path / "a"))
        replica, _ = stack.enter_context(server(tmp_path / "b", "--replicaof", "127.0.0.1", str(master)))
        client = stack.enter_context(redis.Redis(port=replica))
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "no replica")
        watcher = stack.enter_context(sentinel(tmp_path / "s", master))
        watched = stack.enter_context(redis.Redis(port=watcher))
        wait_until(lambda: watched.sentinel_slaves("site"), "the sentinel knows no replica")
        kept = log({"sentinels": [("127.0.0.1", watcher)], "master_name": "site"})
        assert_works(kept)
        entries = [entry.position for entry in read(kept, "t0").entries]
        master_client = stack.enter_context(redis.Redis(port=master))
        assert master_client.wait(1, 5000) == 1
        child.kill()
        child.wait()
        wait_until(lambda: succeeds(lambda: kept.append("t0", None, "3")), "no new master")
        page = read(kept, "t0")
        assert [entry.position for entry in page.entries[:3]] == entries
        assert page.entries[3].prev == entries[2].tag
        (again,) = kept.append_many("t0", [Draft(None, "1", "key")], keep_one=False)
        assert (again.position, again.entry) == (entries[1], None)


def succeeds(call):
    with suppress(redis.RedisError):
        call()
        return True


@pytest.mark.parametrize("form", ["url", "pair", "dict"])
def test_a_redis_that_hangs_fails_an_append_in_a_time_that_does_not_depend_on_the_form(
    tmp_path, log, form, monkeypatch
):
    monkeypatch.setattr("sse_app.eventlog.redis.ANSWER_SECONDS", 0.1)
    with server(tmp_path) as (port, child):
        hosts = {
            "url": f"redis://127.0.0.1:{port}",
            "pair": ("127.0.0.1", port),
            "dict": {"host": "127.0.0.1", "port": port},
        }
        hanging = log(hosts[form])
        hanging.append("t0", None, "1")
        child.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(redis.RedisError):
            hanging.append("t0", None, "2")
        assert time.monotonic() - start < 1


@pytest.fixture
def lone(redis_url, log):
    made = log(redis_url)
    made.client.flushall()
    return made


def test_attempts_that_draw_the_same_tag_are_two_appends(lone, monkeypatch):
    """It has 32 bits: at 100 events a second two of a minute share it every two hours."""
    tags = iter(["0000aaaa", "0000bbbb", "0000aaaa"])
    monkeypatch.setattr("sse_app.eventlog.redis.new_tag", lambda: next(tags))
    for data in ("1", "2", "3"):
        lone.append("orders", None, data)
    assert [entry.data for entry in read(lone, "orders").entries] == ["1", "2", "3"]


@pytest.mark.parametrize("window", [0, 0.0001])
def test_an_append_that_fails_leaves_a_log_that_goes_on(lone, settings, window):
    lone.append("orders", None, "1")
    settings.SSE_IDEMPOTENCY_WINDOW = window
    succeeds(lambda: lone.append_many("orders", [Draft(None, "2", "key")], keep_one=False))
    assert lone.append("orders", None, "3").position.seq >= 2


def test_a_log_whose_head_was_evicted_when_no_entries_were_left_goes_on(lone):
    for data in ("1", "2"):
        lone.append("orders", None, data)
    lone.trim("orders", keep=0, before=None)
    lone.client.delete("sse:{orders}:head")
    assert lone.append("orders", None, "3").data == "3"
    assert [entry.data for entry in read(lone, "orders").entries] == ["3"]
