"""The contract of a roster: each process writes who reads what there, and anyone adds it up.

What a process says holds for ``SSE_PRESENCE_EXPIRY`` seconds, unless it says it again: the readers of
a process that was killed vanish by themselves. All methods are synchronous and are called in a thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

# Names of one topic in one process; there may be more readers.
MAX_NAMES = 1000


class Roll(NamedTuple):
    """The readers of one topic in one process, and the names of those who have signed in."""

    readers: int
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """How many streams read a topic in all processes, and which users: sorted, each once."""

    topic: str
    readers: int
    users: tuple[str, ...]

    @property
    def record(self) -> dict[str, Any]:
        """What clients are told."""
        return {"topic": self.topic, "readers": self.readers, "users": list(self.users)}

    @classmethod
    def of(cls, topic: str, rolls: Iterable[Roll]) -> "Presence":
        """Add up what the processes say."""
        rolls = list(rolls)
        users = {name for roll in rolls for name in roll.users}
        return cls(topic, sum(roll.readers for roll in rolls), tuple(sorted(users)))


class Roster(ABC):
    """What the keepers of presence need of the place where it is kept."""

    @abstractmethod
    def write(self, process: str, rolls: Mapping[str, Roll]) -> None:
        """Replace what the process says of these topics, and note that it has changed."""

    @abstractmethod
    def refresh(self, process: str) -> bool:
        """Let all that the process has said hold on; False if some of it had been removed."""

    @abstractmethod
    def leader(self) -> str | None:
        """Give the process that announces changes: one of those that have readers."""

    @abstractmethod
    def news(self, since: float | None) -> tuple[float, Collection[str]]:
        """Give the topics that have changed since the moment, or for as long as it can be told.

        With them comes the moment to ask from the next time. What has expired is removed by it.
        """

    @abstractmethod
    def read(self, topics: Collection[str]) -> dict[str, Presence]:
        """Add up what holds for these topics."""
