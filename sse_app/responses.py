"""Responses: any async iterator as an event stream or as NDJSON, at no cost while it waits."""

import logging
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from datetime import timedelta
from typing import Any, NoReturn

from django.http import HttpRequest, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header

from sse_app import streams
from sse_app.body import Body
from sse_app.conf import conf
from sse_app.events import KEEP_ALIVE, ServerSentEvent
from sse_app.payloads import to_json
from sse_app.pumps import Batches, Gzip, Stream

logger = logging.getLogger("sse_app")

ASGI_NEEDED = (
    "streams need ASGI: serve this project's ASGI application with an ASGI server, such as "
    "`uvicorn yourproject.asgi:application` or daphne's runserver"
)


class AsyncResponse(StreamingHttpResponse):
    """What both kinds of response share: headers, and a body that cleans up after itself."""

    def __init__(
        self,
        source: AsyncIterator[bytes],
        first: bytes,
        *,
        content_type: str,
        headers: dict[str, str] | None,
    ) -> None:
        defaults = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
        body = Body(source, first, self._is_head)
        super().__init__(body, content_type=content_type, headers={**defaults, **(headers or {})})
        if conf.SSE_CONTENT_ENCODING:
            self.headers.setdefault("Content-Encoding", conf.SSE_CONTENT_ENCODING)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the body itself: Django's wrapper would take a TypeError for a sync iterator."""
        content: AsyncIterator[bytes] = self._iterator  # type: ignore[attr-defined]
        return content if isinstance(content, Body) else super().__aiter__()

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


class EventSourceResponse(AsyncResponse):
    """An event stream over an async iterator of events, strings, JSON-able values or encoded bytes.

    ``keep_alive``: seconds of silence before a comment is sent, None for never; ``keep_alive_text`` is
    its text, by default none.
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
        keep_alive_text: str = "",
        retry: int | timedelta | None = None,
        lifetime: float | None = None,
        prime: bool = True,
        on_error: Callable[[Exception], Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        _require_async(self, stream)
        source: AsyncIterator[bytes] = _Encoded(aiter(stream), on_error)
        if keep_alive is not None:
            source = streams.keep_alive(source, keep_alive, _comment(keep_alive_text))
        if lifetime is not None:
            source = streams.lifetime(source, lifetime)
        super().__init__(
            source, _first_bytes(prime, retry), content_type="text/event-stream", headers=headers
        )


class NDJSONResponse(AsyncResponse):
    """Newline-delimited JSON over an async iterator of JSON-able values or encoded lines (bytes).

    Records go out in batches of about 64 KiB, or whatever there is after a moment. If the source
    fails, the body is cut and not ended: no client takes half of it for the whole.

    ``trailer``: end with a record ``{"complete": true, "count": n}``.
    ``request``: one that accepts gzip gets gzip, flushed with each batch.
    ``filename``: have browsers save it. Raises TypeError for an iterator that is not async.
    """

    media_type = "application/x-ndjson"
    stream_format = "ndjson"

    def __init__(
        self,
        stream: AsyncIterable[Any],
        *,
        trailer: bool = False,
        request: HttpRequest | None = None,
        filename: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        _require_async(self, stream)
        blocks = getattr(stream, "blocks", None)  # rows of a queryset come encoded, a page at a time
        source: AsyncIterator[bytes] = Batches(self._encoded(blocks() if blocks else aiter(stream), trailer))
        headers = {"X-Stream-Format": self.stream_format, **(headers or {})}
        if request is not None and _accepts_gzip(request):
            source = Gzip(source)
            headers["Content-Encoding"] = "gzip"
        super().__init__(source, b"", content_type=self.media_type, headers=headers)
        if request is not None:
            patch_vary_headers(self, ["Accept-Encoding"])
        if filename is not None:
            self.headers["Content-Disposition"] = content_disposition_header(True, filename)

    def _encoded(self, records: AsyncIterator[Any], trailer: bool) -> AsyncIterator[bytes]:
        return _Lines(records, trailer)


def _comment(text: str) -> bytes:
    # Without a blank line: after one, some clients report an empty message.
    return ServerSentEvent(comment=text).encode().removesuffix(b"\n") if text else KEEP_ALIVE


def _first_bytes(prime: bool, retry: int | timedelta | None) -> bytes:
    lines = b"" if retry is None else ServerSentEvent(retry=retry).encode().removesuffix(b"\n")
    return KEEP_ALIVE + lines if prime else lines


class _Encoded(Stream[bytes]):
    """The source's items as blocks of bytes; the source's failure is logged and ends it."""

    def __init__(self, source: AsyncIterator[Any], on_error: Callable[[Exception], Any] | None) -> None:
        super().__init__(source)
        self._on_error = on_error
        self._failed = False

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
            last = self._last_block(error)
            if last is None:
                raise StopAsyncIteration from None
            return last

    def _last_block(self, error: Exception) -> bytes | None:
        try:
            last = None if self._on_error is None else self._on_error(error)
            return None if last is None else _block(last)
        except Exception:
            logger.exception("on_error failed")
            return None


def _block(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
    return event.encode()


class _Lines(Stream[bytes]):
    """The source's records as lines, and the trailer with their number."""

    def __init__(self, source: AsyncIterator[Any], trailer: bool) -> None:
        super().__init__(source)
        self._trailer = trailer
        self._count = 0

    async def __anext__(self) -> bytes:
        try:
            item = await anext(self._source)
        except StopAsyncIteration:
            if not self._trailer:
                raise
            self._trailer = False
            return to_json({"complete": True, "count": self._count}) + b"\n"
        line = item if isinstance(item, bytes) else to_json(item) + b"\n"
        self._count += line.count(b"\n")
        return line


def _require_async(response: AsyncResponse, stream: object) -> None:
    if not hasattr(stream, "__aiter__"):
        raise TypeError(
            f"{type(response).__name__} needs an async iterator, not {type(stream).__name__}: a sync one "
            "would block the server or be read to its end first; use `async def` and `yield`"
        )


def _accepts_gzip(request: HttpRequest) -> bool:
    """Whether the request's ``Accept-Encoding`` names gzip (RFC 9110, section 12.5.3)."""
    for coding in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name == "gzip":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False
