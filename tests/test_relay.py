"""The relay over every channel layer: in memory, and both of channels_redis."""

import asyncio
import os
import subprocess
import sys

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from sse_app import relay as relay_module
from sse_app.doorbell import Doorbell
from sse_app.entries import Entry
from sse_app.positions import Position
from sse_app.relay import MESSAGE_TYPE, Outbox, Relay
from sse_app.topics import group_name
from tests.asgi import poll

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
    await ring(layer(), sender=relay_module.sender_id())
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
    original, relay_module.sender_id = relay_module.sender_id, lambda: "another process"
    try:
        await asyncio.to_thread(publish)
    finally:
        relay_module.sender_id = original
    await poll(lambda: len(heard) == 20)
    assert len(loops) == 1
    outbox.flush()
    await relay.close()


def test_a_forked_process_sends_under_a_name_and_by_a_loop_of_its_own():
    """As Celery's prefork workers do: the thread of the parent does not survive the fork."""
    code = """
import os, sys, django
django.setup()
from sse_app import relay
from sse_app.doorbell import Doorbell
parent, loop = relay.sender_id(), relay.outbox._own_loop()
pid = os.fork()
if not pid:
    fresh = relay.sender_id() != parent and relay.outbox._own_loop() is not loop
    relay.outbox.send(Doorbell("orders", data="x"), None)
    relay.outbox.flush()
    os._exit(0 if fresh and not relay.outbox._pending else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "project.settings", "PYTHONDEVMODE": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
