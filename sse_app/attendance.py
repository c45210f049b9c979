"""Attendance: who and how many read a topic, over all processes, for topics that say ``"presence": True``.

Counted are the streams, WebSockets and polls of clients; what a program reads with ``subscribe`` is
not. A *keeper* in each process writes down once a second what has changed there, and one of the keepers
publishes each change as an event ``presence`` on ``presence.{topic}``, where that topic is declared. It
costs nothing per reader, and a process without such topics nothing at all.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from uuid import uuid4

from asgiref.sync import sync_to_async

from sse_app import database
from sse_app.conf import conf, topic_rules
from sse_app.eventlog import get_event_log
from sse_app.hub import Hub
from sse_app.local import get_hub
from sse_app.payloads import to_text
from sse_app.publishing import publish
from sse_app.roster import get_roster
from sse_app.roster.base import MAX_NAMES, Presence, Roll
from sse_app.topics import IllegalTopic, TopicKind, UnknownTopic

logger = logging.getLogger("sse_app")

T = TypeVar("T")

# Between two looks at the readers of this process, and so between two events of one topic.
LOOK_SECONDS = 1.0
# Clients that come together are written down together.
GATHER_SECONDS = 0.05
# Names that one event carries.
MAX_ANNOUNCED = 100


def presence(topic: str) -> Presence:
    """Say who reads the topic, in all processes; changes show within about a second.

    Raises IllegalTopic or UnknownTopic, and ValueError for a topic without ``"presence": True``.
    """
    if not topic_rules().rule(topic).presence:
        raise ValueError(f"the presence of {topic!r} is not kept")
    return get_roster().read([topic])[topic]


async def apresence(topic: str) -> Presence:
    """Do what ``presence`` does, from asynchronous code."""
    return await sync_to_async(presence)(topic)


def keep_presence() -> None:
    """Have the readers of this loop's topics counted from now on; call it before they attach."""
    hub = get_hub()
    if hub.watch is None:
        hub.watch = Keeper(hub).watch


class Keeper:
    """Writes down who reads in one loop, and publishes what changes anywhere, if it leads."""

    def __init__(self, hub: Hub) -> None:
        self.process = uuid4().hex
        self._hub = hub
        self._watched: set[str] = set()
        self._written: dict[str, Roll] = {}
        self._announced: dict[str, str | None] = {}
        self._refresh_at = 0.0
        self._since: float | None = None
        self._leads = False
        self._looking: asyncio.Task[None] | None = None

    def watch(self, topic: str) -> None:
        """Count the readers of the topic for as long as it has any."""
        self._watched.add(topic)
        if self._looking is None:
            self._looking = self._hub.spawn(self._look_often())

    async def _look_often(self) -> None:
        try:
            await asyncio.sleep(GATHER_SECONDS)
            while self._watched:
                try:
                    await self._look()
                except Exception:
                    logger.warning("the presence of readers could not be kept; trying again", exc_info=True)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._looking = None

    async def _look(self) -> None:
        rolls = {topic: self._roll(topic) for topic in self._watched}
        changed = {topic: roll for topic, roll in rolls.items() if self._written.get(topic) != roll}
        if changed:
            await _in_thread(lambda: get_roster().write(self.process, changed))
            self._written |= changed
        left = {topic for topic, roll in rolls.items() if not roll.readers}
        await self._refresh(at_once=left == self._watched)
        if self._leads:
            await self._announce()
        for topic in left:
            if not self._roll(topic).readers:  # one may have come meanwhile
                self._watched.discard(topic)
                self._written.pop(topic, None)

    def _roll(self, topic: str) -> Roll:
        tail = self._hub.tails.get(topic)
        names = [getattr(reader, "name", None) for reader in tail.readers] if tail else []
        known = [name for name in names if name is not None]
        return Roll(len(known), tuple(sorted({name for name in known if name})[:MAX_NAMES]))

    async def _refresh(self, *, at_once: bool) -> None:
        """Say that this process lives, three times before it would expire; and see who leads."""
        now = self._hub.loop.time()
        if now < self._refresh_at and not at_once:
            return
        self._refresh_at = now + conf.SSE_PRESENCE_EXPIRY / 3
        if not await _in_thread(lambda: get_roster().refresh(self.process)) and not at_once:
            self._written.clear()  # it was thought dead: it writes everything again
        leads = await _in_thread(lambda: get_roster().leader()) in (None, self.process)
        if leads and not self._leads:
            self._since = None
            self._announced.clear()
        self._leads = leads

    async def _announce(self) -> None:
        self._since, topics = await _in_thread(lambda: get_roster().news(self._since))
        told = [topic for topic in topics if _event_topic(topic)]
        if not told:
            return
        for topic, found in (await _in_thread(lambda: get_roster().read(told))).items():
            shown = Presence(topic, found.readers, found.users[:MAX_ANNOUNCED])
            text = to_text(shown.record)
            target = f"presence.{topic}"
            if topic not in self._announced:
                self._announced[topic] = await _newest(target)
            if self._announced[topic] != text:
                await _in_thread(partial(publish, target, text, event="presence"))
                self._announced[topic] = text


def _event_topic(topic: str) -> TopicKind | None:
    """Give the kind of the topic on which changes are published; None where it is not declared."""
    try:
        return topic_rules().rule(f"presence.{topic}").kind
    except (IllegalTopic, UnknownTopic):
        return None


async def _newest(topic: str) -> str | None:
    """Give the data of the last event of a topic, which another keeper may have published."""
    log = get_event_log()
    head = (await log.heads([topic])).get(topic)
    entries = [] if head is None else (await log.read(topic, head.seq, 0)).entries
    return entries[-1].data if entries else None


async def _in_thread(call: Callable[[], T]) -> T:
    """Run it in one of the few threads that read the log: a keeper has none of its own."""
    return await database.read(call)
