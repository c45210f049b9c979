"""The truth: what publishers, the witness and those who made the faults say was in the log, and when."""

from dataclasses import dataclass, field
from typing import NamedTuple

GENESIS_SEQ = 0


class At(NamedTuple):
    """A position in one topic's log."""

    topic: str
    seq: int
    tag: str

    def __str__(self):
        return f"{self.topic}={self.seq}-{self.tag}"


@dataclass(frozen=True)
class Entry:
    """What stands at a position; ``t`` is when that was first seen in the log."""

    prev: str
    id: str
    t: float


@dataclass(frozen=True)
class Trim:
    """Entries before ``first_kept`` were removed, at some time after ``since``."""

    topic: str
    since: float
    first_kept: int


@dataclass(frozen=True)
class Undo:
    """The log was emptied or set back, at most to ``heads`` (seqs by topic), between the two times."""

    since: float
    until: float
    heads: dict


@dataclass
class Truth:
    """Everything known of the log. ``transactional``: an acknowledged event is in it, position or not."""

    transactional: bool
    latest: frozenset = frozenset()
    ephemeral: frozenset = frozenset()
    entries: dict = field(default_factory=dict)
    lines: dict = field(default_factory=dict)
    intents: dict = field(default_factory=dict)
    places: dict = field(default_factory=dict)
    rolled_back: set = field(default_factory=set)
    twice: list = field(default_factory=list)
    acknowledged: list = field(default_factory=list)
    trims: list = field(default_factory=list)
    undos: list = field(default_factory=list)
    heads: dict = field(default_factory=dict)
    heads_since: float = 0.0

    def feed(self, record):
        """Take a record of a publisher or of the witness."""
        match record["kind"]:
            case "intent":
                self.intents[record["id"]] = record["topic"]
            case "undone":
                self.rolled_back.update(record["ids"])
            case "ack":
                for id, topic, position in zip(
                    record["ids"], record["topics"], record["positions"], strict=True
                ):
                    self.acknowledged.append((id, topic, position, record["t"]))
            case "entry":
                at = At(record["topic"], record["seq"], record["tag"])
                self._enter(at, Entry(record["prev"], record["id"], record["t"]))
            case "heads":
                self.heads = {topic: At(topic, *at) for topic, at in record["heads"].items()}
                self.heads_since = record["since"]

    def _enter(self, at, entry):
        self.entries.setdefault(at, entry)
        self.lines.setdefault(at.topic, {})[at.seq] = at
        if self.places.get(entry.id, at) != at:
            self.twice.append((entry.id, self.places[entry.id], at))
        self.places[entry.id] = at

    def rivals(self, at):
        """Whether another event stands, or stood, at that place or on another one before it."""
        line = self.lines.get(at.topic, {})
        here, following = line.get(at.seq), line.get(at.seq + 1)
        return (here is not None and here != at) or (
            following is not None and self.entries[following].prev != at.tag
        )

    def undone_by(self, t):
        """Whether the log was undone before the time."""
        return any(undo.since <= t for undo in self.undos)

    def may_be_undone(self, t):
        """Whether what was written at the time may have been undone since."""
        return any(t <= undo.until for undo in self.undos)

    def refutes(self, at, reason, t):
        """Whether the log could not prove a position, for that reason, at some moment until ``t``."""
        if reason == "trimmed":
            return any(
                trim.topic == at.topic and trim.since <= t and trim.first_kept > at.seq + 1
                for trim in self.trims
            )
        entry = self.entries.get(at)
        undos = [undo for undo in self.undos if undo.since <= t and (entry is None or entry.t <= undo.until)]
        if reason == "rewound":
            return any(undo.heads.get(at.topic, GENESIS_SEQ) < at.seq for undo in undos)
        return reason == "forked" and bool(undos) and self.rivals(at)

    def between(self, topic, after, until):
        """Give the entries after one seq, up to another."""
        line = self.lines.get(topic, {})
        return [(line[seq], self.entries[line[seq]]) for seq in range(after + 1, until + 1) if seq in line]
