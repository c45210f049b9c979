"""Snapshots: what new readers of a topic get first, read from their sources a little ahead."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

from sse_app.events import ServerSentEvent
from sse_app.pumps import aclose

# Makes what a new reader of a topic gets first.
SnapshotSource: TypeAlias = Callable[[], AsyncIterator[ServerSentEvent]]
# Events that wait for a reader that is slow to take them.
MAX_AHEAD = 32


@dataclass(frozen=True, slots=True)
class Shown:
    """A part of a topic's snapshot."""

    topic: str
    event: ServerSentEvent

    @property
    def block(self) -> bytes:
        """The block of a stream of this topic alone."""
        return self.event.encode()

    @property
    def block_with_topic(self) -> bytes:
        """The block of a stream of several topics: without an id only a comment can say of which."""
        return self.block and b": topic=%s\n" % self.topic.encode() + self.block


class Snapshot:
    """The snapshots of some topics, one after the other, made in a task of their own.

    ``wake`` is called when there is something to take.
    """

    def __init__(self, sources: dict[str, SnapshotSource], wake: Callable[[], None]) -> None:
        self.complete = False
        self._sources = sources
        self._wake = wake
        self._error: Exception | None = None
        self._made: deque[Shown] = deque()
        self._taken = asyncio.Event()
        self._making = asyncio.get_running_loop().create_task(self._make())

    def take(self) -> list[Shown]:
        """Take what has been made so far. Raises what a source has raised, once the rest is taken."""
        made = list(self._made)
        self._made.clear()
        self._taken.set()
        if not made and self._error is not None:
            raise self._error
        return made

    def close(self) -> None:
        """Stop."""
        self._making.cancel()

    async def _make(self) -> None:
        try:
            for topic, source in self._sources.items():
                await self._make_one(topic, source())
        except Exception as error:
            self._error = error
        except asyncio.CancelledError:
            if self._making.cancelling():
                raise
            self._error = RuntimeError("a snapshot was cancelled, but not by its reader")
        else:
            self.complete = True
        self._wake()

    async def _make_one(self, topic: str, source: AsyncIterator[ServerSentEvent]) -> None:
        try:
            async for event in source:
                self._made.append(Shown(topic, event))
                self._wake()
                while len(self._made) >= MAX_AHEAD:
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            await aclose(source)
