"""What a process knows of its log having been undone: from then on old bells must not fool it.

A bell on its way while its log is undone may bring an event that the log has lost: nobody can know.
But once a tail has seen that its log was undone, it asks the log for every bell for as long as a
channel layer may still carry old ones, and no event that was lost by then comes from it again.
"""

from typing import NamedTuple

from sse_app.tail import LatestTail

DISTRUST = 60.0


class Knowledge(NamedTuple):
    """A tail has applied, at that turn and time, a read of a moment that refuted its ring."""

    moment: int
    turn: int
    time: float


class Undoing:
    """Watches what the tails of a world read."""

    def __init__(self, world):
        self._world = world
        self._known = {}

    def watching(self, apply):
        def watched(tail, page):
            last = tail.ring.last
            apply(tail, page)
            state = self._world.past.at(tail.topic, page.moment)
            if self._refuted(tail, state, last):
                self._known[tail] = Knowledge(page.moment, self._world.turn(), self._world.time())

        return watched

    def knew(self, tail, position, told_at):
        """Whether the tail knew, before it last told the client something, that the log has lost this."""
        known = self._known.get(tail)
        if known is None or told_at < known.turn or self._world.time() >= known.time + DISTRUST:
            return False
        died = self._world.past.died.get((tail.topic, position))
        return died is not None and died <= known.moment

    def _refuted(self, tail, state, last):
        if isinstance(tail, LatestTail):
            return state.head.seq <= last.seq and state.head != last
        return state.reason(last) is not None
