"""The doorbell: the message between processes that says a topic has a new event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sse_app.entries import Entry
from sse_app.positions import Position

# Larger events are fetched from the log: a broker is a bad place for big payloads.
MAX_INLINE_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A topic, where its log now stands, and the event itself where it is small.

    ``position`` is None for an ephemeral topic, which has no log: its bell always carries the event.
    """

    topic: str
    position: Position | None = None
    prev: str = ""
    event: str | None = None
    data: str | None = None

    @classmethod
    def of(cls, entry: Entry) -> "Doorbell":
        """Give the doorbell of a logged entry."""
        if len(entry.data) > MAX_INLINE_CHARACTERS:
            return cls(entry.topic, entry.position, entry.prev)
        return cls(entry.topic, entry.position, entry.prev, entry.event, entry.data)

    def entry(self) -> Entry | None:
        """Give the logged entry that the bell carries, if it carries one."""
        if self.position is None or self.data is None:
            return None
        return Entry(self.topic, self.position, self.prev, self.event, self.data)

    def to_message(self) -> dict[str, Any]:
        """Give the plain values that a channel layer carries."""
        seq, tag = self.position or (None, None)
        values = {
            "topic": self.topic,
            "seq": seq,
            "tag": tag,
            "prev": self.prev,
            "event": self.event,
            "data": self.data,
        }
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "Doorbell":
        """Read a bell back. Raises KeyError, TypeError or ValueError for anything else."""
        seq = message.get("seq")
        return cls(
            str(message["topic"]),
            None if seq is None else Position(int(seq), str(message["tag"])),
            str(message["prev"]),
            message.get("event"),
            message.get("data"),
        )
