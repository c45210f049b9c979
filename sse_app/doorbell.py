"""The doorbell: the message between processes that says a topic has a new event."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sse_app.entries import Entry
from sse_app.positions import Position

# Larger events are fetched from the log: a broker is a bad place for big payloads.
MAX_INLINE_CHARACTERS = 8192
# What a layer hands over is checked here, so that a stray message can't stop a tail or a reader.
_TYPES = {"topic": str, "seq": int, "tag": str, "prev": str, "event": str, "data": str}


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
        for key, kind in _TYPES.items():
            if key in message and type(message[key]) is not kind:
                raise TypeError(f"{key}: must be of type {kind.__name__}, not {message[key]!r}")
        position = Position(message["seq"], message["tag"]) if "seq" in message else None
        data = message.get("data")
        if position is None and data is None:
            raise ValueError("a bell without a position must carry its event")
        return cls(message["topic"], position, message["prev"], message.get("event"), data)
