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
from datetime import datetime
from typing import ClassVar

from sse_app.entries import Entry, Page
from sse_app.positions import Position

# Names and data of events to append.
Events = Sequence[tuple[str | None, str]]


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
    def append_many(self, topic: str, events: Events, *, keep_one: bool) -> list[Entry]:
        """Append events, all or none; ``keep_one`` removes all but the last.

        From any thread without a running loop. There is at least one event.
        """

    def append(self, topic: str, event: str | None, data: str, *, keep_one: bool) -> Entry:
        """Append one event."""
        return self.append_many(topic, [(event, data)], keep_one=keep_one)[0]

    @abstractmethod
    def topics(self) -> list[str]:
        """Give the names of all topics ever written, sorted."""

    @abstractmethod
    def trim(self, topic: str, *, keep: int | None, before: datetime | None) -> int:
        """Remove the oldest entries, beyond the newest ``keep`` or older than ``before``; count them.

        What is removed is always a prefix of the log: an entry that follows a younger one stays.
        """

    @abstractmethod
    async def read(self, topic: str, from_seq: int, limit: int, *, urgent: bool = False) -> Page:
        """Read the head, and at most ``limit + 1`` entries from ``from_seq`` on, as one snapshot.

        One more than the limit, because the first is often only there to prove a position. What is
        ``urgent`` goes before the reads of those that catch up.
        """

    @abstractmethod
    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads of many topics, urgently; one that was never written is left out."""

    @abstractmethod
    async def first_since(self, topic: str, moment: datetime) -> int:
        """Give the seq of the first kept entry written at or after the moment; else that after the head."""

    @abstractmethod
    async def check(self) -> None:
        """Raise where the log is out of reach."""
