"""Pumps: what every wrapper of an async iterator rests on, and the two that join and pack bytes.

A pump runs its source in one task of its own, so that nothing that is done to the reader's wait cancels
the source: it may hold timeouts and task groups open across its yields.
"""

import asyncio
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

Put = Callable[[T], Awaitable[None]]


async def aclose(source: object) -> None:
    """Close an async iterator if it can be closed."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


class Stream(AsyncIterator[T]):
    """An async iterator over a source, which is closed with it."""

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source: AsyncIterator[Any] = aiter(source)

    async def aclose(self) -> None:
        """Close the source and wait until it has cleaned up."""
        await aclose(self._source)


class End:
    """What a pump puts last: the end of its source, or its failure."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


async def outcome(work: Awaitable[None]) -> Exception | None:
    """Give the failure of some work, or None where it succeeds."""
    try:
        await work
    except Exception as failure:
        return failure
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return RuntimeError("the source was cancelled, but not by its reader")
    return None


async def pour(source: AsyncIterator[T], put: Put[T]) -> None:
    """Hand each item on, and close the source in this same task."""
    try:
        async for item in source:
            await put(item)
    finally:
        await aclose(source)


class Pumped(Stream[T]):
    """A source that runs in one task of its own, the pump."""

    _pump: asyncio.Task[None] | None = None

    async def _run(self) -> None:
        raise NotImplementedError

    def _start(self) -> None:
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        """Stop the source and wait until it has cleaned up."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait({self._pump})
        await super().aclose()  # a pump that was never scheduled has not closed it


class Queued(Pumped[T]):
    """The source's items, of which at most ``size`` wait to be taken."""

    def __init__(self, source: AsyncIterable[T], size: int = 1) -> None:
        super().__init__(source)
        self._items: asyncio.Queue[T | End] = asyncio.Queue(size)

    async def __anext__(self) -> T:
        self._start()
        return self._given(await self._items.get())

    def _given(self, item: T | End) -> T:
        if not isinstance(item, End):
            return item
        self._items.put_nowait(item)  # the end stays the end
        raise item.error or StopAsyncIteration

    async def _run(self) -> None:
        error = await outcome(self._work(self._items.put))
        await self._items.put(End(error))

    async def _work(self, put: Put[T]) -> None:
        await pour(self._source, put)


# Django sends 64 KiB at once, and would send what a full batch has over that by itself.
BATCH_BYTES = 60 * 1024


class Batches(Pumped[bytes]):
    """The source's pieces of bytes, joined to batches of about ``size``.

    A batch goes out when it is full, or ``seconds`` after its first piece: what is slow to come is not
    held back for long. The source is at most one batch ahead.
    """

    def __init__(self, source: AsyncIterator[bytes], size: int = BATCH_BYTES, seconds: float = 0.05) -> None:
        super().__init__(source)
        self._size = size
        self._seconds = seconds
        self._pieces: list[bytes] = []
        self._held = 0
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._taken = asyncio.Event()
        self._end: End | None = None

    async def __anext__(self) -> bytes:
        self._start()
        await self._some.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._full.wait()
        if self._pieces:
            return self._take()
        assert self._end is not None
        raise self._end.error or StopAsyncIteration

    def _take(self) -> bytes:
        batch = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        self._taken.set()
        if self._end is None:
            self._some.clear()
            self._full.clear()
        return batch

    async def _run(self) -> None:
        self._end = End(await outcome(pour(self._source, self._put)))
        self._some.set()
        self._full.set()

    async def _put(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        self._some.set()
        if self._held >= self._size:
            self._full.set()
            self._taken.clear()
            await self._taken.wait()


class Gzip(Stream[bytes]):
    """The source's batches as one gzip stream, flushed after each, so that a client sees it at once."""

    def __init__(self, source: AsyncIterator[bytes], level: int = 6) -> None:
        super().__init__(source)
        self._gzip: zlib._Compress | None = zlib.compressobj(level, wbits=16 + zlib.MAX_WBITS)

    async def __anext__(self) -> bytes:
        if self._gzip is None:
            raise StopAsyncIteration
        gzip = self._gzip
        try:
            batch = await anext(self._source)
        except StopAsyncIteration:
            self._gzip = None
            return gzip.flush()
        return gzip.compress(batch) + gzip.flush(zlib.Z_SYNC_FLUSH)
