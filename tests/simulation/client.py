"""Clients: browsers that keep the last id, come back with it, and judge all that they are told."""

import asyncio
import json
import re

from sse_app import place
from sse_app.positions import Position
from sse_app.subscription import Subscription
from tests.simulation.judging import Judge
from tests.simulation.past import Violation

_PART = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})=(?:([0-9]{1,19})-([0-9a-f]{8}))?", re.ASCII)


def read_cursor(text):
    """Read a cursor as delivery.md has it; None: it can't be read."""
    cursor = {}
    for part in text.split("&") if len(text) <= 4096 else [""]:
        match = _PART.fullmatch(part)
        if not match or match[1] in cursor or int(match[2] or 0) >= 2**63:
            return None
        cursor[match[1]] = Position(int(match[2]), match[3]) if match[2] else None
    return cursor


def read_block(block):
    """Give the fields of each whole event, as a browser does."""
    for lines in block.decode().split("\n\n")[:-1]:
        fields = {"data": "", "event": "", "id": None}
        for line in lines.split("\n"):
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        yield fields


class Client:
    """A browser; ``data`` and ``resets`` are what it has seen in its whole life."""

    def __init__(self, world, topics, *, cursor=None, since=None, hides=None):
        self.world = world
        self.topics = topics
        self.hides = hides
        self.last_event_id = cursor or ""
        self.process = None
        self.data = []
        self.resets = []
        self._since = since
        self._judge = Judge(world, topics, hides)
        self._cut_after = None
        self._task = None
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    @property
    def positions(self):
        return self._judge.positions

    @property
    def connected(self):
        return self._task is not None

    def connect(self, process=0):
        self.process = self.world.processes[process]
        self._cut_after = None
        given, since, hides = self.last_event_id, self._since, self.hides
        subscription = Subscription(self.topics, cursor=given, since=since, hub=self.process.hub)
        if hides:
            subscription.filters = dict.fromkeys(self.topics, lambda event, data: not hides(data))
        self._judge.connected(self.process, given, read_cursor(given), since is not None)
        self._task = asyncio.create_task(self._read(subscription))

    async def disconnect(self):
        if self._task is not None:
            task, self._task, self.process = self._task, None, None
            self.go_on()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled():
                task.result()

    def stall(self):
        """Read nothing more, for now."""
        self._goes_on.clear()

    def go_on(self):
        self._goes_on.set()

    def cut_in_the_next_block(self, fraction=0.5):
        """Lose the connection when so much of the next block has come."""
        self._cut_after = fraction

    def check(self):
        """Raise what its task has found."""
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = self.process = None  # it was cut

    def check_that_it_is_up_to_date(self):
        """Check that nothing is outstanding, when there has been time enough."""
        self._judge.check_that_it_is_up_to_date()

    async def _read(self, subscription):
        blocks = subscription.blocks(15)
        try:
            while (block := await self._next(blocks)) is not None:
                self._check_size(block)
                if self._cut_after is not None:
                    return self._take(block[: int(len(block) * self._cut_after)])
                self._take(block)
                await self._goes_on.wait()
        finally:
            await blocks.aclose()

    async def _next(self, blocks):
        try:
            return await anext(blocks, None)
        except Exception as error:
            raise Violation(f"the stream broke: {error!r}") from error

    def _take(self, block):
        for fields in read_block(block):
            if self.world.say:
                number = self.world.clients.index(self)
                self.world.say(f"{self.world.time():8.3f}   client {number} is told {fields}")
            cursor = read_cursor(fields["id"]) if fields["id"] else None
            self._dispatch(fields["event"], fields["data"], cursor)
            self._judge.check_cursor(fields["id"], cursor)
            self.last_event_id = fields["id"] or self.last_event_id
        self._judge.end_of_block()

    def _dispatch(self, event, data, cursor):
        if event == "cursor":
            self._judge.prime()
        elif event == "reset":
            for told in json.loads(data)["topics"]:
                self._judge.reset(told, cursor)
                self.resets.append(told)
        elif event == "lagged":
            self._judge.lag(json.loads(data))
        else:
            self._judge.event(data, cursor)
            self.data.append(data)

    def _check_size(self, block):
        most = (place.MAX_BATCH_BYTES + 2000) * len(self.topics)
        if len(block) > most and block.count(b"\n\n") > 1:
            raise Violation(f"a block has {len(block)} bytes")
