"""The checker: it reads what every reader saw, and says where that breaks what must always hold.

Fed with the records of readers as they come, it keeps where each reader is; ``verify`` then compares
what was seen since with the truth. It judges by itself: nothing of the app is imported.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.truth import At, Truth


class Violation(NamedTuple):
    """What was broken, for whom."""

    kind: str
    reader: int | None
    what: str


@dataclass
class Seen:
    """A reader's way through one topic since it began, was reset, or was last verified."""

    since: At
    ids: set = field(default_factory=set)


@dataclass
class ReaderState:
    """Where a reader is; ``at`` mirrors the cursor that it holds."""

    topics: tuple
    cursor: str = ""
    at: dict = field(default_factory=dict)
    ways: dict = field(default_factory=dict)


class Checker:
    """Finds violations in records. ``topics``: what each reader reads, by its number."""

    def __init__(self, truth: Truth, topics):
        self.truth = truth
        self.readers = {number: ReaderState(tuple(names)) for number, names in topics.items()}
        self.violations = []
        self._payloads = {}
        self._followed = {}
        self._unverified = set()
        self._resets = []

    def feed(self, record):
        """Take a record of any process."""
        if "reader" not in record:
            self.truth.feed(record)
            return
        number = record["reader"]
        state = self.readers[number]
        match record["kind"]:
            case "began":
                self._began(number, state, record["cursor"])
            case "block":
                self._block(number, state, record)

    def behind(self):
        """Give the readers that are not where the log is, with the topic."""
        return [
            (number, topic, state.at.get(topic), head)
            for number, state in self.readers.items()
            for topic, head in self.truth.heads.items()
            if topic in state.topics and state.at.get(topic) != head and not self._empty(topic, head)
        ]

    def _empty(self, topic, head):
        """A latest topic without a value has nothing to give to those who have an old one."""
        return topic in self.truth.latest and head.seq == 0

    def verify(self):
        """Compare what was seen with the truth; call it when the readers have caught up."""
        for at in self._unverified:
            self._verify_event(at, self._payloads[at])
        self._unverified.clear()
        for number, at, told, goes_on, t in self._resets:
            self._verify_reset(number, at, told, goes_on, t)
        self._resets.clear()
        self._verify_published()
        for number, state in self.readers.items():
            for topic in state.ways:
                self._verify_way(number, state, topic)

    def _began(self, number, state, cursor):
        if not cursor:
            state.at, state.ways = {}, {}
        elif cursor != state.cursor:
            self._violate("harness", number, f"resumes at {cursor!r} after {state.cursor!r}")
        state.cursor = cursor

    def _block(self, number, state, record):
        if record["id"] is None:
            if record["name"] not in ("reset", "lagged"):
                self._violate("no id", number, f"{record}")
            return
        state.cursor = record["id"]
        cursor = parse_cursor(record["id"])
        moved = ()
        if record["name"] == "reset":
            moved = self._reset(number, state, record, cursor)
        elif "payload" in record:
            moved = self._event(number, state, record, cursor)
        for at in cursor.values():
            if at is not None and at.topic not in moved:
                self._unmoved(number, state, at)

    def _unmoved(self, number, state, at):
        known = state.at.setdefault(at.topic, at)
        state.ways.setdefault(at.topic, Seen(at))
        if known != at:
            self._violate("gap", number, f"the cursor went from {known} to {at} without an event")
            self._move(state, at)

    def _event(self, number, state, record, cursor):
        topic = next(iter(cursor))
        at, id = cursor[topic], record["payload"]
        if at is None:
            self._verify_id(number, topic, id, topic)
            return ()
        before = state.at.get(topic)
        if self._payloads.setdefault(at, id) != id:
            self._violate("payload", number, f"{id} at {at}, where others saw {self._payloads[at]}")
        self._unverified.add(at)
        if before is None:
            self._violate("no position", number, f"{id} at {at} before the topic had a position")
        elif topic in self.truth.latest:
            self._newer(number, before, at, record["t"])
        else:
            self._next(number, before, at)
        state.at[topic] = at
        state.ways.setdefault(topic, Seen(at)).ids.add(id)
        return (topic,)

    def _next(self, number, before, at):
        if at.seq <= before.seq:
            self._violate("repeat" if at == before else "order", number, f"{at} after {before}")
        elif at.seq > before.seq + 1:
            self._violate("gap", number, f"{at} after {before}: {at.seq - before.seq - 1} are missing")
        else:
            self._followed.setdefault(at, set()).add(before.tag)

    def _newer(self, number, before, at, t):
        if at.seq <= before.seq and (at == before or not self.truth.undone_by(t)):
            self._violate("repeat" if at == before else "order", number, f"{at} after {before}")

    def _reset(self, number, state, record, cursor):
        told = record["told"]["topics"]
        for one in told:
            topic = one["topic"]
            goes_on = cursor.get(topic)
            self._resets.append((number, state.at.get(topic), one, goes_on, record["t"]))
            if goes_on is not None:
                self._move(state, goes_on)
        return [one["topic"] for one in told]

    def _move(self, state, at):
        state.at[at.topic] = at
        state.ways[at.topic] = Seen(at)

    def _verify_reset(self, number, at, told, goes_on, t):
        topic, reason, missed = told["topic"], told["reason"], told["missed"]
        if at is None or not self.truth.refutes(at, reason, t):
            self._violate("false reset", number, f"{topic}: {reason} at {at}")
        elif reason == "trimmed" and goes_on is not None and missed != goes_on.seq - at.seq:
            self._violate("false count", number, f"{missed} missed from {at} to {goes_on}")

    def _verify_event(self, at, id):
        self._verify_id(None, at.topic, id, at)
        entry = self.truth.entries.get(at)
        if entry is None:
            if at.topic not in self.truth.latest and not self.truth.undos:
                self._violate("unknown", None, f"{id} at {at}, which the log never had")
        elif entry.id != id:
            self._violate("payload", None, f"{id} at {at}, where the log has {entry.id}")
        elif at in self._followed and self._followed.pop(at) != {entry.prev}:
            self._violate("fork", None, f"{at} came after another one than {entry.prev}")

    def _verify_id(self, number, topic, id, at):
        if id in self.truth.rolled_back:
            self._violate("rolled back", number, f"{id} at {at} was delivered")
        elif self.truth.intents.get(id) != topic:
            self._violate("unknown", number, f"{id} at {at} was never published there")

    def _verify_published(self):
        truth = self.truth
        for id, topic, position, t in truth.acknowledged:
            if topic in truth.latest or topic in truth.ephemeral or truth.may_be_undone(t):
                continue
            if position is None:
                lost = truth.transactional and id not in truth.places
            else:
                entry = truth.entries.get(At(topic, *position))
                lost = entry is None or entry.id != id
            if lost:
                self._violate("lost by the log", None, f"{id}, acknowledged at {topic} {position}")
        truth.acknowledged.clear()
        for id, first, second in truth.twice:
            if not truth.may_be_undone(truth.entries[first].t):
                self._violate("appended twice", None, f"{id} at {first} and {second}")
        truth.twice.clear()
        for id in truth.rolled_back & truth.places.keys():
            self._violate("rolled back", None, f"{id} is in the log at {truth.places[id]}")

    def _verify_way(self, number, state, topic):
        """Whatever the log got on the reader's way was delivered to it, by the ids of the publishers."""
        way, at = state.ways[topic], state.at[topic]
        if topic not in self.truth.latest:
            for place, entry in self.truth.between(topic, way.since.seq, at.seq):
                if entry.id not in way.ids:
                    self._violate("lost", number, f"{entry.id} at {place}, between {way.since} and {at}")
        state.ways[topic] = Seen(at)

    def _violate(self, kind, number, what):
        self.violations.append(Violation(kind, number, what))


def parse_cursor(text):
    """Read an id: for each topic its position, None for one without a log; in the order of the id."""
    cursor = {}
    for part in text.split("&"):
        topic, _, position = part.partition("=")
        seq, _, tag = position.partition("-")
        cursor[topic] = At(topic, int(seq), tag) if position else None
    return cursor
