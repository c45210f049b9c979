"""Streams cut anywhere and taken up again with the browser's own last id: nothing lost, nothing twice.

A browser checks each id that it is told against the history of the logs: it may only move over events
that it was given, or that are hidden from it, and a start or a reset of a topic with a snapshot has
shown the whole of one that is not older than the position from which the stream goes on.
"""

import asyncio
import json
import random

import pytest

from sse_app.events import EventDecoder, ServerSentEvent
from sse_app.hub import HubOptions
from sse_app.positions import GENESIS, decode_cursor
from sse_app.subscription import Subscription
from tests.clock import run
from tests.world import Violation, World

TOPICS = ("orders", "alerts", "plain", "mixed", "config", "ticks")
SHOWN = ("orders", "alerts", "ticks")  # they have snapshots
LOGGED = ("orders", "alerts", "plain", "mixed")
PARTS = 3


@pytest.fixture(autouse=True)
def declared(settings):
    settings.SSE_TOPICS = {
        "orders": {},
        "alerts": {"reset_to": "oldest"},
        "plain": {},
        "mixed": {},
        "config": {"kind": "latest"},
        "ticks": {"kind": "ephemeral"},
    }


def is_hidden(event, data):
    return data.endswith(("3", "4", "5", "6"))


class Browser:
    """A client that comes back with its last id; ``positions`` is where it is known to be."""

    def __init__(self, world, topics=TOPICS, last_event_id=""):
        self.world = world
        self.topics = topics
        self.last_event_id = last_event_id
        cursor = decode_cursor(last_event_id) or {}
        self.positions = {topic: position for topic, position in cursor.items() if position}
        self.shown = {}  # the seq of a topic's head as its last snapshot that was complete has it
        self.live = []
        self.resets = []

    async def read(self, *, cut_after=None, seconds=None):
        """Read one stream, until it is cut after some bytes, or for a time; give how much it was."""
        subscription = Subscription(self.topics, cursor=self.last_event_id, hub=self.world.hubs[0])
        subscription.filters = {"mixed": lambda event, data: not is_hidden(event, data)}
        subscription.snapshots = {topic: lambda topic=topic: self._snapshot(topic) for topic in SHOWN}
        self.sent = decode_cursor(self.last_event_id) or {}
        decoder, blocks, sizes = EventDecoder(), subscription.blocks(2), []
        try:
            async with asyncio.timeout(seconds):
                async for chunk in blocks:
                    for piece in chunk.splitlines(keepends=True):
                        rest = None if cut_after is None else cut_after - sum(sizes)
                        for event in decoder.feed(piece[:rest]):
                            self._take(event)
                        sizes.append(len(piece[:rest]))
                        if rest is not None and rest <= len(piece):
                            return sizes
        except TimeoutError:
            pass
        finally:
            await blocks.aclose()
        return sizes

    async def _snapshot(self, topic):
        seq = self.world.head(topic).seq
        for part in range(PARTS):
            await asyncio.sleep(self.world.rng.choice([0, 0.004]))
            yield ServerSentEvent({"topic": topic, "part": part, "seq": seq}, event="state")

    def _take(self, event):
        if event.event == "state":
            self._take_state(json.loads(event.data))
        if event.event == "reset":
            for reset in json.loads(event.data)["topics"]:
                self.resets.append(reset["topic"])
                self.positions.pop(reset["topic"], None)
                self.shown.pop(reset["topic"], None)
        given = event.event is None and event.data is not None
        if event.id is not None:
            self.last_event_id = event.id
            self._move(decode_cursor(event.id), event if given else None)
        elif given:
            raise Violation(f"{event.data!r} came without an id")

    def _take_state(self, state):
        assert state["topic"] not in self.positions, "a snapshot came although the topic was continued"
        if state["part"] == PARTS - 1:
            self.shown[state["topic"]] = state["seq"]

    def _move(self, cursor, event):
        own = event and event.id.partition("=")[0]
        if own in LOGGED:
            data = self.world.history[own, cursor[own]][1]
            assert data == event.data
            assert own != "mixed" or not is_hidden(None, data), "a hidden event was given"
            self.live.append((own, cursor[own]))
        for topic in set(LOGGED) & cursor.keys():
            position, last = cursor[topic], self.positions.get(topic)
            if last is None and position == self.sent.get(topic):
                continue  # the client's own cursor, told back: it was reset before, and will be again
            if last is None:
                self._start(topic, position, own)
            elif position != last:
                self._cross(topic, last, position, own)
            self.positions[topic] = position

    def _start(self, topic, position, own):
        assert topic != own, "an event came before its topic had a place"
        if topic in SHOWN:
            seq = self.shown.get(topic)
            assert seq is not None, f"{topic} goes on at {position} without a snapshot"
            assert seq >= position.seq, f"{topic}: what came between {seq} and {position} is lost"

    def _cross(self, topic, last, position, own):
        """Walk back from a position to the last one: only the own event may be no hidden one."""
        given = topic == own
        while position != last:
            if position == GENESIS:
                raise Violation(f"{topic} went from {last} to what does not follow")
            prev, data = self.world.history[topic, position]
            if not given and not (topic == "mixed" and is_hidden(None, data)):
                raise Violation(f"{topic} passed over {position}, {data!r}, since {last}")
            given = False
            before = [at for name, at in self.world.history if name == topic and at.seq == position.seq - 1]
            position = next((at for at in before if at.tag == prev), GENESIS)


async def befall(world):
    """What happens to the logs meanwhile, always at the same times."""
    world.log.delay = 0.002
    for step in range(12):
        for topic in TOPICS[:4]:
            if (step + len(topic)) % 3:
                world.publish(topic, f"{topic} {step}")
        world.publish("config", f"config {step}", keep_one=True)
        if step in (4, 7, 11):
            for topic in ("orders", "alerts"):
                world.log.cut(topic, world.head(topic).seq - 1)
        await asyncio.sleep(0.01)


def play(scenario, **options):
    async def main():
        world = World(options=HubOptions(ring_entries=2), **options)
        world.published = asyncio.create_task(befall(world))
        try:
            return await scenario(world)
        finally:
            await world.published
            await world.close()

    return run(main())


def assert_complete(world, browser):
    for topic in LOGGED:
        assert browser.positions[topic] == world.head(topic), topic
    assert len(set(browser.live)) == len(browser.live), "an event came twice"


async def read_to_the_end(world, browser):
    await world.published
    await browser.read(seconds=7)
    assert_complete(world, browser)


async def read_in_two(world, cut_after):
    browser = Browser(world)
    await browser.read(cut_after=cut_after, seconds=7)
    await read_to_the_end(world, browser)
    return browser.resets


def test_a_stream_is_cut_after_every_line_and_goes_on():
    sizes = play(lambda world: Browser(world).read(seconds=7))
    end, seen = 0, set()
    for size in sizes:
        end += size
        resets = play(lambda world, end=end: read_in_two(world, end))
        assert set(resets) <= {"orders", "alerts"}
        seen.update(resets)
    assert len(sizes) > 100
    assert seen == {"orders", "alerts"}


async def read_in_pieces(world):
    rng = random.Random(world.rng.random())
    browser = Browser(world)
    while not world.published.done():
        size = await browser.read(cut_after=rng.randrange(40, 900), seconds=rng.choice([0.01, 0.05]))
        await asyncio.sleep(rng.choice([0, 0.02]) if size else 0.001)
    await read_to_the_end(world, browser)


@pytest.mark.parametrize("seed", range(60))
def test_a_stream_is_cut_many_times_in_the_middle_of_anything(seed):
    play(read_in_pieces, seed=seed, slow=bool(seed % 2))


def test_an_event_is_not_told_without_an_id_beside_a_topic_that_has_no_place_yet():
    """Its reader could not come back to behind it, and would get it twice."""

    async def scenario(world):
        await world.published
        world.client("plain")  # it keeps the topic's events in memory
        await asyncio.sleep(1)
        before = world.head("plain")
        world.publish("plain", "seen")
        world.log.delay = 0.2
        browser = Browser(world, ("plain", "alerts"), f"alerts=&plain={before}")
        await browser.read(seconds=5)
        assert [topic for topic, _ in browser.live].count("plain") == 1

    play(scenario)
