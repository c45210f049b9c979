"""The memory log: it lasts as long as its process, for tests and for sites of one process."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from sse_app.conf import conf
from sse_app.entries import Entry, Page
from sse_app.eventlog.base import Draft, EventLog, Receipt, new_tag, receipts, unknown
from sse_app.positions import GENESIS, Position


class MemoryEventLog(EventLog):
    """Entries in a bounded deque per topic. Appends on commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[str, Position] = {}
        self._entries: dict[str, deque[Entry]] = {}
        self._keys: dict[str, dict[str, tuple[datetime, Receipt]]] = {}

    def append_many(self, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> list[Receipt]:
        """Append events."""
        with self._lock:
            known = self._known(topic, drafts)
            appended = [self._append(topic, draft) for draft in unknown(drafts, known)]
            kept = self._entries.setdefault(topic, deque(maxlen=conf.SSE_MEMORY_LOG_ENTRIES))
            if keep_one and appended:
                kept.clear()
            kept.extend(appended[-1:] if keep_one else appended)
            given = receipts(drafts, known, appended)
            self._remember(topic, drafts, given)
            return given

    def _append(self, topic: str, draft: Draft) -> Entry:
        head = self._heads.get(topic, GENESIS)
        position = Position(head.seq + 1, new_tag())
        entry = Entry(topic, position, head.tag, draft.event, draft.data, timezone.now())
        self._heads[topic] = entry.position
        return entry

    def _known(self, topic: str, drafts: Sequence[Draft]) -> dict[str, Receipt]:
        """Forget the keys that the window has passed, the oldest come first, and look up the rest."""
        keys = self._keys.setdefault(topic, {})
        before = timezone.now() - timedelta(seconds=conf.SSE_IDEMPOTENCY_WINDOW)
        while keys and keys[oldest := next(iter(keys))][0] < before:
            del keys[oldest]
        return {draft.key: keys[draft.key][1] for draft in drafts if draft.key in keys}

    def _remember(self, topic: str, drafts: Sequence[Draft], given: Sequence[Receipt]) -> None:
        for draft, receipt in zip(drafts, given, strict=True):
            if draft.key is not None:
                self._keys[topic].setdefault(draft.key, (timezone.now(), receipt._replace(entry=None)))

    def heads_now(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads."""
        with self._lock:
            return {topic: self._heads[topic] for topic in topics if topic in self._heads}

    async def read(self, topic: str, from_seq: int, limit: int, *, urgent: bool = False) -> Page:
        """Read head and entries."""
        with self._lock:
            entries = list(self._entries.get(topic, ()))
            head = self._heads.get(topic, GENESIS)
        start = max(0, from_seq - entries[0].position.seq) if entries else 0
        return Page(head, entries[start : start + limit + 1])

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads."""
        return self.heads_now(topics)

    async def first_since(self, topic: str, moment: datetime) -> int:
        """Look for the entry."""
        with self._lock:
            entries = list(self._entries.get(topic, ()))
            head = self._heads.get(topic, GENESIS)
        found = (entry.position.seq for entry in entries if (entry.created_at or moment) >= moment)
        return next(found, head.seq + 1)

    async def check(self) -> None:
        """Memory is always in reach."""

    def topics(self) -> list[str]:
        """Give the names of all topics."""
        with self._lock:
            return sorted(self._heads)

    def trim(self, topic: str, *, keep: int | None, before: datetime | None) -> int:
        """Remove the oldest entries."""
        with self._lock:
            entries = self._entries.get(topic, deque())
            count = len(entries)
            while entries and (
                (keep is not None and len(entries) > keep)
                or (before is not None and (entries[0].created_at or before) < before)
            ):
                entries.popleft()
            return count - len(entries)

    def wipe(self) -> None:
        """Forget everything, the heads too."""
        with self._lock:
            self._heads.clear()
            self._entries.clear()
            self._keys.clear()
