"""The roster of the memory log: it knows its own process."""

import threading
import time
from collections.abc import Collection, Mapping

from sse_app.roster.base import Presence, Roll, Roster


class MemoryRoster(Roster):
    """What the loops of this process say; nothing expires, for they end together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rolls: dict[str, dict[str, Roll]] = {}  # by topic and process
        self._changed: dict[str, float] = {}

    def write(self, process: str, rolls: Mapping[str, Roll]) -> None:
        """Write it down."""
        with self._lock:
            for topic, roll in rolls.items():
                kept = self._rolls.setdefault(topic, {})
                kept[process] = roll
                if not roll.readers:
                    del kept[process]
                self._changed[topic] = time.monotonic()

    def refresh(self, process: str) -> bool:
        """Nothing expires."""
        return True

    def leader(self) -> str | None:
        """Choose the first."""
        with self._lock:
            return min((process for rolls in self._rolls.values() for process in rolls), default=None)

    def news(self, since: float | None) -> tuple[float, Collection[str]]:
        """Look up what has changed, and forget it."""
        with self._lock:
            changed, self._changed = self._changed, {}
            return time.monotonic(), list(changed)

    def read(self, topics: Collection[str]) -> dict[str, Presence]:
        """Add it up."""
        with self._lock:
            return {topic: Presence.of(topic, self._rolls.get(topic, {}).values()) for topic in topics}
