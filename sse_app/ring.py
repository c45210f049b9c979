"""The ring: the bounded memory of one topic in one process.

What is promised
    A ring holds the newest entries of a topic as a chain: each entry's ``prev`` is the tag of the
    one before. It refuses an entry that does not continue the chain, so that what it holds is
    always a gapless piece of the log. ``base`` is the position before its oldest entry.

What a slow reader sees
    Every reader has a position of its own and takes what follows it. A reader is *live* while its
    position (seq and tag) is in the ring; it is never waited for. When the ring overflows, the
    oldest entries go. A reader whose position went with them gets None: the reader of a durable
    topic then catches up from the log, that of an ephemeral topic is told once how many it missed
    and goes on at the oldest kept entry.

What closing does
    Nothing: a ring owns no task and no connection.

Example::

    ring = Ring(GENESIS, max_entries=2)
    ring.push(entry)            # True: it continued the chain
    ring.after(GENESIS)         # [entry]
"""

from collections.abc import Sequence

from sse_app.entries import Entry
from sse_app.positions import GENESIS, Position


class RingBudget:
    """The bytes that all rings of a process may hold together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Ring:
    """The newest entries of one topic, at most ``max_entries`` of them, and within the budget."""

    def __init__(
        self, base: Position = GENESIS, *, max_entries: int, budget: RingBudget | None = None
    ) -> None:
        self.base = base
        self.last = base
        self._max_entries = max_entries
        self._budget = budget or RingBudget(1 << 62)
        self._entries: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, entry: Entry) -> bool:
        """Take the next entry; False, and nothing taken, where it does not continue the chain."""
        if entry.position.seq != self.last.seq + 1 or entry.prev != self.last.tag:
            return False
        self._entries[entry.position.seq] = entry
        self._budget.used += entry.size
        self.last = entry.position
        while len(self._entries) > self._max_entries or self._over_budget():
            self._drop_oldest()
        return True

    def holds(self, position: Position) -> bool:
        """Whether the position is that of an entry held, or the one before the oldest."""
        if position == self.base:
            return True
        entry = self._entries.get(position.seq)
        return entry is not None and entry.position == position

    def after(self, position: Position) -> Sequence[Entry] | None:
        """Give the entries that follow a position; None where the ring does not hold it."""
        if not self.holds(position):
            return None
        return [self._entries[seq] for seq in range(position.seq + 1, self.last.seq + 1)]

    def newest(self) -> Entry | None:
        """Give the last entry, if it is held."""
        return self._entries.get(self.last.seq)

    def restart(self, base: Position) -> None:
        """Forget all entries and go on after another position."""
        while self._entries:
            self._drop_oldest()
        self.base = self.last = base

    def _over_budget(self) -> bool:
        return self._budget.used > self._budget.limit and len(self._entries) > 1

    def _drop_oldest(self) -> None:
        entry = self._entries.pop(self.base.seq + 1)
        self._budget.used -= entry.size
        self.base = entry.position
