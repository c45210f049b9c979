"""The relay over every channel layer: in memory, and both of channels_redis."""

import asyncio
import os
import subprocess
import sys

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from sse_app import outbox as outbox_module
from sse_app.doorbell import Doorbell
from sse_app.entries import Entry
from sse_app.outbox import MESSAGE_TYPE, Outbox
from sse_app.positions import Position
from sse_app.relay import Relay
from sse_app.topics import group_name
from tests.asgi import poll
from tests.services import RedisServer

BELL = Doorbell.of(Entry("orders", Position(1, "0000abcd"), "00000000", "named", "Grüße"))


class Layers:
    """Makes the layers of two processes."""

    def __init__(self, make):
        self.make = make
        self.made = []

    def __call__(self):
        self.made.append(self.make())
        return self.made[-1]


@pytest.fixture(params=["memory", "pubsub", "core"])
async def layer(request):
    """Gives layers that share a broker, as those of different processes do."""
    if request.param == "memory":
        shared = InMemoryChannelLayer()
        yield lambda: shared
        return
    hosts = [request.getfixturevalue("redis_url")]
    layers = Layers(
        lambda: {"pubsub": RedisPubSubChannelLayer, "core": RedisChannelLayer}[request.param](hosts=hosts)
    )
    yield layers
    for made in layers.made:
        await made.flush()
        await made.close_pools() if request.param == "core" else None


async def ring(layer, bell=BELL, sender="another process"):
    await layer.group_send(
        group_name(bell.topic), {"type": MESSAGE_TYPE, "sender": sender, **bell.to_message()}
    )


async def test_a_member_hears_the_bells_of_its_topic(layer):
    heard = []
    relay = Relay(layer(), heard.append)
    await relay.join("orders")
    await ring(layer())
    await poll(lambda: heard == [BELL])
    await relay.close()


async def test_one_that_has_left_hears_nothing_and_one_that_comes_back_hears_again(layer):
    heard = []
    relay = Relay(layer(), heard.append)
    await relay.join("orders")
    await relay.join("alerts")
    relay.leave("orders")
    await poll(lambda: not relay._settling)
    await ring(layer())
    await ring(layer(), Doorbell("alerts", data="marker"))
    await poll(lambda: heard == [Doorbell("alerts", data="marker")])
    for _ in range(5):  # each time a leave that is overtaken by the next join
        relay.leave("orders")
        await relay.join("orders")
    await ring(layer())
    await poll(lambda: BELL in heard)
    await relay.close()


async def test_a_process_does_not_hear_its_own_bells_twice(layer):
    heard = []
    relay = Relay(layer(), heard.append)
    await relay.join("orders")
    await ring(layer(), sender=outbox_module.sender_id())
    await ring(layer(), Doorbell("orders", data="marker"))
    await poll(lambda: heard == [Doorbell("orders", data="marker")])
    await relay.close()


async def test_what_is_no_doorbell_is_logged_and_passed_over(layer, caplog):
    heard = []
    relay = Relay(layer(), heard.append)
    await relay.join("orders")
    await layer().group_send(group_name("orders"), {"type": "junk", "seq": "x"})
    await ring(layer())
    await poll(lambda: heard == [BELL])
    assert "not a doorbell" in caplog.text
    await relay.close()


class FailingLayer(InMemoryChannelLayer):
    """A layer whose broker is away at first."""

    def __init__(self, failures):
        super().__init__()
        self.failures = failures

    def _fail(self):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the broker is away")

    async def group_add(self, group, channel):
        self._fail()
        await super().group_add(group, channel)

    async def receive(self, channel):
        self._fail()
        return await super().receive(channel)


async def test_the_relay_goes_on_when_the_broker_comes_back():
    heard = []
    layer = FailingLayer(failures=5)
    relay = Relay(layer, heard.append)
    await relay.join("orders")
    await ring(layer)
    await poll(lambda: heard == [BELL])
    await relay.close()


async def test_without_a_layer_joining_costs_nothing():
    relay = Relay(None, lambda bell: None)
    await relay.join("orders")
    relay.renew("orders")
    relay.leave("orders")
    await relay.close()


async def test_a_plain_thread_sends_bells_by_one_lasting_loop(redis_url, settings):
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [redis_url]},
        }
    }
    heard = []
    relay = Relay(RedisPubSubChannelLayer(hosts=[redis_url]), heard.append)
    await relay.join("orders")
    outbox, loops = Outbox(), set()

    def publish():
        for _ in range(20):
            outbox.send(BELL, None)
            loops.add(outbox._loop)

    settings.SSE_CHANNEL_LAYER = "default"
    original, outbox_module.sender_id = outbox_module.sender_id, lambda: "another process"
    try:
        await asyncio.to_thread(publish)
    finally:
        outbox_module.sender_id = original
    await poll(lambda: len(heard) == 20)
    assert len(loops) == 1
    outbox.flush()
    await relay.close()


def test_a_forked_process_sends_under_a_name_and_by_a_loop_of_its_own():
    """As Celery's prefork workers do: the thread of the parent does not survive the fork."""
    code = """
import asyncio, os, sys, django
django.setup()
from sse_app.hub import hubs
from sse_app.local import get_hub
streams = asyncio.new_event_loop()
async def with_a_hub():
    get_hub()
streams.run_until_complete(with_a_hub())
assert hubs()
from sse_app import outbox
from sse_app.doorbell import Doorbell
parent, loop = outbox.sender_id(), outbox._outbox._own_loop()
pid = os.fork()
if not pid:
    fresh = hubs() == [] and outbox.sender_id() != parent and outbox._outbox._own_loop() is not loop
    outbox.send(Doorbell("orders", data="x"), None)
    outbox._outbox.flush()
    os._exit(0 if fresh and not outbox._outbox._lines[outbox._outbox._own_loop()]._bells else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONDEVMODE": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_a_join_in_the_very_turn_in_which_a_leave_ends_is_not_forgotten():
    heard = []
    layer = InMemoryChannelLayer()
    relay = Relay(layer, heard.append)
    await relay.join("orders")
    for _ in range(20):
        relay.leave("orders")
        while relay._settling:
            await asyncio.sleep(0)
        await relay.join("orders")
        assert layer.groups[group_name("orders")]
    await relay.close()


class StrayLayer(InMemoryChannelLayer):
    """A layer whose receive() once raises a cancellation that nobody has asked for."""

    stray = True

    async def receive(self, channel):
        if self.stray:
            self.stray = False
            raise asyncio.CancelledError
        return await super().receive(channel)


async def test_a_stray_cancellation_does_not_deafen_the_relay():
    heard = []
    layer = StrayLayer()
    relay = Relay(layer, heard.append)
    await relay.join("orders")
    await ring(layer)
    await poll(lambda: heard == [BELL])
    await relay.close()


async def test_a_burst_of_bells_arrives_whole_and_in_order(redis_url, settings):
    """All at once they would exhaust the pool of connections: of 1,000 bells 100 were heard."""
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer"}
    settings.CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {"hosts": [redis_url], "capacity": 10000}}}
    heard = []
    listening = RedisChannelLayer(hosts=[redis_url], capacity=10000)
    relay = Relay(listening, heard.append)
    await relay.join("ticks")
    outbox = Outbox()
    original, outbox_module.sender_id = outbox_module.sender_id, lambda: "another process"
    try:
        for number in range(1000):
            outbox.send(Doorbell("ticks", data=str(number)), None)
    finally:
        outbox_module.sender_id = original
    await poll(lambda: len(heard) == 1000)
    assert [bell.data for bell in heard] == [str(number) for number in range(1000)]
    await relay.close()
    await listening.close_pools()


class HangingLayer(InMemoryChannelLayer):
    """A layer whose broker accepts everything and answers nothing."""

    async def group_send(self, group, message):
        await asyncio.sleep(3600)


async def test_a_broker_that_hangs_holds_up_a_bounded_number_of_bells(caplog, monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BELLS", 10)
    monkeypatch.setattr(outbox_module, "channel_layer", HangingLayer)
    outbox = Outbox()
    loop = asyncio.get_running_loop()
    for number in range(100):
        outbox.send(Doorbell("ticks", data=str(number)), loop)
    line = outbox._line(loop)
    await poll(lambda: line._losing)
    assert len(line._bells) <= 10
    assert caplog.text.count("the broker is too slow") == 1
    line._sending.cancel()
    await asyncio.wait({line._sending})


def test_a_process_that_only_publishes_opens_one_connection(tmp_path):
    """As cron, Celery and WSGI workers do: from plain threads, with no loop of their own."""
    code = """
import sys, threading, django, redis
django.setup()
from sse_app import publish
from sse_app import outbox
def publish_some():
    for number in range(50):
        publish("demo.ticks", number)
with redis.Redis.from_url(sys.argv[1]) as client:
    before = client.info("stats")["total_connections_received"]  # which has counted this one
    threads = [threading.Thread(target=publish_some) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    outbox._outbox.flush()
    print(client.info("stats")["total_connections_received"] - before)
"""
    with RedisServer(tmp_path) as server:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "REDIS_URL": server.url,
            "PYTHONDEVMODE": "",
        }
        command = [sys.executable, "-c", code, server.url]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
