"""The contract of an event log: append one event at a time, prove and continue positions.

A log belongs to the whole project; each process has one object of it. Reads are asynchronous and
come from streams. Appends are synchronous: they come from models, views, tasks and commands, and
share their transaction where the log can.

What a log must keep
    Each topic has a head, genesis at first. An append moves the head to ``seq + 1`` with a new
    random tag and stores the entry, whose ``prev`` is the tag before, in one atomic step. The head
    outlives the entries; only the oldest entries may be removed. A ``latest`` topic keeps one.
    ``read`` gives head and entries as one snapshot.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from sse_app.entries import Entry, Page
from sse_app.positions import Position


def new_tag() -> str:
    """Draw the 32 random bits of an entry."""
    return secrets.token_hex(4)


class EventLog(ABC):
    """What publishing, tails and readers need of a log."""

    # Whether an append is part of the caller's transaction; the others append once it has committed.
    transactional: ClassVar[bool] = False

    @property
    def alias(self) -> str | None:
        """The database whose transactions count; None: the default one."""
        return None

    @abstractmethod
    def append(self, topic: str, event: str | None, data: str, *, keep_one: bool) -> Entry:
        """Append an event; ``keep_one`` removes all others. From any thread without a running loop."""

    @abstractmethod
    async def read(self, topic: str, from_seq: int, limit: int) -> Page:
        """Read the head, and at most ``limit + 1`` entries from ``from_seq`` on, as one snapshot.

        One more than the limit, because the first is often only there to prove a position.
        """

    @abstractmethod
    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads of many topics; one that was never written is left out."""

    @abstractmethod
    async def check(self) -> None:
        """Raise where the log is out of reach."""
