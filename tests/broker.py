"""A process of the small world with a real relay, over a broker that fails in the ways brokers do."""

import asyncio

from channels.layers import InMemoryChannelLayer

from sse_app.doorbell import Doorbell
from sse_app.hub import Hub, HubOptions
from sse_app.outbox import MESSAGE_TYPE
from sse_app.relay import ECHO_TYPE, Relay
from sse_app.topics import group_name
from tests.clock import run
from tests.world import CountingLog, World

BROKEN = ["hanging", "failing", "losing"]


class Layer(InMemoryChannelLayer):
    """A layer whose broker is up, hangs, fails, or loses what it is sent."""

    state = "up"

    def __init__(self):
        super().__init__(capacity=10_000)
        self.echoes = 0

    async def group_send(self, group, message):
        self.echoes += message["type"] == ECHO_TYPE
        if await self._carries():
            await super().group_send(group, message)

    async def group_add(self, group, channel):
        if await self._carries():
            await super().group_add(group, channel)

    async def _carries(self):
        if self.state == "hanging":
            await asyncio.Event().wait()
        if self.state == "failing":
            raise ConnectionError("the broker is away")
        return self.state == "up"

    def members(self, topic):
        return len(self.groups.get(group_name(topic), ()))

    def restart(self):
        """Come back as a broker without data: it knows no members."""
        self.groups.clear()
        self.state = "up"

    async def ring(self, bell):
        message = {"type": MESSAGE_TYPE, "sender": "another process", **bell.to_message()}
        await self.group_send(group_name(bell.topic), message)


class HeadsLog(CountingLog):
    """Counts the looks at the heads."""

    looks = 0

    async def heads(self, topics):
        self.looks += 1
        return await super().heads(topics)


class Process(World):
    """A process with a real relay; the world publishes as another process."""

    def __init__(self, layer):
        super().__init__(processes=0)
        self.layer = layer
        self.log = HeadsLog()
        self.relay = Relay(layer, lambda bell: self.hubs[0].hint(bell))
        self.hubs.append(Hub(self.log, self.relay, HubOptions()))

    async def looks(self, seconds):
        before = self.log.looks
        await asyncio.sleep(seconds)
        return self.log.looks - before

    async def publish_elsewhere(self, data):
        """Publish, and ring by the broker alone; this process hears it only through its relay."""
        entry = self.publish(data=data, ring=False)
        if self.layer.state == "up":
            await self.layer.ring(Doorbell.of(entry))
        return entry


def in_a_process(play, layer=None):
    async def in_its_loop():
        process = Process(layer)
        try:
            await play(process)
        finally:
            await process.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    run(in_its_loop())
