"""Entries: one event in a topic's log, and what a log answers about a position."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from sys import getsizeof

from sse_app.events import ServerSentEvent, id_line
from sse_app.positions import Position, encode_cursor


class Entry:
    """One event of a topic at its position; ``prev`` is the tag of the entry before.

    One that is not ``logged`` has a position in this process only, which no cursor may carry.
    Its bytes are made once per process, on first use, and shared by all readers. ``size`` is what
    it weighs in memory, in bytes, roughly.
    """

    __slots__ = (
        "_around_id",
        "_block",
        "created_at",
        "data",
        "event",
        "logged",
        "position",
        "prev",
        "size",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        position: Position,
        prev: str,
        event: str | None,
        data: str,
        created_at: datetime | None = None,
        *,
        logged: bool = True,
    ) -> None:
        self.topic = topic
        self.position = position
        self.prev = prev
        self.event = event
        self.data = data
        self.logged = logged
        self.created_at = created_at  # known to those that the log has given
        self.size = 3 * getsizeof(data) + 300  # the text, and its bytes twice
        self._around_id: tuple[bytes, bytes] | None = None
        self._block: bytes | None = None

    @property
    def block(self) -> bytes:
        """The block of a stream of this topic alone."""
        if self._block is None:
            position = self.position if self.logged else None
            self._block = self.block_with_id(encode_cursor({self.topic: position}))
        return self._block

    def block_with_id(self, id: str | None) -> bytes:
        """Give the block of a stream of several topics, whose cursor is ``id``."""
        if self._around_id is None:
            event = ServerSentEvent(self.data, event=self.event)
            self._around_id = event.encode_around_id()
        head, tail = self._around_id
        return head + (id_line(id) if id else b"") + tail + b"\n"

    def __repr__(self) -> str:
        return f"<Entry {self.topic} {self.position} {self.event or 'message'}>"


class Reason(StrEnum):
    """Why a position can't be continued."""

    TRIMMED = "trimmed"  # older than what is kept
    FORKED = "forked"  # another event stands at that place
    REWOUND = "rewound"  # the log ends before it
    UNKNOWN = "unknown"  # the cursor can't be read, or is that of other topics


@dataclass(frozen=True, slots=True)
class Answer:
    """What follows a position: entries, or the reason why that can't be said."""

    entries: Sequence[Entry] = ()
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One read of a log: its head, and its entries from the seq asked for, in one snapshot."""

    head: Position
    entries: Sequence[Entry]

    @property
    def before(self) -> Position:
        """The position just before the first entry of the page; the head where there is none."""
        if not self.entries:
            return self.head
        first = self.entries[0]
        return Position(first.position.seq - 1, first.prev)

    def after(self, position: Position) -> Answer:
        """Say what follows a position; the page was read from ``position.seq`` on.

        A position is proven by its entry, by the next entry's ``prev``, or by the head.
        """
        if position.seq > self.head.seq:
            return Answer(reason=Reason.REWOUND)
        entries = self.entries
        if entries and entries[0].position.seq == position.seq:
            proof, entries = entries[0].position.tag, entries[1:]
        elif entries and entries[0].position.seq == position.seq + 1:
            proof = entries[0].prev
        elif position.seq == self.head.seq:
            proof = self.head.tag
        else:
            return Answer(reason=Reason.TRIMMED)
        if proof != position.tag:
            return Answer(reason=Reason.FORKED)
        return self._continue(position, entries)

    def _continue(self, position: Position, entries: Sequence[Entry]) -> Answer:
        chain = contiguous(position, entries)
        if not chain and position.seq < self.head.seq:
            return Answer(reason=Reason.TRIMMED)
        return Answer(chain)


def contiguous(position: Position, entries: Sequence[Entry]) -> Sequence[Entry]:
    """Give the first entries that follow the position without a gap."""
    for count, entry in enumerate(entries):
        if entry.position.seq != position.seq + 1 or entry.prev != position.tag:
            return entries[:count]
        position = entry.position
    return entries


def missed(after: Position, goes_on_at: Position, reason: Reason) -> int | None:
    """Count the events that a reset passes over; None where that can't be known."""
    count = goes_on_at.seq - after.seq
    return count if reason is Reason.TRIMMED and count >= 0 else None  # undone between two reads


def within(entries: Sequence[Entry], size: int) -> Sequence[Entry]:
    """Give the first entries that weigh no more than ``size`` bytes together, but at least one."""
    for count, entry in enumerate(entries):
        size -= entry.size
        if size < 0:
            return entries[: max(count, 1)]
    return entries
