"""Messages: events as a program gets them, and their JSON form for clients other than EventSource."""

from dataclasses import dataclass

from sse_app.payloads import to_json


@dataclass(frozen=True, slots=True)
class Message:
    """An event as a program gets it; ``id`` is the cursor to come back with."""

    topic: str
    event: str | None
    data: str
    id: str | None

    @property
    def record(self) -> dict[str, str | None]:
        """What WebSocket and long poll send.

        ``data`` is the text that an EventSource would get, never parsed: whether it is JSON is between
        publisher and reader. As for an EventSource, an event without a name is a "message".
        """
        return {"topic": self.topic, "event": self.event or "message", "data": self.data, "id": self.id}

    @property
    def frame(self) -> str:
        """The record as the text of a WebSocket message."""
        return to_json(self.record).decode()
