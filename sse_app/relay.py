"""The relay: the doorbells of other processes, heard over the channel layer.

Each process has one mailbox on the channel layer, whatever the number of its streams, and is a member
of one group per topic that is read in it. What the layer loses, the tick and the log make good: so
nothing here is acknowledged, and publishing never waits for the broker.

A broker that is gone shows in failing calls; one that hangs, or a connection that is only half open,
shows in nothing at all. So the relay sends itself a message with each tick, an *echo*, through a group
of its own, because a broker that was emptied knows no groups. While the echoes do not come back the
relay is ``down``, and the hub ticks faster; when they do, every group is joined again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

from channels.layers import BaseChannelLayer

from sse_app.backoff import insist
from sse_app.doorbell import Doorbell
from sse_app.outbox import SEND_SECONDS, sender_id
from sse_app.topics import group_name

logger = logging.getLogger("sse_app")

# Layers forget members after a day; a renewal costs one command per topic.
RENEW_SECONDS = 3600.0
# A broker that comes back is not to meet a thousand topics at once, nor one that is away.
MAX_JOINING = 10
ECHO_TYPE = "sse.echo"
MAX_UNANSWERED_ECHOES = 2


class Relay:
    """The mailbox of one event loop, and its membership in the groups of topics."""

    def __init__(self, layer: BaseChannelLayer | None, hint: Callable[[Doorbell], None]) -> None:
        self._layer = layer
        self._hint = hint
        self._loop = asyncio.get_running_loop()
        self._mailbox: asyncio.Future[str] = self._loop.create_future()
        self._wanted: set[str] = set()
        self._member: set[str] = set()
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(MAX_JOINING)
        self._echo_group = f"sse.e.{uuid4().hex}"
        self._echoed = False
        self._unanswered = 0
        self._echo: asyncio.Task[None] | None = None
        self.down = False
        if layer is not None:
            self._keep(lambda: self._listen(layer))
            self._keep(self._renew_all)

    async def join(self, topic: str) -> None:
        """Want the topic's bells; return once this process is a member of its group."""
        self._wanted.add(topic)
        if self._layer is not None:
            await asyncio.wait({self._settle(topic)})

    def leave(self, topic: str) -> None:
        """Want the topic's bells no more."""
        self._wanted.discard(topic)
        if self._layer is not None:
            self._settle(topic)

    def renew(self, topic: str) -> None:
        """Join again, because bells seem to be missing."""
        self._member.discard(topic)
        if self._layer is not None:
            self._settle(topic)

    def probe(self) -> None:
        """Find out whether the broker still carries anything, unless nothing is wanted of it."""
        if self._layer is None or not self._wanted:
            return
        self._unanswered += 1
        if self._unanswered > MAX_UNANSWERED_ECHOES:
            self._set_down(True)
        if self._echo is None or self._echo.done():
            self._echo = self._loop.create_task(self._send_echo(self._layer))

    async def close(self) -> None:
        """Stop listening."""
        tasks = [*self._tasks, *self._settling.values(), *([self._echo] if self._echo else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it for as long as the relay lives, again if a stray cancellation ends it."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelling():  # nobody has asked it to end, as a loop does that shuts down
                self._keep(run)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def _listen(self, layer: BaseChannelLayer) -> None:
        if not self._mailbox.done():
            self._mailbox.set_result(await insist(lambda: layer.new_channel(), "opening the mailbox"))
        mailbox = self._mailbox.result()
        while True:  # a receive() that is cancelled loses messages: it is awaited until it returns
            message = await insist(lambda: layer.receive(mailbox), "receiving doorbells")
            self._take(message)

    async def _send_echo(self, layer: BaseChannelLayer) -> None:
        mailbox = await asyncio.shield(self._mailbox)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if self.down or not self._echoed:
                    await layer.group_add(self._echo_group, mailbox)
                await layer.group_send(self._echo_group, {"type": ECHO_TYPE})
        except Exception:  # the log of the first failed call says more than this one's could
            self._set_down(True)

    def _set_down(self, down: bool) -> None:
        if down == self.down:
            return
        self.down = down
        if down:
            logger.warning("the channel layer carries nothing: events of other processes come by the tick")
            return
        logger.info("the channel layer carries doorbells again")
        for topic in self._wanted:  # a broker that was restarted knows no members
            self.renew(topic)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("type") == ECHO_TYPE:
            self._unanswered = 0
            self._echoed = True
            self._set_down(False)
            return
        if message.get("sender") == sender_id():
            return  # its own hubs have heard it already
        try:
            bell = Doorbell.from_message(message)
        except (KeyError, TypeError, ValueError):
            logger.warning("not a doorbell: %r", message)
            return
        try:
            self._hint(bell)
        except Exception:  # one topic's trouble must not deafen the others
            logger.exception("a doorbell for %s could not be taken", bell.topic)

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for topic in self._wanted:
                self.renew(topic)

    def _settle(self, topic: str) -> "asyncio.Task[None]":
        """Bring membership to what is wanted; one task per topic, lest a late discard deafens it."""
        task = self._settling.get(topic)
        if task is None:
            task = self._settling[topic] = self._loop.create_task(self._settle_until_done(topic))
        return task

    async def _settle_until_done(self, topic: str) -> None:
        try:
            while (topic in self._wanted) != (topic in self._member):
                async with self._turns:
                    await self._settle_once(topic)
        finally:  # here and not later: whoever asks from now on needs another task
            del self._settling[topic]

    async def _settle_once(self, topic: str) -> None:
        if topic in self._wanted:
            self._member.add(topic)
            await insist(lambda: self._change("group_add", topic), f"joining {topic}")
        else:
            self._member.discard(topic)
            await insist(lambda: self._change("group_discard", topic), f"leaving {topic}")

    async def _change(self, change: str, topic: str) -> None:
        mailbox = await asyncio.shield(self._mailbox)
        async with asyncio.timeout(SEND_SECONDS):
            await getattr(self._layer, change)(group_name(topic), mailbox)
