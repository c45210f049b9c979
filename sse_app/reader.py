"""Readers: one stream, its places in its topics, and an alarm that rings when one has news."""

import asyncio

from sse_app.place import Item, Place
from sse_app.positions import Position


class Reader:
    """One stream: a place in each of its topics, and an alarm that rings when one has news."""

    def __init__(self) -> None:
        self.closed = False
        self.name: str | None = None  # the user's, "" for one who is not known; None: it is no client's
        self.places: dict[str, Place] = {}
        self._due: dict[str, None] = {}
        self._alarm = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether every topic has been started."""
        return all(place.ready for place in self.places.values())

    @property
    def settled(self) -> bool:
        """Whether everything was taken, and no place has asked the log for more."""
        return not self._due and not any(place.asking for place in self.places.values())

    @property
    def positions(self) -> dict[str, Position | None]:
        """The position in each topic; None for one without a log, or not known yet."""
        return {topic: place.position if place.durable else None for topic, place in self.places.items()}

    def wake(self, topic: str) -> None:
        """Ring the alarm: the topic has something to take."""
        self._due[topic] = None
        self._alarm.set()

    def begin(self) -> None:
        """Choose where to start in each topic; call it once, when ready."""
        for place in self.places.values():
            place.begin()
        self._due = dict.fromkeys(self.places)

    def take(self) -> list[Item]:
        """Take what there is, without waiting.

        While a topic has no place yet, only its own: no event could be given a cursor.
        """
        unplaced = {topic for topic, place in self.places.items() if place.position is None}
        due = [topic for topic in self._due if not unplaced or topic in unplaced]
        for topic in due:
            del self._due[topic]
        return [item for topic in due for item in self.places[topic].take()]

    async def wait(self, deadline: float | None) -> bool:
        """Wait for the alarm; False once the deadline, a time of the loop, has passed."""
        if deadline is not None and asyncio.get_running_loop().time() >= deadline:
            return False  # also if the alarm rings all the time without anything to take
        try:
            async with asyncio.timeout_at(deadline):
                await self._alarm.wait()
        except TimeoutError:
            return False
        self._alarm.clear()
        return True

    def close(self) -> None:
        """Leave all topics; may be called twice."""
        self.closed = True
        self._alarm.set()
        for place in self.places.values():
            place.close()
        self.places.clear()
