"""The report: what happened while each fault went on, as rows of a table."""

import math
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.topics import EPHEMERAL, GAP, QUIET

COLUMNS = (
    "fault",
    "seconds",
    "published",
    "acknowledged",
    "delivered",
    "resets",
    "repaired gaps",
    "disconnected",
    "reconnects",
    "longest silence",
    "p50",
    "p99",
    "settled in",
    "violations",
)


# Of two rounds of one fault.
ADDED = (
    "published",
    "acknowledged",
    "failed",
    "delivered",
    "resets",
    "refused",
    "repairs",
    "disconnected",
    "reconnects",
    "waits",
    "violations",
)


def percentile(values, share):
    """Give the smallest value that is not below that share of them; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


@dataclass
class Round:
    """One fault under load. Only ``ordinary`` readers count for times: the others wait on purpose."""

    fault: str
    ordinary: frozenset = frozenset()
    since: float = 0.0
    until: float = math.inf
    published: int = 0
    acknowledged: int = 0
    failed: int = 0
    delivered: int = 0
    resets: Counter = field(default_factory=Counter)
    refused: Counter = field(default_factory=Counter)
    repairs: int = 0
    reconnects: int = 0
    disconnected: int = 0  # of the reconnects, those that the reader did not want
    settled: float = math.nan
    seconds_before: float = 0.0
    waits: list = field(default_factory=list)
    listeners: set = field(default_factory=set)  # who heard the ephemeral topic
    violations: list = field(default_factory=list)
    _heard: dict = field(default_factory=dict)
    _silence: dict = field(default_factory=dict)

    def feed(self, record):
        """Count a record."""
        match record["kind"]:
            case "intent":
                self.published += 1
            case "ack":
                self.acknowledged += len(record["ids"])
            case "failed":
                self.failed += len(record["ids"])
            case "cut":
                self.reconnects += 1
                self.disconnected += not record["own"]
            case "open" if record["status"] != 200:
                self.refused[record["status"]] += 1
            case "block" if record["name"] == "reset":
                self.resets.update(one["reason"] for one in record["told"]["topics"])
            case "block" if "payload" in record:
                self._deliver(record)

    def _deliver(self, record):
        self.delivered += 1
        reader, t = record["reader"], record["t"]
        if (record["id"] or "").startswith(f"{EPHEMERAL}="):
            self.listeners.add(reader)
        elif reader in self.ordinary:
            self._hear(reader, t)
            self.waits.append(t - record["at"])

    def _hear(self, reader, t):
        heard = self._heard.get(reader, self.since)
        self._heard[reader] = t
        self._silence[reader] = max(self._silence.get(reader, 0.0), min(t, self.until) - heard)

    @property
    def silence(self):
        """The longest time in which a reader got nothing, while there was something to get."""
        return max(self._silence.values(), default=math.nan)

    @property
    def p50(self):
        return percentile(self.waits, 0.50)

    @property
    def p99(self):
        return percentile(self.waits, 0.99)

    def add(self, other):
        """Take in another round of the same fault."""
        for name in ADDED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.seconds_before += other.seconds
        self.settled = max(self.settled, other.settled)
        for reader, seconds in other._silence.items():
            self._silence[reader] = max(self._silence.get(reader, 0.0), seconds)

    @property
    def seconds(self):
        """How long there was load."""
        return self.seconds_before + self.until - self.since

    def row(self):
        """Give the cells of the table."""
        resets = ", ".join(f"{count} {reason}" for reason, count in sorted(self.resets.items())) or "0"
        failed = f" (+{self.failed} failed)" if self.failed else ""
        refused = "".join(f", {count}×{status}" for status, count in sorted(self.refused.items()))
        return (
            self.fault,
            f"{self.seconds:.0f}",
            self.published,
            f"{self.acknowledged}{failed}",
            self.delivered,
            resets,
            self.repairs,
            self.disconnected,
            f"{self.reconnects}{refused}",
            f"{self.silence:.1f} s",
            f"{1000 * self.p50:.0f} ms",
            f"{1000 * self.p99:.0f} ms",
            f"{self.settled:.1f} s",
            len(self.violations),
        )


class Healing:
    """How long it took until what a lost doorbell had hidden was delivered, for each reader."""

    def __init__(self):
        self._lasts = {}
        self._gaps = []
        self._heard = {}

    def feed(self, record):
        """Take a record of a publisher that loses bells, or of a reader."""
        match record["kind"]:
            case "last bell lost":
                self._lasts[record["id"]] = record["at"]
            case "bell lost":
                self._gaps.append(record)
            case "block" if (record["id"] or "").startswith((f"{QUIET}=", f"{GAP}=")) and "payload" in record:
                self._heard.setdefault(record["payload"], []).append(record["t"])

    def lasts(self):
        """Give the seconds from the publish whose bell was the last one."""
        return [t - at for id, at in self._lasts.items() for t in self._heard.get(id, [math.inf])]

    def gaps(self):
        """Give the seconds from the publish whose bell showed the gap, for the hidden event and for it."""
        return [
            t - gap["at"] for gap in self._gaps for id in gap["ids"] for t in self._heard.get(id, [math.inf])
        ]

    def __str__(self):
        def told(waits):
            if not waits:
                return "not measured"
            return (
                f"{len(waits)} deliveries, p50 {1000 * percentile(waits, 0.5):.0f} ms, "
                f"p99 {1000 * percentile(waits, 0.99):.0f} ms, longest {1000 * max(waits):.0f} ms"
            )

        return f"- last doorbell lost: {told(self.lasts())}\n- gap before another event: {told(self.gaps())}"


def merged(rounds):
    """Give one round for each fault."""
    sums = {}
    for each in rounds:
        sums.setdefault(each.fault, Round(each.fault, until=0.0, settled=0.0)).add(each)
    return list(sums.values())


def table(rounds):
    """Give the rounds as a table in Markdown."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(each.row() for each in rounds)]
    return "\n".join(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)
