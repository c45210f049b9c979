"""The main job over real HTTP: publish anywhere in Django, see it live, resume what was missed."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import closing

import httpx
import pytest
from httpx_sse import connect_sse

from tests.site import ROOT, SERVERS, Listener, send_from_admin, title

STREAM = "/sse/topics/notifications/"
BROADCAST = "/sse/events/?topic=notifications"


@pytest.fixture(params=SERVERS)
def server(request, site):
    return site.serve(request.param)


async def test_what_staff_send_in_the_admin_is_seen_within_a_second(server):
    admin = await asyncio.to_thread(server.sign_in)
    waits = []
    async with Listener(server.port, BROADCAST) as listener:
        await listener.primed()
        for number in range(5):
            sending = asyncio.create_task(asyncio.to_thread(send_from_admin, admin, f"number {number}"))
            started = time.monotonic()
            event = await listener.event()
            waits.append(time.monotonic() - started)
            await sending
            assert (event.event, title(event)) == ("notification", f"number {number}")
    admin.close()
    assert statistics.median(waits) <= 1.0, waits


async def test_a_client_that_comes_back_gets_exactly_the_100_events_it_missed(server, site):
    listener = Listener(server.port, STREAM)
    await listener.connect()
    await listener.primed()
    await asyncio.to_thread(site.manage, "sse_publish", "notifications", "seen")
    assert (await listener.event()).data == "seen"
    await listener.disconnect()
    await asyncio.to_thread(publish_many, site, 100)
    await listener.connect()
    await listener.primed()
    assert [(await listener.event()).data for _ in range(100)] == [str(number) for number in range(100)]
    await asyncio.to_thread(site.manage, "sse_publish", "notifications", "live again")
    assert (await listener.event()).data == "live again"
    await listener.disconnect()


async def test_a_new_process_resumes_what_a_killed_one_has_begun(server, site):
    listener = Listener(server.port, STREAM)
    await listener.connect()
    await listener.primed()
    await asyncio.to_thread(publish_many, site, 3)
    assert [(await listener.event()).data for _ in range(3)] == ["0", "1", "2"]
    server.kill()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ValueError)):
        await listener.event()
    await listener.disconnect()
    await asyncio.to_thread(publish_many, site, 2)
    replacement = await asyncio.to_thread(site.serve)
    await listener.connect(replacement.port)
    await listener.primed()
    assert [(await listener.event()).data for _ in range(2)] == ["0", "1"]
    await listener.disconnect()


async def test_a_rolled_back_transaction_sends_nothing(server, site):
    code = """
from django.db import transaction
from sse_app import publish
try:
    with transaction.atomic():
        publish("notifications", "never")
        raise KeyError
except KeyError:
    publish("notifications", "after")
"""
    async with Listener(server.port, STREAM) as listener:
        await listener.primed()
        await asyncio.to_thread(site.shell, code)
        assert (await listener.event()).data == "after"


async def test_a_reader_that_has_stopped_reading_does_not_disturb_another(site):
    """On uvicorn: daphne has no backpressure."""
    server = await asyncio.to_thread(site.serve, "uvicorn")
    code = """
from sse_app import publish
for number in range(400):
    publish("notifications", str(number).ljust(32_000))
"""
    stuck = Listener(server.port, STREAM, receive_buffer=4096)
    await stuck.connect()  # and never reads a byte
    async with Listener(server.port, STREAM) as healthy:
        await healthy.primed()
        publishing = asyncio.create_task(asyncio.to_thread(site.shell, code))
        for number in range(400):
            assert int((await healthy.event()).data) == number
        await publishing
    await stuck.primed()  # it reads at last, and has lost nothing either
    assert [int((await stuck.event()).data) for _ in range(400)] == list(range(400))
    await stuck.disconnect()


async def waits_of_publishers_elsewhere(server, site, count):
    """Publish from as many processes as waits are wanted, and give the seconds until each is seen."""
    code = "import time; from sse_app import publish; publish('notifications', str(time.time()))"
    waits = []
    async with Listener(server.port, STREAM) as listener:
        await listener.primed()
        for _ in range(count):
            publishing = asyncio.create_task(asyncio.to_thread(site.shell, code))
            event = await listener.event()
            waits.append(time.time() - float(event.data))
            await publishing
    return waits


@pytest.mark.parametrize("layer", ["in-memory", "none"])
async def test_a_publish_from_another_process_is_seen_within_two_seconds_without_a_broker(site, layer):
    server = await asyncio.to_thread(site.serve, **({"SSE_CHANNEL_LAYER": "null"} if layer == "none" else {}))
    waits = await waits_of_publishers_elsewhere(server, site, 3)
    assert statistics.median(waits) <= 2.0, waits


@pytest.mark.parametrize("layer", ["pubsub.RedisPubSubChannelLayer", "core.RedisChannelLayer"])
async def test_without_the_tick_the_doorbell_alone_crosses_processes(site, redis_url, layer):
    site.environment |= {"REDIS_URL": redis_url, "DEMO_CHANNEL_LAYER": f"channels_redis.{layer}"}
    server = await asyncio.to_thread(site.serve, SSE_TICK="null")
    waits = await waits_of_publishers_elsewhere(server, site, 5)
    assert min(waits) <= 0.3, waits  # not the median: the machine may be busy with other things


def test_a_client_of_another_make_reads_the_stream(server, site):
    with (
        httpx.Client(base_url=server.base, timeout=20) as client,
        connect_sse(client, "GET", BROADCAST) as source,
    ):
        events = source.iter_sse()
        assert next(events).event == "cursor"
        site.manage("sse_publish", "notifications", '{"title": "Grüße\\nzwei"}', "--event", "notification")
        event = next(events)
        assert (event.event, event.json()) == ("notification", {"title": "Grüße\nzwei"})
        assert event.id.startswith("notifications=")


def test_curl_sees_headers_and_events_at_once(server):
    """Interrupted after two seconds: what it has by then was not held back."""
    done = subprocess.run(
        ["curl", "-sN", "-D", "-", "--max-time", "2", f"{server.base}{BROADCAST}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("HTTP/1.1 200 OK")
    assert "\nevent: cursor\nid: notifications=" in done.stdout.replace("\r", "")


def test_what_one_curl_posts_another_one_reads(server):
    with closing(server.sign_in()) as admin:
        cookies = dict(admin.cookies)
    headers = [f"Cookie: sessionid={cookies['sessionid']}; csrftoken={cookies['csrftoken']}"]
    headers += [f"X-CSRFToken: {cookies['csrftoken']}"]
    post = ["curl", "-s", "-w", "%{http_code}", *(part for line in headers for part in ("-H", line))]
    read = ["curl", "-sN", "--max-time", "20", f"{server.base}{STREAM}"]
    with subprocess.Popen(read, stdout=subprocess.PIPE, text=True) as reading:
        lines = iter(reading.stdout.readline, "")
        assert any(line.startswith("id: notifications=") for line in lines)  # it is there
        for text in ("hello", "again"):
            body = json.dumps({"data": {"user": "ada", "text": text}})
            posted = [*post, "-d", body, f"{server.base}{STREAM}"]
            assert subprocess.run(posted, capture_output=True, text=True).stdout.endswith("201")
        found = [next(line for line in lines if line.startswith("data: {")) for _ in range(2)]
        reading.kill()
    assert found == ['data: {"user":"ada","text":"hello"}\n', 'data: {"user":"ada","text":"again"}\n']


def publish_many(site, count):
    site.shell(f"from sse_app import publish\nfor n in range({count}): publish('notifications', str(n))")


async def test_atomic_with_the_orm_a_process_killed_between_commit_and_broadcast_loses_nothing(site):
    server = await asyncio.to_thread(site.serve)
    code = """
import os
from django.db import transaction
from sse_app import publish
with transaction.atomic():
    transaction.on_commit(lambda: os._exit(9))  # runs before the doorbell
    publish("notifications", "survives")
"""
    async with Listener(server.port, STREAM) as listener:
        await listener.primed()
        with pytest.raises(AssertionError):
            await asyncio.to_thread(site.shell, code)
        assert (await listener.event()).data == "survives"


def test_the_suite_holds_on_postgresql_too(postgres):
    tests = ["tests/test_eventlog.py", "tests/test_promises.py", "tests/test_views.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": f"{postgres}/postgres"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
