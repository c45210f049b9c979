"""Positions: where in a topic's log a reader is, and the cursor that carries them as one ``id``."""

import re
from collections.abc import Mapping
from typing import NamedTuple

# Servers refuse headers from about 16 KiB; a cursor stays far below.
MAX_CURSOR_LENGTH = 4096
# Of one topic, besides its name: '=', 19 digits, '-', the tag, '&'.
LONGEST_POSITION = 30
_MAX_SEQ = 2**63 - 1
_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})=(?:([0-9]{1,19})-([0-9a-f]{8}))?")


class Position(NamedTuple):
    """Everything up to and including ``seq`` was written to the reader.

    ``tag`` (32 random bits, eight hex digits) is that of the entry at ``seq``: a log that was wiped,
    forked or restored can't be taken for the one that was read.
    """

    seq: int
    tag: str

    def __str__(self) -> str:
        return f"{self.seq}-{self.tag}"


GENESIS = Position(0, "00000000")

# A topic without a log has no position, yet it stands in the cursor.
Cursor = dict[str, Position | None]


def encode_cursor(positions: Mapping[str, Position | None], first: str | None = None) -> str:
    """Write the cursor as an event id; ``first`` is the topic that the block belongs to."""
    names = list(positions)
    if first is not None:
        names.sort(key=lambda name: name != first)
    return "&".join(f"{name}={_text(positions[name])}" for name in names)


def decode_cursor(text: str) -> Cursor | None:
    """Read an event id back; None where any part of it can't be read. Bounded, without any I/O."""
    if len(text) > MAX_CURSOR_LENGTH:
        return None
    cursor: Cursor = {}
    for part in text.split("&"):
        match = _ENTRY.fullmatch(part)
        if match is None or match[1] in cursor:
            return None
        seq = int(match[2] or 0)
        if seq > _MAX_SEQ:
            return None
        cursor[match[1]] = Position(seq, match[3]) if match[2] else None
    return cursor


def _text(position: Position | None) -> str:
    return "" if position is None else str(position)
