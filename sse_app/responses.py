"""Responses: any async iterator as a streaming HTTP response that costs nothing while it waits.

What Django leaves to do, and is done here: async generators are closed at once when the client goes,
also while the server is blocked in ``send``; the request's thread and database connections are
released before the first byte; a HEAD request does not start the stream; a server that cancels the
request on Django 5.2 or 6.0, where the streaming task is left behind, ends the stream too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, NoReturn

from django.http import HttpRequest, StreamingHttpResponse

from sse_app.conf import conf
from sse_app.events import KEEP_ALIVE, ServerSentEvent
from sse_app.lease import abandoned, release
from sse_app.streams import KeepAlive, Lifetime, aclose

logger = logging.getLogger("sse_app")

ASGI_NEEDED = (
    "event streams need ASGI: serve this project's ASGI application with an ASGI server, such as "
    "`uvicorn yourproject.asgi:application` or daphne's runserver"
)


class EventSourceResponse(StreamingHttpResponse):
    """An event stream over an async iterator of events, strings, JSON-able values or encoded bytes.

    ``keep_alive``: seconds of silence before a comment is sent, None for never.
    ``retry``: what the client waits before it reconnects, in milliseconds or as a timedelta.
    ``lifetime``: seconds after which the stream ends between two events.
    ``prime``: send a comment at once; without it, an empty chunk makes the server send the headers.
    ``on_error``: called with the source's exception, which has been logged; it may return one last
    event. The client is never shown the exception itself.

    ``bytes`` must be whole blocks of the event-stream format (HTML standard, section 9.2) and are
    sent unchecked; everything else is encoded. Raises TypeError for an iterator that is not async.
    """

    def __init__(
        self,
        stream: AsyncIterator[Any],
        *,
        keep_alive: float | None = 15,
        retry: int | timedelta | None = None,
        lifetime: float | None = None,
        prime: bool = True,
        on_error: Callable[[Exception], Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        if not hasattr(stream, "__aiter__"):
            raise TypeError(
                f"EventSourceResponse needs an async iterator, not {type(stream).__name__}: a sync "
                "one would block the server or be read to its end first; use `async def` and `yield`"
            )
        source: AsyncIterator[bytes] = _Encoded(aiter(stream), on_error)
        if keep_alive is not None:
            source = KeepAlive(source, keep_alive, KEEP_ALIVE)
        if lifetime is not None:
            source = Lifetime(source, lifetime)
        super().__init__(
            _Body(source, _first_bytes(prime, retry), self._is_head),
            content_type="text/event-stream",
            headers={
                "Cache-Control": "no-cache, no-transform",
                "X-Accel-Buffering": "no",
                **(headers or {}),
            },
        )
        if conf.SSE_CONTENT_ENCODING:
            self.headers.setdefault("Content-Encoding", conf.SSE_CONTENT_ENCODING)

    def __iter__(self) -> NoReturn:
        """Refuse WSGI, where an endless stream would hang the worker."""
        raise RuntimeError(ASGI_NEEDED)

    def _is_head(self) -> bool:
        """Whether the request asks for the headers alone; Django streams the body to HEAD as well."""
        closers: list[Callable[[], None]] = self._resource_closers  # type: ignore[attr-defined]
        for close in closers:  # one is the request's: a response knows no other way
            request = getattr(close, "__self__", None)
            if isinstance(request, HttpRequest):
                return request.method == "HEAD"
        return False


def _first_bytes(prime: bool, retry: int | timedelta | None) -> bytes:
    # Without a blank line: after one, some clients report an empty message.
    lines = b"" if retry is None else ServerSentEvent(retry=retry).encode().removesuffix(b"\n")
    return KEEP_ALIVE + lines if prime else lines


class _Encoded:
    """The source's items as blocks of bytes; the source's failure is logged and ends it."""

    def __init__(self, source: AsyncIterator[Any], on_error: Callable[[Exception], Any] | None) -> None:
        self._source = source
        self._on_error = on_error
        self._failed = False

    def __aiter__(self) -> "_Encoded":
        return self

    async def __anext__(self) -> bytes:
        if self._failed:
            raise StopAsyncIteration
        try:
            return _block(await anext(self._source))
        except StopAsyncIteration:
            raise
        except Exception as error:
            logger.exception("a stream failed")
            self._failed = True
            last = None if self._on_error is None else self._on_error(error)
            if last is None:
                raise StopAsyncIteration from None
            return _block(last)

    async def aclose(self) -> None:
        await aclose(self._source)


def _block(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
    return event.encode()


class _Body:
    """What Django iterates: an object with a ``close()``, which Django calls when the client goes.

    Django closes no async generator, but it calls ``close()`` in a thread, whatever the server is
    blocked in. Where it does not (the server cancelled the request), the end of the task tells.
    """

    def __init__(self, source: AsyncIterator[bytes], first: bytes, is_head: Callable[[], bool]) -> None:
        self._source = source
        self._first: bytes | None = first
        self._is_head = is_head
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            return await self._start()
        if self._closed or abandoned():
            await self._close_source()
            raise StopAsyncIteration
        try:
            return await anext(self._source)
        except BaseException:  # its end, or the cancellation of this request
            await self._close_source()
            raise

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
            self._closed = True
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
