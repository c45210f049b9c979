"""A small world on virtual time: processes that share a log, bells that get lost, clients that check.

Everything but the channel layer and the sockets is the shipped code. A client decodes what it gets
as a browser would, keeps the last id, and checks each event against the history of the log.
"""

import asyncio
import copy
import json
import random

from sse_app.doorbell import Doorbell
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.events import EventDecoder
from sse_app.hub import Hub, HubOptions
from sse_app.positions import GENESIS, Position, decode_cursor
from sse_app.subscription import Subscription


class Violation(AssertionError):
    """A promise was broken."""


class CountingLog(MemoryEventLog):
    """The memory log, slow and failing at will, with a count of its reads."""

    def __init__(self, rng=None):
        super().__init__()
        self.rng = rng
        self.reads = 0
        self.failing = False
        self.delay = 0

    async def _pause(self):
        if self.failing:
            raise OSError("the log is out of reach")
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.rng:
            await asyncio.sleep(self.rng.choice([0, 0, 0.001, 0.01, 0.1]))

    async def read(self, topic, from_seq, limit, *, urgent=False):
        self.reads += 1
        await self._pause()
        page = await super().read(topic, from_seq, limit)
        await self._pause()
        return page

    async def heads(self, topics):
        await self._pause()
        heads = await super().heads(topics)
        await self._pause()
        return heads

    def cut(self, topic, before_seq):
        """Remove the entries before a seq."""
        entries = self._entries.get(topic, ())
        while entries and entries[0].position.seq < before_seq:
            entries.popleft()

    def snapshot(self):
        return copy.copy(self._heads), {topic: copy.copy(kept) for topic, kept in self._entries.items()}

    def restore(self, snapshot):
        heads, entries = snapshot
        self._heads = copy.copy(heads)
        self._entries = {topic: copy.copy(kept) for topic, kept in entries.items()}


class Deaf:
    """The membership of a process whose bells the world delivers itself."""

    down = False

    async def join(self, topic):
        """Join at once."""

    def leave(self, topic):
        """Leave at once."""

    def renew(self, topic):
        """Nothing to renew."""

    def probe(self):
        """Nothing to find out."""

    async def close(self):
        """Nothing to close."""


class World:
    """Processes, one log, and the history of what was published."""

    def __init__(self, *, processes=1, seed=0, options=None, slow=False):
        self.rng = random.Random(seed)
        self.log = CountingLog(self.rng if slow else None)
        self.hubs = [Hub(self.log, Deaf(), options or HubOptions()) for _ in range(processes)]
        self.history = {}
        self.kept_alone = set()
        self.clients = []
        self.bells = []

    def publish(self, topic="orders", data=None, *, ring=True, keep_one=False):
        entry = self.log.append(topic, None, data or f"{len(self.history)}", keep_one=keep_one)
        self.history[topic, entry.position] = (entry.prev, entry.data)
        if keep_one:
            self.kept_alone.add((topic, entry.position))
        bell = Doorbell.of(entry)
        self.bells.append(bell)
        if ring:
            for hub in self.hubs:
                hub.hint(bell)
        return entry

    def publish_unreliably(self, topic="orders"):
        """Publish; each process hears the bell at once, later, twice, or never."""
        bell = Doorbell.of(self.publish(topic, ring=False))
        loop = asyncio.get_running_loop()
        for hub in self.hubs:
            for _ in range(self.rng.choice([0, 1, 1, 1, 2])):
                loop.call_later(self.rng.choice([0, 0, 0.01, 0.3, 2.5]), hub.hint, bell)

    def head(self, topic="orders"):
        return self.log._heads.get(topic, GENESIS)

    def client(self, *topics, hub=0, cursor=None):
        client = Client(self, topics or ("orders",), cursor)
        client.connect(hub)
        self.clients.append(client)
        return client

    async def close(self):
        for client in self.clients:
            await client.disconnect()
        for hub in self.hubs:
            await hub.close()


class Client:
    """A browser: it keeps the last id, and checks the promises at each event."""

    def __init__(self, world, topics, cursor):
        self.world = world
        self.topics = topics
        self.last_event_id = cursor or ""
        self.positions = {}
        self.data = []
        self.resets = []
        self.task = None

    def connect(self, hub=0):
        subscription = Subscription(self.topics, cursor=self.last_event_id, hub=self.world.hubs[hub])
        self.task = asyncio.create_task(self._read(subscription))

    async def disconnect(self):
        if self.task is not None:
            task, self.task = self.task, None
            if task.done():
                task.result()
            task.cancel()
            await asyncio.wait({task})

    @property
    def connected(self):
        return self.task is not None

    async def _read(self, subscription):
        decoder = EventDecoder()
        decoder.last_event_id = self.last_event_id
        blocks = subscription.blocks(15)
        try:
            async for block in blocks:
                for event in decoder.feed(block):
                    self._take(event)
        finally:
            await blocks.aclose()

    def _take(self, event):
        if event.id is not None:
            self.last_event_id = event.id
        if event.event == "reset":
            for reset in json.loads(event.data)["topics"]:
                self.resets.append(reset)
                self.positions.pop(reset["topic"], None)
        elif event.event == "cursor":
            for topic, position in (decode_cursor(event.id or "") or {}).items():
                self.positions.setdefault(topic, position)
        else:
            self._check(event)

    def _check(self, event):
        topic = event.id.partition("=")[0]
        position = decode_cursor(event.id)[topic]
        known = self.world.history.get((topic, position))
        if known is None:
            raise Violation(f"{position} was never published")
        prev, data = known
        if data != event.data:
            raise Violation(f"{position} carries {event.data!r}, not {data!r}")
        last = self.positions.get(topic)
        newest_only = (topic, position) in self.world.kept_alone
        if last is not None and Position(position.seq - 1, prev) != last and not newest_only:
            raise Violation(f"{position} (after {prev}) came after {last}")
        self.positions[topic] = position
        self.data.append(event.data)
