"""The relay: doorbells between processes, over the channel layer.

Each process has one mailbox on the channel layer, whatever the number of its streams, and is a member
of one group per topic that is read in it. What the layer loses, the tick and the log make good: so
nothing here is acknowledged, and publishing never waits for the broker.
"""

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from typing import Any
from uuid import uuid4

from channels.layers import BaseChannelLayer, get_channel_layer

from sse_app.backoff import insist
from sse_app.conf import conf
from sse_app.doorbell import Doorbell
from sse_app.topics import group_name

logger = logging.getLogger("sse_app")

MESSAGE_TYPE = "sse.bell"
# Layers forget members after a day; a renewal costs one command per topic.
RENEW_SECONDS = 3600.0
# How long a process that ends waits for bells still on their way.
FLUSH_SECONDS = 1.0


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
        self._tasks = [self._loop.create_task(self._listen(layer))] if layer else []
        self._tasks += [self._loop.create_task(self._renew_all())] if layer else []

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

    async def close(self) -> None:
        """Stop listening."""
        tasks = [*self._tasks, *self._settling.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, layer: BaseChannelLayer) -> None:
        mailbox = await insist(lambda: layer.new_channel(), "opening the mailbox")
        self._mailbox.set_result(mailbox)
        while True:  # a receive() that is cancelled loses messages: it is awaited until it returns
            message = await insist(lambda: layer.receive(mailbox), "receiving doorbells")
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
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
            task = self._loop.create_task(self._settle_until_done(topic))
            self._settling[topic] = task
            task.add_done_callback(lambda _: self._settling.pop(topic, None))
        return task

    async def _settle_until_done(self, topic: str) -> None:
        while (topic in self._wanted) != (topic in self._member):
            if topic in self._wanted:
                self._member.add(topic)
                await insist(lambda: self._change("group_add", topic), f"joining {topic}")
            else:
                self._member.discard(topic)
                await insist(lambda: self._change("group_discard", topic), f"leaving {topic}")

    async def _change(self, change: str, topic: str) -> None:
        mailbox = await asyncio.shield(self._mailbox)
        await getattr(self._layer, change)(group_name(topic), mailbox)


def channel_layer() -> BaseChannelLayer | None:
    """Give the channel layer of the settings, if there is one."""
    alias = conf.SSE_CHANNEL_LAYER
    return None if alias is None else get_channel_layer(alias)


def sender_id() -> str:
    """Give this process's name on the channel layer; a forked process has another."""
    if _sender[0] != os.getpid():
        _sender[:] = os.getpid(), uuid4().hex
    return str(_sender[1])


_sender: list[Any] = [0, ""]


class Outbox:
    """Sends bells from any thread, by a running loop that has streams or else by one of its own.

    ``async_to_sync`` per bell would open a broker connection each time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: set[Future[None]] = set()

    def send(self, bell: Doorbell, loop: asyncio.AbstractEventLoop | None) -> None:
        """Send a bell without waiting; a failure is logged."""
        layer = channel_layer()
        if layer is None:
            return
        message = {"type": MESSAGE_TYPE, "sender": sender_id(), **bell.to_message()}
        self._run(_send(layer, bell.topic, message), loop or self._own_loop())

    def flush(self) -> None:
        """Wait for bells still on their way, for a second at most."""
        wait(list(self._pending), timeout=FLUSH_SECONDS)

    def _run(self, sending: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
        try:
            future = asyncio.run_coroutine_threadsafe(sending, loop)
        except RuntimeError:  # the loop has just been closed: the process ends
            sending.close()
            return
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # a thread does not survive a fork
                self._pid = os.getpid()
                self._pending.clear()
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="sse-outbox", daemon=True).start()
            return self._loop


async def _send(layer: BaseChannelLayer, topic: str, message: dict[str, Any]) -> None:
    try:
        await layer.group_send(group_name(topic), message)
    except Exception:
        logger.warning("a doorbell for %s was lost; the log has the event", topic, exc_info=True)


outbox = Outbox()
atexit.register(outbox.flush)
