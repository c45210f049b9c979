"""Tails: one process's live end of one topic, its ring, and how the ring is kept true to the log.

A doorbell and a head are hints, never the truth. A hint that the ring holds is dropped, the next
entry in the chain is taken as it is, anything else makes the tail read the log: once per tail and
gap, however many readers it has. A tail never resets its readers. Where the log refutes the ring,
the ring starts again at the head, and each reader has to prove its own position to the log.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sse_app.backoff import insist
from sse_app.doorbell import Doorbell
from sse_app.entries import Entry, Page
from sse_app.positions import Position
from sse_app.ring import Ring

PAGE_ENTRIES = 128
# Bells that come while a tail reads the log; with more of them it just reads once more.
MAX_WAITING_BELLS = 64
# Old bells may still arrive after a log was undone, for as long as a channel layer keeps them.
DISTRUST_SECONDS = 60.0
_NO_TAG = "00000000"


class LogReader(Protocol):
    """The part of an event log that tails and readers need."""

    async def read(self, topic: str, from_seq: int, limit: int, *, urgent: bool = False) -> Page:
        """Read the head, and entries from ``from_seq`` on, as one snapshot; urgently, before others."""

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads of many topics; a topic never written is left out."""

    async def first_since(self, topic: str, moment: datetime) -> int:
        """Give the seq of the first kept entry that is not older; else that after the head."""


class Waker(Protocol):
    """What a tail knows of a reader."""

    def wake(self, topic: str) -> None:
        """Tell it that the topic has something new."""


class Tail:
    """What all tails share: their readers, and when they became idle (seconds of the loop)."""

    def __init__(self, topic: str, ring: Ring) -> None:
        self.topic = topic
        self.ring = ring
        self.started = False
        self.readers: dict[Waker, None] = {}
        self.idle_since: float | None = None

    def attach(self, reader: Waker) -> None:
        """Count a reader in."""
        self.readers[reader] = None
        self.idle_since = None

    def detach(self, reader: Waker) -> None:
        """Count a reader out."""
        self.readers.pop(reader, None)
        if not self.readers:
            self.idle_since = asyncio.get_running_loop().time()

    def wake(self) -> None:
        """Wake every reader."""
        for reader in self.readers:
            reader.wake(self.topic)

    def hint(self, bell: Doorbell) -> None:
        """Take a doorbell."""
        raise NotImplementedError

    async def close(self) -> None:
        """Stop what the tail has under way."""
        self.ring.restart(self.ring.last)


class EphemeralTail(Tail):
    """The tail of a topic without a log: what its doorbells bring, numbered by this process."""

    def __init__(self, topic: str, ring: Ring) -> None:
        super().__init__(topic, ring)
        self.started = True

    def hint(self, bell: Doorbell) -> None:
        """Take an event."""
        position = Position(self.ring.last.seq + 1, _NO_TAG)
        self.ring.push(Entry(self.topic, position, _NO_TAG, bell.event, bell.data or "", logged=False))
        self.wake()


class DurableTail(Tail):
    """The tail of a topic with a log: the newest entries, without a gap."""

    def __init__(self, topic: str, ring: Ring, log: LogReader) -> None:
        super().__init__(topic, ring)
        self.log = log
        self.moves = 0
        self.repairs = 0
        self._waiting: list[Doorbell] = []
        self._read_again = False
        self._repairing: asyncio.Task[None] | None = None
        self._distrust_until = 0.0

    def begin(self, head: Position) -> None:
        """Start at the head that the log gave after the tail had joined its group."""
        self.ring.restart(head)
        self._open()

    def hint(self, bell: Doorbell) -> None:
        """Take a doorbell: drop it, take its entry, or read the log."""
        if not self.started or self._repairing is not None:
            if len(self._waiting) < MAX_WAITING_BELLS:
                self._waiting.append(bell)
            else:
                self._read_again = True
            return
        if bell.position is None or self._held(bell.position):
            return
        entry = bell.entry()
        trusted = asyncio.get_running_loop().time() >= self._distrust_until
        if entry is not None and trusted and self._take(entry):
            self.moves += 1
            self.wake()
        else:
            self.repair()

    def hint_head(self, head: Position, moves: int) -> bool:
        """Take a head that was asked for when the tail had made ``moves`` moves; True: it repairs."""
        if not self.started or head == self.ring.last or moves != self.moves:
            return False
        self.repair()
        return True

    def repair(self) -> "asyncio.Task[None]":
        """Read the log until the ring is true to it; one task per tail, whoever asks."""
        self._read_again = True
        if self._repairing is None:
            self._repairing = asyncio.get_running_loop().create_task(self._repair())
        return self._repairing

    async def close(self) -> None:
        """Stop a repair that is under way."""
        if self._repairing is not None:
            self._repairing.cancel()
            await asyncio.gather(self._repairing, return_exceptions=True)
        await super().close()

    async def _repair(self) -> None:
        try:
            while self._read_again:
                self._read_again = False
                self._waiting.clear()  # they rang after their events were appended: this read covers them
                self.repairs += 1
                self._apply(await insist(self._read, f"reading the log of {self.topic}"))
                self.moves += 1
                self.wake()
        finally:
            self._repairing = None
        self._open()

    async def _read(self) -> Page:
        return await self.log.read(self.topic, self.ring.last.seq, PAGE_ENTRIES, urgent=True)

    def _apply(self, page: Page) -> None:
        """Bring the ring to what the log says."""
        answer = page.after(self.ring.last)
        if answer.reason is not None:
            self.ring.restart(page.head)
            self._distrust()
            return
        for entry in answer.entries:
            self.ring.push(entry)
        self._read_again |= bool(answer.entries) and self.ring.last != page.head

    def _distrust(self) -> None:
        self._distrust_until = asyncio.get_running_loop().time() + DISTRUST_SECONDS

    def _open(self) -> None:
        """Handle what came while the tail was busy, and let the readers go on."""
        self.started = True
        if self._read_again:  # more bells came than could wait
            self.repair()
        waiting, self._waiting = self._waiting, []
        for bell in waiting:
            self.hint(bell)
        self.wake()

    def _held(self, position: Position) -> bool:
        return self.ring.holds(position)

    def _take(self, entry: Entry) -> bool:
        return self.ring.push(entry)


class LatestTail(DurableTail):
    """The tail of a topic of which only the newest entry matters: gaps mean nothing here."""

    def begin(self, head: Position) -> None:
        """Start with the kept entry, which a new reader gets at once."""
        self.repair()

    def hint_head(self, head: Position, moves: int) -> bool:
        """Take a head; look again for a value that was trimmed, which a restored log may have again."""
        if self.started and moves == self.moves and head == self.ring.last and self._has_no_value:
            self.repair()
            return False
        return super().hint_head(head, moves)

    @property
    def _has_no_value(self) -> bool:
        return self.ring.last.seq > 0 and self.ring.newest() is None

    async def _read(self) -> Page:
        return await self.newest()

    async def newest(self) -> Page:
        """Read the kept entry; more may be kept of a topic that was of another kind."""
        page = await self.log.read(self.topic, 0, PAGE_ENTRIES, urgent=True)
        if page.entries and page.entries[-1].position != page.head:
            page = await self.log.read(self.topic, page.head.seq, PAGE_ENTRIES, urgent=True)
        return page

    def _apply(self, page: Page) -> None:
        last = self.ring.last
        if page.head.seq <= last.seq and page.head != last:  # the log was undone
            self._distrust()
        self.ring.restart(page.head)
        if page.entries and page.entries[-1].position == page.head:
            self._put(page.entries[-1])

    def _held(self, position: Position) -> bool:
        return position == self.ring.last

    def _take(self, entry: Entry) -> bool:
        if entry.position.seq <= self.ring.last.seq:
            return False  # not newer: only the log can tell what that means
        self._put(entry)
        return True

    def _put(self, entry: Entry) -> None:
        self.ring.restart(Position(entry.position.seq - 1, entry.prev))
        self.ring.push(entry)
