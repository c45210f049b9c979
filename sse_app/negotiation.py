"""Negotiation: one source in the format that the client asks for (RFC 9110, section 12.5.1)."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers

from sse_app.events import ServerSentEvent
from sse_app.payloads import to_json
from sse_app.pumps import Stream
from sse_app.responses import EventSourceResponse, NDJSONResponse

NDJSON = "application/x-ndjson"
JSON_LINES = "application/jsonl"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
FORMATS = (NDJSON, JSON_LINES, JSON, EVENT_STREAM)

# A comma or semicolon within quotes separates nothing.
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_PART = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class JSONLinesResponse(NDJSONResponse):
    """The same lines as NDJSON, under the name that jsonlines.org gives them."""

    media_type = JSON_LINES
    stream_format = "jsonl"


class JSONArrayResponse(NDJSONResponse):
    """One JSON array, sent as it comes; if the source fails, it has no end. It takes no trailer."""

    media_type = JSON
    stream_format = "json"

    def _encoded(self, records: AsyncIterator[Any], trailer: bool) -> AsyncIterator[bytes]:
        return _Array(records)


def negotiate(
    request: HttpRequest,
    stream: AsyncIterable[Any],
    *,
    formats: Sequence[str] = FORMATS,
    event: Callable[[Any], ServerSentEvent] = ServerSentEvent,
) -> HttpResponseBase:
    """Answer with the stream as NDJSON, JSON Lines, a JSON array or an event stream, as ``Accept`` says.

    ``formats``: the media types on offer, of those four, best first: the first is for who takes anything.
    ``event``: makes the event of a record, with a name or an id. A client that takes none of them gets
    406 and the list, as one line of JSON. Raises ValueError for a format that is none of the four.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ValueError(f"formats: must be of {', '.join(FORMATS)}, not {unknown[0]!r}")
    response = _respond(preferred(request.headers.get("Accept"), formats), request, stream, event)
    if response is None:
        error = f"this address serves {', '.join(formats)}"
        response = JsonResponse({"error": error, "available": list(formats)}, status=406)
        response.headers["Cache-Control"] = "no-store"
    patch_vary_headers(response, ["Accept"])
    return response


def preferred(accept: str | None, offered: Sequence[str]) -> str | None:
    """Give the media type that an ``Accept`` header likes best, None if it takes none of them.

    For each type the most specific range counts, and its quality decides; among equals the first that
    is offered. Without a header anything is taken. What is no media range is ignored.
    """
    ranges = list(_ranges(accept if accept and accept.strip() else "*/*"))
    best, best_quality = None, 0.0
    for name in offered:
        matching = [one for one in ranges if one.matches(name)]
        quality = max(matching, key=lambda one: one.specificity).quality if matching else 0.0
        if quality > best_quality:
            best, best_quality = name, quality
    return best


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of the header: what it takes, and how much it likes that."""

    type: str
    subtype: str
    parameters: frozenset[str]
    quality: float

    @property
    def specificity(self) -> tuple[bool, bool, int]:
        return self.type != "*", self.subtype != "*", len(self.parameters)

    def matches(self, name: str) -> bool:
        kind, _, subtype = name.partition("/")
        # All four are UTF-8 and have no parameters else.
        right = self.type in ("*", kind) and self.subtype in ("*", subtype)
        return right and self.parameters <= {"charset=utf-8"}


def _ranges(accept: str) -> Iterator[_Range]:
    for element in _ELEMENT.findall(accept.lower()):
        name, *parts = (part.strip() for part in _PART.findall(element) or [""])
        kind, slash, subtype = name.partition("/")
        if not (kind and slash and subtype) or (kind == "*" and subtype != "*"):
            continue
        parameters = {part.replace('"', "").replace(" ", "") for part in parts if part}
        weights = [part[2:] for part in parameters if part.startswith("q=")]
        if all(_QUALITY.fullmatch(weight) for weight in weights):
            rest = frozenset(part for part in parameters if not part.startswith("q="))
            yield _Range(kind, subtype, rest, float(weights[0]) if weights else 1.0)


def _respond(
    name: str | None,
    request: HttpRequest,
    stream: AsyncIterable[Any],
    event: Callable[[Any], ServerSentEvent],
) -> HttpResponseBase | None:
    match name:
        case "text/event-stream":
            return EventSourceResponse(_Events(stream, event))
        case "application/x-ndjson":
            return NDJSONResponse(stream, request=request)
        case "application/jsonl":
            return JSONLinesResponse(stream, request=request)
        case "application/json":
            return JSONArrayResponse(stream, request=request)
    return None


class _Events(Stream[ServerSentEvent]):
    """The source's records as events."""

    def __init__(self, source: AsyncIterable[Any], event: Callable[[Any], ServerSentEvent]) -> None:
        super().__init__(source)
        self._event = event

    async def __anext__(self) -> ServerSentEvent:
        return self._event(await anext(self._source))


class _Array(Stream[bytes]):
    """The source's records as one JSON array, a line each."""

    def __init__(self, source: AsyncIterator[Any]) -> None:
        super().__init__(source)
        self._before = b"["
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        try:
            item = await anext(self._source)
        except StopAsyncIteration:
            self._ended = True
            return b"[]\n" if self._before == b"[" else b"\n]\n"
        lines = item if isinstance(item, bytes) else to_json(item)
        before, self._before = self._before, b",\n"
        return before + lines.strip(b"\n").replace(b"\n", b",\n")
