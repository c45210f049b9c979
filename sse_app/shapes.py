"""Shapes: the wrappers that ``streams`` gives, each a small state of its own."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from sse_app.pumps import End, Pumped, Put, Queued, Stream, outcome, pour

T = TypeVar("T")

Producer = Callable[[Put[T]], Coroutine[Any, Any, None]]


def _now() -> float:
    return asyncio.get_running_loop().time()


class Interval(AsyncIterator[int]):
    """The beat of a clock, as numbers."""

    def __init__(self, seconds: float, start: int) -> None:
        self._seconds = seconds
        self._number = start
        self._due: float | None = None

    async def __anext__(self) -> int:
        now = _now()
        if self._due is None or now - self._due >= self._seconds:
            self._due = now
        await asyncio.sleep(max(0.0, self._due - now))
        self._due += self._seconds
        number, self._number = self._number, self._number + 1
        return number

    async def aclose(self) -> None:
        """Close nothing: it is there so that all shapes are used alike."""


class Throttled(Pumped[T]):
    """The newest item, at most one every so many seconds."""

    def __init__(self, source: AsyncIterable[T], seconds: float) -> None:
        super().__init__(source)
        self._seconds = seconds
        self._due = 0.0
        self._newest: list[T] = []  # one or none
        self._news = asyncio.Event()
        self._end: End | None = None

    async def __anext__(self) -> T:
        self._start()
        await self._news.wait()
        if self._newest:
            await asyncio.sleep(max(0.0, self._due - _now()))
            self._due = _now() + self._seconds
            if self._end is None:
                self._news.clear()
            return self._newest.pop()
        assert self._end is not None
        raise self._end.error or StopAsyncIteration

    async def _run(self) -> None:
        self._end = End(await outcome(pour(self._source, self._put)))
        self._news.set()

    async def _put(self, item: T) -> None:
        self._newest[:] = [item]
        self._news.set()
        await asyncio.sleep(0)  # a source that never waits would let nobody take any of it


class RateLimited(Stream[T]):
    """A token bucket: each item takes a token, and waits for one."""

    def __init__(self, source: AsyncIterable[T], per_second: float, burst: int) -> None:
        super().__init__(source)
        self._each = 1 / per_second
        self._burst = burst * self._each
        self._full_at = 0.0  # when the bucket will have all of its tokens again

    async def __anext__(self) -> T:
        item: T = await anext(self._source)
        now = _now()
        self._full_at = max(self._full_at, now) + self._each
        await asyncio.sleep(max(0.0, self._full_at - self._burst - now))
        return item


class KeptAlive(Queued[T]):
    """The items, and a filler in each silence."""

    def __init__(self, source: AsyncIterable[T], seconds: float, filler: T) -> None:
        super().__init__(source)
        self._seconds = seconds
        self._filler = filler

    async def __anext__(self) -> T:
        self._start()
        try:
            async with asyncio.timeout(self._seconds):
                item = await self._items.get()
        except TimeoutError:
            return self._filler
        return self._given(item)


class Until(Queued[T]):
    """The items until something else is done."""

    def __init__(self, source: AsyncIterable[T], stop: Awaitable[object]) -> None:
        super().__init__(source)
        self._stop = stop
        self._stopping: asyncio.Future[object] | None = None

    async def __anext__(self) -> T:
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop)
            self._stopping.add_done_callback(self._wake)
        if not self._stopping.done():
            with suppress(StopAsyncIteration):
                return await super().__anext__()
        await self.aclose()
        if self._stopping.done() and not self._stopping.cancelled():
            self._stopping.result()
        raise StopAsyncIteration

    def _wake(self, stopping: asyncio.Future[object]) -> None:
        with suppress(asyncio.QueueFull):  # then nobody waits
            self._items.put_nowait(End(None))

    async def aclose(self) -> None:
        """Close the source, and what waits for the stop."""
        if self._stopping is not None:
            self._stopping.remove_done_callback(self._wake)
        if asyncio.iscoroutine(self._stop):
            self._stop.close() if self._stopping is None else self._stopping.cancel()
        await super().aclose()


class Lifetime(Stream[T]):
    """The items until a deadline."""

    def __init__(self, source: AsyncIterable[T], seconds: float) -> None:
        super().__init__(source)
        self._seconds = seconds
        self._deadline: float | None = None

    async def __anext__(self) -> T:
        if self._deadline is None:
            self._deadline = _now() + self._seconds
        if _now() < self._deadline:  # a source that never waits would never notice
            limit = asyncio.timeout_at(self._deadline)
            try:
                async with limit:
                    item: T = await anext(self._source)
                    return item
            except TimeoutError:
                if not limit.expired():
                    raise
        await self.aclose()
        raise StopAsyncIteration


class Produced(Queued[T]):
    """What a producer puts."""

    def __init__(self, producer: Producer[T], size: int) -> None:
        super().__init__(_nothing(), size)
        self._producer = producer

    async def _work(self, put: Put[T]) -> None:
        await self._producer(put)


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
