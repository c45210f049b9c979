"""Events: one thing on the wire, its encoder and the inverse decoder (HTML standard, section 9.2)."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Any

from sse_app.payloads import require_utf8, to_text

# Exactly these three: str.splitlines() would also break at U+2028, U+0085, VT and FF, and alter JSON.
LINE_END = re.compile(r"\r\n|\r|\n")
# Bounded, because int() refuses thousands of digits.
_RETRY = re.compile(r"[0-9]{1,19}")
# A comment without a blank line: some clients make an empty message of every blank line.
KEEP_ALIVE = b":\n"


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: data, name, id, retry and comment, checked when it is made.

    ``data``: str, UTF-8 bytes, or anything JSON can carry; kept as text. ``None`` sends no data
    line, and a browser then dispatches nothing (``"null"`` sends JSON's null).
    ``id``: ``""`` makes the client forget its last id. ``retry``: milliseconds, or a timedelta.
    Raises ValueError naming the field and the rule.
    """

    data: Any = None
    _: KW_ONLY
    event: str | None = None
    id: str | None = None
    retry: int | timedelta | None = None
    comment: str | None = None

    def __post_init__(self) -> None:
        checked = (
            ("data", to_text),
            ("event", _event_name),
            ("id", _id),
            ("retry", _milliseconds),
            ("comment", _comment),
        )
        for name, check in checked:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value))

    def encode(self) -> bytes:
        """Give the block of bytes that stands for this event, its blank line included."""
        head, tail = self.encode_around_id()
        if self.id is not None:
            head += id_line(self.id)
        return head + tail + b"\n" if head or tail else b""

    def encode_around_id(self) -> tuple[bytes, bytes]:
        """Give the lines before and after the id line, so that one encoding serves many ids."""
        head = "" if self.comment is None else _lines(":", self.comment)
        if self.event is not None:
            head += f"event: {self.event}\n"
        tail = "" if self.retry is None else f"retry: {self.retry}\n"
        if self.data is not None:
            tail += _lines("data:", self.data)
        return head.encode(), tail.encode()


def id_line(id: str) -> bytes:
    """Give the line that moves a client's last event id."""
    return b"id: %s\n" % id.encode()


class EventDecoder:
    """The inverse of the encoder: bytes in, in pieces of any size; events out.

    An event comes for each block that ended with its blank line; ``data`` is None where the block
    had no data line (a browser would not dispatch it). ``last_event_id`` and ``retry``
    (milliseconds) are the client's state, as the standard has it.
    """

    def __init__(self) -> None:
        self.last_event_id = ""
        self.retry: int | None = None
        self._rest = b""
        self._at_start = True
        self._after_cr = False
        self._clear()

    def _clear(self) -> None:
        self._data: list[str] = []
        self._comment: list[str] = []
        self._event: str | None = None
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events that they complete."""
        return [event for line in self._lines(chunk) for event in self._line(line)]

    def _lines(self, chunk: bytes) -> Iterator[str]:
        if not chunk:
            return
        if self._after_cr:  # a CRLF may come in two chunks
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        data = self._rest + chunk
        if self._at_start:
            if len(data) < 3 and b"\xef\xbb\xbf".startswith(data):
                self._rest = data
                return
            data = data.removeprefix(b"\xef\xbb\xbf")
            self._at_start = False
        self._after_cr = data.endswith(b"\r")
        *lines, self._rest = re.split(rb"\r\n|\r|\n", data)
        yield from (line.decode(errors="replace") for line in lines)

    def _line(self, line: str) -> Iterator[ServerSentEvent]:
        if not line:
            if event := self._dispatch():
                yield event
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "":
                self._comment.append(value)
            case "data":
                self._data.append(value)
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if _RETRY.fullmatch(value):
                self._retry = self.retry = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        data, comment = self._data, self._comment
        if self._id is not None:
            self.last_event_id = self._id
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a server sends is not ours to warn about
            event = ServerSentEvent(
                "\n".join(data) if data else None,
                event=self._event,
                id=self._id,
                retry=self._retry,
                comment="\n".join(comment) if comment else None,
            )
        self._clear()
        return None if event == ServerSentEvent() else event


def _lines(prefix: str, text: str) -> str:
    return "".join(f"{prefix} {line}\n" for line in LINE_END.split(text))


def _event_name(event: str) -> str | None:
    if event in ("error", "open"):
        warnings.warn(
            f"event {event!r} also reaches on{event} of an EventSource; choose another name",
            stacklevel=4,
        )
    return _one_line("event", event) or None  # an empty name means the default one


def _id(id: str) -> str:
    id = _one_line("id", id)
    if "\0" in id:
        raise ValueError("id: must not contain NUL; clients ignore such an id")
    return id


def _one_line(field: str, value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field}: must be a str, not {type(value).__name__}")
    if "\r" in value or "\n" in value:
        raise ValueError(f"{field}: must be one line, without CR or LF")
    return require_utf8(field, value)


def _comment(comment: str) -> str:
    if not isinstance(comment, str):
        raise ValueError(f"comment: must be a str, not {type(comment).__name__}")
    return require_utf8("comment", comment)


def _milliseconds(retry: int | timedelta) -> int:
    if isinstance(retry, timedelta):
        retry = round(retry.total_seconds() * 1000)
    if isinstance(retry, bool) or not isinstance(retry, int):
        raise ValueError(f"retry: must be milliseconds as an int, or a timedelta, not {retry!r}")
    if retry < 0:
        raise ValueError(f"retry: must not be negative, not {retry}")
    return retry
