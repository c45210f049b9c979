"""The body: what Django iterates over, and how its source is closed at once when it is over.

It gives the request's thread and connections back before the first byte, and answers HEAD without
starting its source. If the source fails, its exception goes on to the server, which cuts the body.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from sse_app.cut import have_server_cut
from sse_app.lease import abandoned, release
from sse_app.pumps import aclose


class Body:
    """Iterates over ``source``, after the ``first`` bytes, and closes it whatever happens.

    Django closes no async generator, but it calls ``close()`` in a thread when the client goes,
    whatever the server is blocked in. Where it does not (the server cancelled the request), the end
    of the task tells, or, on Django 5.2 and 6.0, which leave that task behind, ``abandoned()``.
    """

    def __init__(self, source: AsyncIterator[bytes], first: bytes, is_head: Callable[[], bool]) -> None:
        self._source = source
        self._first: bytes | None = first
        self._is_head = is_head
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            return await self._start()
        if self._closed or abandoned():
            await self._close_source()
            raise StopAsyncIteration
        try:
            return await anext(self._source)
        except BaseException as end:  # its failure too, and the cancellation of this request
            await self._close_source()
            if not isinstance(end, (StopAsyncIteration, asyncio.CancelledError)):
                have_server_cut()
            raise

    async def aclose(self) -> None:
        """Close the source, in the loop."""
        await self._close_source()

    def close(self) -> None:
        """Close the source, from any thread; may be called twice."""
        if self._loop is None or self._closed:
            return
        try:
            self._loop.call_soon_threadsafe(self._close_soon)
        except RuntimeError:  # the loop is closed, and has closed the generators itself
            return

    async def _start(self) -> bytes:
        first, self._first = self._first, None
        assert first is not None
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self.close())
        if self._is_head():
            await self._close_source()
            return b""
        await release()
        return first

    def _close_soon(self) -> None:
        if not self._closed:
            self._closing = asyncio.get_running_loop().create_task(self._close_source())

    async def _close_source(self) -> None:
        if not self._closed:
            self._closed = True
            await aclose(self._source)
