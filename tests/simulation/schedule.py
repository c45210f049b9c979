"""Schedules: what happens in a world, drawn from a seed."""

import asyncio
import random
from contextlib import suppress

from sse_app.subscribing import EARLIEST
from sse_app.topics import TopicKind
from tests.simulation.past import Violation
from tests.simulation.setting import a_world
from tests.simulation.spoiling import spoiled

STEPS = 32
PAUSES = (0, 0, 0, 0.001, 0.01, 0.03, 0.3, 1.0)
DELAYS = ((), (0,), (0, 0, 0.001, 0.01, 0.1), (0, 0.03, 0.3))
STREAMS = (
    ("orders",),
    ("orders",),
    ("orders",),
    ("replayed",),
    ("orders", "alerts"),
    ("orders", "config"),
    ("config",),
    ("replayed", "config", "ticks"),
    ("orders", "ticks"),
)
ACTIONS = {
    "publish": 10,
    "publish_a_batch": 2,
    "let_bells_arrive": 5,
    "come": 6,
    "go": 3,
    "be_cut_in_an_event": 1,
    "come_with_a_spoiled_cursor": 1,
    "open_a_second_tab": 1,
    "publish_with_a_key": 2,
    "publish_to_a_cold_process": 2,
    "publish_into_a_repair": 2,
    "stall": 2,
    "go_on": 2,
    "trim": 3,
    "trouble_the_log": 2,
    "restart": 1,
    "wait": 2,
    "calm_down": 1,
}
# With these a bell alone does not bring a process up to date: the tick must.
UNDOING = {"wipe": 1, "back_up": 2, "restore": 3, "forget_members": 1}


def hides_some(data):
    """Hide what a policy's event filter might."""
    return data.endswith(("1", "2", "5"))


class Schedule:
    """Random actions on a world; each action is a method.

    One in four has no tick and loses no bells: there the bells alone must do.
    """

    def __init__(self, seed, say=None):
        self.rng = rng = random.Random(seed)
        self.ticking = rng.random() < 0.75
        actions = ACTIONS | (UNDOING if self.ticking else {})
        self.actions, self.weights = list(actions), list(actions.values())
        self.streams = rng.sample(STREAMS, rng.choice([1, 1, 2, 3]))
        self.world = a_world(rng, self.ticking)
        self.world.say = say
        self.backup = self.world.log.snapshot()
        self.first = {}
        self.topics = sorted({topic for stream in self.streams for topic in stream})

    async def play(self):
        """Play it. Raises Violation."""
        for _ in range(self.rng.choice([0, 0, 3, 20])):
            self.world.publish(self.a_topic(), ring=False)
        for _ in range(self.rng.choice([1, 2, 3])):
            self.come_anew()
        for _ in range(STEPS):
            await self.act()
            await asyncio.sleep(self.rng.choice(PAUSES))
            self.world.check()
        for client in self.world.clients:
            self.connect(client)
        await self.calm_down()
        for topic in self.topics:
            self.world.publish(topic, ring=not self.ticking)
        await self.calm_down()

    async def act(self):
        (name,) = self.rng.choices(self.actions, self.weights)
        if self.world.say:
            self.world.say(f"{self.world.time():8.3f} {name}")
        action = getattr(self, name)()
        if action is not None:
            await action

    def somewhere(self):
        return self.rng.randrange(len(self.world.processes))

    def someone(self):
        return self.rng.choice(self.world.clients)

    def a_topic(self):
        return self.rng.choice(self.topics)

    def connect(self, client):
        if not client.connected:
            client.connect(self.somewhere())

    def come_anew(self):
        """A new client comes; some want the past, some do not get everything."""
        since = EARLIEST if self.rng.random() < 0.2 else None
        hides = hides_some if self.rng.random() < 0.3 else None
        topics = self.rng.choice(self.streams)
        return self.world.client(*topics, process=self.somewhere(), since=since, hides=hides)

    # The actions.

    def publish(self):
        topic = self.a_topic()
        lost = self.ticking and self.rng.random() < 0.2
        for _ in range(self.rng.choice([1, 1, 1, 4])):
            self.world.publish(topic, ring=not lost, process=self.rng.choice([None, self.somewhere()]))

    def publish_a_batch(self):
        self.world.publish(self.a_topic(), batch=self.rng.choice([2, 5]))

    def publish_with_a_key(self):
        """Try one of a few publishes again: it is in the log once, unless the log was undone."""
        topic, key = self.a_topic(), str(self.rng.randrange(3))
        if self.world.kind(topic) is TopicKind.EPHEMERAL:
            return
        process = self.rng.choice([None, self.somewhere()])
        position = self.world.publish(topic, key=key, process=process).position
        first, moment = self.first.setdefault((topic, key), (position, self.world.past.moment))
        if self.world.past.undone_at > moment:
            self.first[topic, key] = position, self.world.past.moment
        elif position != first:
            raise Violation(f"{key} of {topic} is in the log at {first} and {position}")

    def publish_to_a_cold_process(self):
        """A stream begins, and something is published before its tail has started."""
        return self._publish_soon_after(self.come_anew if len(self.world.clients) < 5 else self.come)

    async def _publish_soon_after(self, begin):
        begin()
        for _ in range(self.rng.choice([1, 3])):
            await asyncio.sleep(self.rng.choice([0, 0, 0.01, 0.019, 0.02, 0.021]))
            self.publish()

    async def publish_into_a_repair(self):
        """A batch makes the tails read the log; more comes while they do."""
        self.world.faults.delays = (0, 0.03, 0.3)
        self.publish_a_batch()
        for _ in range(5):
            await asyncio.sleep(self.rng.choice([0, 0.01, 0.03]))
            self.world.publish(self.a_topic(), process=self.rng.choice([None, self.somewhere()]))

    def let_bells_arrive(self):
        broker = self.world.broker
        for _ in range(self.rng.choice([1, 3])):
            flights = (self.rng.random() < 0.7 and broker.fitting()) or broker.late
            if flights:
                again = self.ticking and self.rng.random() < 0.3
                broker.deliver(self.rng.choice(flights), again=again)

    def come(self):
        self.connect(self.someone())

    def go(self):
        return self.someone().disconnect()

    def be_cut_in_an_event(self):
        self.someone().cut_in_the_next_block(self.rng.random())

    def come_with_a_spoiled_cursor(self):
        return self._come_spoiled(self.someone())

    async def _come_spoiled(self, client):
        await client.disconnect()
        others = [other.last_event_id for other in self.world.clients]
        client.last_event_id = spoiled(client.last_event_id, self.rng, others)
        self.connect(client)

    def open_a_second_tab(self):
        if len(self.world.clients) < 5:
            first, process = self.someone(), self.somewhere()
            cursor = first.last_event_id
            self.world.client(*first.topics, process=process, cursor=cursor, hides=first.hides)

    def stall(self):
        self.someone().stall()

    def go_on(self):
        self.someone().go_on()

    def trim(self):
        """Trim about where a client is, and elsewhere."""
        topic = self.a_topic()
        seqs = [client.positions.get(topic, (0, ""))[0] for client in self.world.clients]
        places = [seq + off for seq in seqs for off in (0, 1, 2)]
        self.world.log.cut(topic, self.rng.choice([*places, self.world.head(topic).seq + 1]))

    def trouble_the_log(self):
        faults = self.world.faults
        faults.delays = self.rng.choice(DELAYS)
        faults.fail_rate = self.rng.choice([0, 0, 0.2, 0.6])
        faults.failing = self.rng.random() < 0.2

    def restart(self):
        return self.world.restart(self.somewhere())

    def wipe(self):
        self.world.log.wipe()

    def back_up(self):
        self.backup = self.world.log.snapshot()

    def restore(self):
        self.world.log.restore(self.backup)
        if self.rng.random() < 0.5:  # the log may grow past its readers before anybody looks
            for _ in range(self.rng.choice([1, 2, 6])):
                self.publish()

    def forget_members(self):
        self.world.rng.choice(self.world.processes).group.evict()

    async def wait(self):
        await asyncio.sleep(self.rng.choice([0.5, 2]))

    async def calm_down(self):
        if not self.ticking:
            self.world.broker.deliver_all()
        await self.world.calm_down()


async def play(seed, say=None):
    """Play the schedule of a seed; ``say`` is told what happens. Raises Violation."""
    schedule = Schedule(seed, say)
    try:
        await schedule.play()
    except BaseException:
        with suppress(Violation):
            await schedule.world.close()
        raise
    await schedule.world.close()
