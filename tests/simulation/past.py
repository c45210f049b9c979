"""The past of a log: every state it was ever in, so that what clients are told can be judged.

The rules are written down here once more, on purpose: the oracle must not share the code it judges.
"""

from bisect import bisect_right
from typing import NamedTuple

from sse_app.positions import GENESIS, Position


class Violation(AssertionError):
    """A promise was broken."""


class Fact(NamedTuple):
    """An entry that a log has held at some time."""

    topic: str
    position: Position
    prev: str
    data: str


class State(NamedTuple):
    """What a topic's log was from a moment on: its head, and the entries it kept."""

    moment: int
    head: Position
    entries: tuple

    @property
    def before(self):
        """The position just before the oldest entry, or the head where nothing is kept."""
        if not self.entries:
            return self.head
        return Position(self.entries[0].position.seq - 1, self.entries[0].prev)

    def reason(self, position):
        """Say why the position could not be continued then; None where it could."""
        if position.seq > self.head.seq:
            return "rewound"
        first = self.entries[0].position.seq if self.entries else self.head.seq + 1
        place = position.seq - first
        if place >= 0 and self.entries:
            proof = self.entries[place].position.tag
        elif place == -1 and self.entries:
            proof = self.entries[0].prev
        elif position.seq == self.head.seq:
            proof = self.head.tag
        else:
            return "trimmed"
        return None if proof == position.tag else "forked"


class Past:
    """All states of all topics; a moment is the number of changes so far."""

    def __init__(self):
        self.moment = 0
        self.undone_at = 0
        self.facts = {}
        self.died = {}
        self._by_data = {}
        self._followers = {}
        self._states = {}
        self._alive = {}

    def appended(self, topic, head, entries):
        """Note an append; what is new must continue the chain."""
        before = self.now(topic).head
        new = [entry for entry in entries if entry.position.seq > before.seq]
        for entry in new:
            fact = Fact(topic, entry.position, entry.prev, entry.data)
            self.facts[topic, entry.position] = self._by_data[entry.data] = fact
            self._followers.setdefault((topic, Position(entry.position.seq - 1, entry.prev)), []).append(fact)
            self.alive(topic).add(entry.position)
        if new[0].position.seq == before.seq + 1 and new[0].prev != before.tag:
            raise Violation(f"{new[0]} does not continue {before}")
        self._change(topic, head, entries)

    def trimmed(self, topic, head, entries):
        """Note that the oldest entries are gone."""
        self._change(topic, head, entries)

    def undone(self, topic, head, entries, alive):
        """Note that the log is another one: what is not in it any more has died."""
        self._change(topic, head, entries)
        self.undone_at = self.moment
        for position in self.alive(topic) - alive:
            self.died[topic, position] = self.moment
        for position in alive:
            self.died.pop((topic, position), None)
        self._alive[topic] = set(alive)

    def alive(self, topic):
        """Give the positions of the log as it is, the trimmed ones too."""
        return self._alive.setdefault(topic, set())

    def now(self, topic):
        """Give the state of now."""
        return self._all(topic)[-1]

    def at(self, topic, moment):
        """Give the state at a moment."""
        states = self._all(topic)
        return states[bisect_right(states, moment, key=lambda state: state.moment) - 1]

    def since(self, topic, moment):
        """Give the states from a moment until now."""
        for state in reversed(self._all(topic)):
            yield state
            if state.moment <= moment:
                return

    def known(self, topic, position):
        """Say whether the log has ever stood there."""
        return position == GENESIS or (topic, position) in self.facts

    def beyond(self, topic, position, passes):
        """Give the position, and those that one comes to by passing some facts, in every log there was."""
        found = [position]
        for at in found:
            found += [fact.position for fact in self._followers.get((topic, at), ()) if passes(fact.data)]
        return found

    def by_data(self, data):
        """Find an entry by what it says."""
        return self._by_data.get(data)

    def _all(self, topic):
        states = self._states.get(topic)
        if states is None:
            states = self._states[topic] = [State(0, GENESIS, ())]
        return states

    def _change(self, topic, head, entries):
        self.moment += 1
        self._all(topic).append(State(self.moment, head, entries))
