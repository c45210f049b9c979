"""Streams: shaping any async iterator, by wrapping it in another one.

Each wrapper closes what it wraps: ``await wrapper.aclose()`` closes the whole chain, at once, in
the loop. None holds a task group or a timeout open across a ``yield``.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


async def aclose(source: object) -> None:
    """Close an async iterator if it can be closed."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


class _End:
    """What a pump puts last: the end of its source, or its failure."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class _Pumped(Generic[T]):
    """A source that runs in one task of its own, the pump."""

    def __init__(self, source: AsyncIterator[T]) -> None:
        self._source = source
        self._pump: asyncio.Task[None] | None = None

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
        await aclose(self._source)  # a pump that was never scheduled has not closed it


class KeepAlive(_Pumped[T]):
    """The source's items, and ``filler`` whenever ``seconds`` have passed without one.

    The source is never cancelled for a filler: it runs in one task of its own, at most one item
    ahead, so that it may hold timeouts and task groups open across its yields.
    """

    def __init__(self, source: AsyncIterator[T], seconds: float, filler: T) -> None:
        super().__init__(source)
        self._seconds = seconds
        self._filler = filler
        self._items: asyncio.Queue[T | _End] = asyncio.Queue(maxsize=1)

    def __aiter__(self) -> "KeepAlive[T]":
        return self

    async def __anext__(self) -> T:
        self._start()
        try:
            async with asyncio.timeout(self._seconds):
                item = await self._items.get()
        except TimeoutError:
            return self._filler
        if not isinstance(item, _End):
            return item
        self._items.put_nowait(item)  # the end stays the end
        raise item.error or StopAsyncIteration

    async def _run(self) -> None:
        error = await _consume(self._source, self._items.put)
        await self._items.put(_End(error))


async def _consume(source: AsyncIterator[T], take: Callable[[T], Awaitable[None]]) -> Exception | None:
    """Hand each item on, close the source in this same task, and give its failure, if it failed."""
    try:
        try:
            async for item in source:
                await take(item)
        finally:
            await aclose(source)
    except Exception as failure:
        return failure
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return RuntimeError("the source was cancelled, but not by its reader")
    return None


class Lifetime(Generic[T]):
    """The source's items for at most ``seconds``; it ends between two of them."""

    def __init__(self, source: AsyncIterator[T], seconds: float) -> None:
        self._source = source
        self._seconds = seconds
        self._deadline: float | None = None

    def __aiter__(self) -> "Lifetime[T]":
        return self

    async def __anext__(self) -> T:
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + self._seconds
        if now >= self._deadline:  # a source that never waits would never notice
            raise StopAsyncIteration
        limit = asyncio.timeout_at(self._deadline)
        try:
            async with limit:
                return await anext(self._source)
        except TimeoutError:
            if not limit.expired():
                raise
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Close the source."""
        await aclose(self._source)


# Django sends 64 KiB at once, and would send what a full batch has over that by itself.
BATCH_BYTES = 60 * 1024


class Batches(_Pumped[bytes]):
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
        self._end: _End | None = None

    def __aiter__(self) -> "Batches":
        return self

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
        self._end = _End(await _consume(self._source, self._put))
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


class Gzip:
    """The source's batches as one gzip stream, flushed after each, so that a client sees it at once."""

    def __init__(self, source: AsyncIterator[bytes], level: int = 6) -> None:
        self._source = source
        self._gzip: zlib._Compress | None = zlib.compressobj(level, wbits=16 + zlib.MAX_WBITS)

    def __aiter__(self) -> "Gzip":
        return self

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

    async def aclose(self) -> None:
        """Close the source."""
        await aclose(self._source)
