"""The contract of an event log: append one event at a time, prove and continue positions.

A log belongs to the whole project; each process has one object of it. Reads are asynchronous and
come from streams. Appends are synchronous: they come from models, views, tasks and commands, and
share their transaction where the log can.

What a log must keep
    Each topic has a head, genesis at first. An append moves the head to ``seq + 1`` with a new
    random tag and stores the entry, whose ``prev`` is the tag before, in one atomic step. The head
    outlives the entries; only the oldest entries may be removed. A ``latest`` topic keeps one.
    ``read`` gives head and entries as one snapshot.

Appending once
    A draft with a ``key`` is appended once within ``SSE_IDEMPOTENCY_WINDOW``, however often and by
    however many processes at the same time it is tried: the others get the position of the first.
"""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple

from sse_app.entries import Entry, Page
from sse_app.positions import Position


class Draft(NamedTuple):
    """An event to append; ``key`` names it where it must not be appended twice."""

    event: str | None
    data: str
    key: str | None = None


class Receipt(NamedTuple):
    """Where a draft stands in the log; ``entry`` is None if an earlier append has put it there."""

    position: Position
    prev: str
    entry: Entry | None


def new_tag() -> str:
    """Draw the 32 random bits of an entry."""
    return secrets.token_hex(4)


class EventLog(ABC):
    """What publishing, tails and readers need of a log."""

    # Whether an append is part of the caller's transaction; the others append once it has committed.
    transactional: ClassVar[bool] = False
    # Path of the roster that keeps who reads beside it.
    roster: ClassVar[str] = "sse_app.roster.memory.MemoryRoster"

    @property
    def alias(self) -> str | None:
        """The database whose transactions count; None: the default one."""
        return None

    @abstractmethod
    def append_many(self, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> list[Receipt]:
        """Append to one topic, all or none; ``keep_one`` removes all but the last.

        From any thread without a running loop. There is at least one draft.
        """

    def append_batches(
        self, batches: Mapping[str, Sequence[Draft]], keep_one: Collection[str]
    ) -> dict[str, list[Receipt]]:
        """Append to some topics, always in the same order, lest two callers deadlock.

        ``keep_one`` names those of which only the last event stays.
        """
        return {
            topic: self.append_many(topic, batches[topic], keep_one=topic in keep_one)
            for topic in sorted(batches)
        }

    def append(self, topic: str, event: str | None, data: str, *, keep_one: bool = False) -> Entry:
        """Append one event that has no key."""
        entry = self.append_many(topic, [Draft(event, data)], keep_one=keep_one)[0].entry
        assert entry is not None
        return entry

    @abstractmethod
    def heads_now(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read heads from a thread without a running loop, as the caller's transaction sees them."""

    @abstractmethod
    def topics(self) -> list[str]:
        """Give the names of all topics ever written, sorted."""

    @abstractmethod
    def trim(self, topic: str, *, keep: int | None, before: datetime | None) -> int:
        """Remove the oldest entries, beyond the newest ``keep`` or older than ``before``; count them.

        What is removed is always a prefix of the log: an entry that follows a younger one stays.
        """

    def forget_keys(self) -> int:
        """Remove the keys that the window has passed, where the log does not do so itself; count them."""
        return 0

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


def unknown(drafts: Iterable[Draft], known: Mapping[str, Receipt]) -> list[Draft]:
    """Give the drafts that are to be appended: those whose key is new, and each key once."""
    seen = set(known)
    fresh = []
    for draft in drafts:
        if draft.key is None or draft.key not in seen:
            fresh.append(draft)
        if draft.key is not None:
            seen.add(draft.key)
    return fresh


def receipts(
    drafts: Iterable[Draft], known: Mapping[str, Receipt], entries: Iterable[Entry]
) -> list[Receipt]:
    """Give the receipt of each draft; ``entries`` are those of the unknown ones."""
    known = dict(known)
    appended = iter(entries)
    given = []
    for draft in drafts:
        receipt = known.get(draft.key) if draft.key is not None else None
        if receipt is None:
            entry = next(appended)
            receipt = Receipt(entry.position, entry.prev, entry)
            if draft.key is not None:
                known[draft.key] = receipt._replace(entry=None)
        given.append(receipt)
    return given
