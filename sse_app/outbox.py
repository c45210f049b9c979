"""The outbox: doorbells on their way to other processes, over the channel layer.

What the layer loses, the tick and the log make good: so nothing here is acknowledged, and publishing
never waits for the broker.
"""

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from contextlib import suppress
from typing import Any
from uuid import uuid4

from channels.layers import BaseChannelLayer, get_channel_layer

from sse_app.conf import conf
from sse_app.doorbell import Doorbell
from sse_app.topics import group_name

logger = logging.getLogger("sse_app")

MESSAGE_TYPE = "sse.bell"
# How long a process that ends waits for bells still on their way.
FLUSH_SECONDS = 1.0
# What a broker that hangs may hold up, and for how long one bell is tried.
MAX_WAITING_BELLS = 10_000
SEND_SECONDS = 5.0


def channel_layer() -> BaseChannelLayer | None:
    """Give the channel layer of the settings, if there is one."""
    alias = conf.SSE_CHANNEL_LAYER
    with _layers_lock:  # threads that asked for it at once would make one each, with connections of its own
        return None if alias is None else get_channel_layer(alias)


class Outbox:
    """Sends bells from any thread: one after the other, by a running loop or else by one of its own.

    ``async_to_sync`` per bell would open a broker connection each time, and all at once would exhaust
    the broker's pool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}

    def send(self, bell: Doorbell, loop: asyncio.AbstractEventLoop | None) -> None:
        """Send a bell without waiting; a failure is logged."""
        layer = channel_layer()
        if layer is None:
            return
        message = {"type": MESSAGE_TYPE, "sender": sender_id(), **bell.to_message()}
        line = self._line(loop or self._own_loop())
        try:
            line.loop.call_soon_threadsafe(line.put, layer, group_name(bell.topic), message)
        except RuntimeError:  # the loop has just been closed: the process ends
            return

    def flush(self) -> None:
        """Wait for bells still on their way, for a second at most."""
        line = self._lines.get(self._loop) if self._loop else None
        if line is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(line.empty(), line.loop).result(FLUSH_SECONDS)

    def _line(self, loop: asyncio.AbstractEventLoop) -> "_Line":
        with self._lock:
            line = self._lines.get(loop)
            if line is None:
                self._lines = {old: its for old, its in self._lines.items() if not old.is_closed()}
                line = self._lines[loop] = _Line(loop)
            return line

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="sse-outbox", daemon=True).start()
            return self._loop


class _Line:
    """The bells that wait in one loop; when there are too many the oldest go, and the tick must do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._bells: deque[tuple[BaseChannelLayer, str, dict[str, Any]]] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._losing = False

    def put(self, layer: BaseChannelLayer, group: str, message: dict[str, Any]) -> None:
        """Queue a bell; in the loop."""
        if len(self._bells) >= MAX_WAITING_BELLS:
            self._bells.popleft()
            if not self._losing:
                logger.warning("the broker is too slow: doorbells are lost, and the tick must do")
            self._losing = True
        self._bells.append((layer, group, message))
        if self._sending is None:
            self._sending = self.loop.create_task(self._send())

    async def empty(self) -> None:
        """Wait until all bells have been sent."""
        if self._sending is not None:
            await asyncio.wait({self._sending})

    async def _send(self) -> None:
        try:
            while self._bells:
                layer, group, message = self._bells.popleft()
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await layer.group_send(group, message)
                except Exception:
                    logger.warning("a doorbell for %s was lost", group, exc_info=True)
        finally:
            self._sending = None
            self._losing = False


def sender_id() -> str:
    """Give this process's name on the channel layer."""
    return _sender_id


def send(bell: Doorbell, loop: asyncio.AbstractEventLoop | None) -> None:
    """Send a bell to the other processes, by this loop of streams if there is one."""
    _outbox.send(bell, loop)


def _start_anew() -> None:
    """In a forked process no loop and no thread of the parent runs, and its name is another's."""
    global _outbox, _sender_id, _layers_lock
    _outbox, _sender_id, _layers_lock = Outbox(), uuid4().hex, threading.Lock()


_outbox: Outbox
_sender_id: str
_layers_lock: threading.Lock
_start_anew()
os.register_at_fork(after_in_child=_start_anew)
atexit.register(lambda: _outbox.flush())
