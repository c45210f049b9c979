"""The memory log: it lasts as long as its process, for tests and for sites of one process."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence

from sse_app.conf import conf
from sse_app.entries import Entry, Page
from sse_app.eventlog.base import EventLog, new_tag
from sse_app.positions import GENESIS, Position


class MemoryEventLog(EventLog):
    """Entries in a bounded deque per topic. Appends on commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heads: dict[str, Position] = {}
        self._entries: dict[str, deque[Entry]] = {}

    def append(self, topic: str, event: str | None, data: str, *, keep_one: bool) -> Entry:
        """Append an event."""
        with self._lock:
            head = self._heads.get(topic, GENESIS)
            entry = Entry(topic, Position(head.seq + 1, new_tag()), head.tag, event, data)
            self._heads[topic] = entry.position
            entries = self._entries.setdefault(topic, deque(maxlen=conf.SSE_MEMORY_LOG_ENTRIES))
            if keep_one:
                entries.clear()
            entries.append(entry)
            return entry

    async def read(self, topic: str, from_seq: int, limit: int) -> Page:
        """Read head and entries."""
        with self._lock:
            entries = list(self._entries.get(topic, ()))
            head = self._heads.get(topic, GENESIS)
        start = max(0, from_seq - entries[0].position.seq) if entries else 0
        return Page(head, entries[start : start + limit + 1])

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads."""
        with self._lock:
            return {topic: self._heads[topic] for topic in topics if topic in self._heads}

    async def check(self) -> None:
        """Memory is always in reach."""

    def trim(self, topic: str, before_seq: int) -> None:
        """Remove the entries before a seq."""
        with self._lock:
            entries = self._entries.get(topic, deque())
            while entries and entries[0].position.seq < before_seq:
                entries.popleft()

    def wipe(self) -> None:
        """Forget everything, the heads too."""
        with self._lock:
            self._heads.clear()
            self._entries.clear()
