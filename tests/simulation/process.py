"""Processes: a hub, the bells that reach it, and the log as it sees it."""

import asyncio

from sse_app.hub import Hub
from sse_app.topics import TopicKind
from tests.simulation.log import LogView


class Group:
    """A process's membership in the groups of topics; joining takes a while."""

    down = False

    def __init__(self, process, rng, delays):
        self._process = process
        self._rng = rng
        self._delays = delays
        self._wanted = set()
        self.joined = set()

    async def join(self, topic):
        self._wanted.add(topic)
        if self._delays:
            await asyncio.sleep(self._rng.choice(self._delays))
        self.joined |= {topic} & self._wanted

    def leave(self, topic):
        self._wanted.discard(topic)
        self.joined.discard(topic)

    def renew(self, topic):
        self._process.check_repair(topic)
        self.joined |= {topic} & self._wanted

    def evict(self):
        """Forget the members, as a layer does after a day, or when it was restarted."""
        self.joined.clear()

    def probe(self):
        """Whether bells come is for the schedule to say."""

    async def close(self):
        self.joined.clear()


class Process:
    """A process of the site. It publishes into the log of the world, and hears bells of the others."""

    def __init__(self, world):
        self._world = world
        self.log = LogView(world.log, world.faults, world.rng, world.is_latest, world.blame)
        self.group = Group(self, world.rng, world.joins)
        self.hub = Hub(self.log, self.group, world.options)
        self.loop = self.hub.loop
        self.ephemeral = {}

    def ring(self, bell):
        """Take the bell of an own event, as a hub does from any thread."""
        self.loop.call_soon(self.hear, bell)

    def count(self, topic):
        return self.hub.count(topic)

    def hear_from_afar(self, bell):
        """Take a bell from the channel layer, which only brings those of joined topics."""
        if bell.topic in self.group.joined:
            self.hear(bell)

    def hear(self, bell):
        if bell.topic in self.hub.tails and self._world.kind(bell.topic) is TopicKind.EPHEMERAL:
            self.ephemeral.setdefault(bell.topic, []).append(bell.data)
        self.hub.hint(bell)

    def check_repair(self, topic):
        """Check that the tick repairs no tail that has overtaken it meanwhile."""
        past, asked = self._world.past, self.log.asked_for_heads
        last = self.hub.tails[topic].ring.last
        is_true = last in past.alive(topic) and past.undone_at <= asked
        if is_true and last.seq > past.at(topic, asked).head.seq:
            self._world.blame(f"the tick repairs {topic} in vain: it has moved on to {last}")

    async def close(self):
        await self.hub.close()
