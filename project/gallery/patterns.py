"""Patterns: which there are, in which order, and what a page needs to run each of them."""

import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from project.gallery import (
    clock,
    config,
    echo,
    failing,
    feed,
    heartbeat,
    launch,
    logs,
    metrics,
    producer,
    progress,
    raw,
    records,
    sensor,
    ticker,
    ticks,
    tokens,
    updates,
)
from sse_app.negotiation import FORMATS


@dataclass(frozen=True)
class Field:
    """One thing that a visitor may set: a parameter of the query, or a header of the request.

    ``lines``: it may have several. Without a value it is left out.
    """

    name: str
    label: str
    value: str = ""
    options: tuple[str, ...] = ()
    lines: bool = False
    header: bool = False


@dataclass(frozen=True)
class Pattern:
    """One pattern: a module with a view of its own name, and how its page reads it.

    ``reads``: "events" with an EventSource, "lines" of JSON or plain "bytes" with fetch. ``names``: the
    events to listen to. ``last``: the name or data of the one after which the page closes its side.
    ``ends``: the stream is over when the connection ends. ``gauges``: what to show as a bar, of 100, and
    its label.
    ``resumes``: a reload goes on where it was. ``curl``: options worth trying.
    """

    module: ModuleType
    reads: str = "events"
    names: tuple[str, ...] = ()
    last: str = ""
    ends: bool = False
    gauges: tuple[tuple[str, str], ...] = ()
    writes: bool = False
    resumes: bool = False
    fields: tuple[Field, ...] = ()
    curl: str = ""

    @property
    def name(self) -> str:
        """Give its name, which is that of its address."""
        return self.module.__name__.rpartition(".")[2]

    @property
    def view(self) -> Any:
        """Give the view that streams."""
        return getattr(self.module, self.name)

    @property
    def title(self) -> str:
        """Give its name as the module's docstring has it."""
        return self._docstring[0].partition(": ")[0]

    @property
    def lead(self) -> str:
        """Say in one line what it is."""
        line = self._docstring[0].partition(": ")[2]
        return line[:1].upper() + line[1:]

    @property
    def shows(self) -> list[str]:
        """Say in some paragraphs what it shows."""
        return self._docstring[1:]

    @property
    def code(self) -> str:
        """Give the lines of the module, without the docstring, which the page shows by itself."""
        source = inspect.getsource(self.module)
        return source.partition('"""')[2].partition('"""')[2].strip() + "\n"

    @property
    def _docstring(self) -> list[str]:
        paragraphs = (inspect.getdoc(self.module) or "").split("\n\n")
        return [" ".join(paragraph.split()) for paragraph in paragraphs]


@dataclass(frozen=True)
class Group:
    """Patterns that belong together."""

    title: str
    patterns: tuple[Pattern, ...]


GROUPS = (
    Group(
        "First streams",
        (
            Pattern(clock),
            Pattern(ticker),
            Pattern(ticks, names=("tick",), ends=True),
            Pattern(launch, names=("liftoff",), last="liftoff"),
            Pattern(feed, names=("news",), curl="-H 'Last-Event-ID: 41'"),
        ),
    ),
    Group(
        "Streams that go on where they were cut",
        (
            Pattern(
                updates,
                names=("update",),
                resumes=True,
                fields=(Field("every", "Seconds between two", "1"),),
                curl="-H 'Last-Event-ID: 96'",
            ),
            Pattern(
                metrics,
                names=("metrics",),
                gauges=(("cpu", "CPU"), ("memory", "Memory")),
                curl="-H 'Last-Event-ID: 41'",
            ),
            Pattern(
                progress,
                names=("progress",),
                gauges=(("percent", "Done"),),
                resumes=True,
                fields=(Field("duration", "Seconds of work", "20"),),
            ),
            Pattern(
                tokens,
                last="[DONE]",
                writes=True,
                resumes=True,
                fields=(
                    Field("pace", "Seconds for a token", "0.1"),
                    Field("linger", "Seconds it goes on without a reader", "30"),
                ),
            ),
        ),
    ),
    Group(
        "Shaped streams",
        (
            Pattern(heartbeat, fields=(Field("seconds", "Lifetime in seconds", "5"),)),
            Pattern(sensor, gauges=(("level", "Level"),)),
            Pattern(producer, curl="--limit-rate 1k"),
            Pattern(config),
        ),
    ),
    Group(
        "Streams of JSON",
        (
            Pattern(
                logs,
                reads="lines",
                fields=(
                    Field("service", "Service", options=("", *logs.SERVICES)),
                    Field("level", "Level", options=("", *sorted(set(logs.LEVELS)))),
                    Field("limit", "Entries", "1000"),
                ),
                curl="--compressed",
            ),
            Pattern(failing, reads="lines", fields=(Field("after", "Fails after", "30"),)),
            Pattern(
                records,
                reads="bytes",
                fields=(Field("Accept", "Accept", options=FORMATS, header=True),),
                curl="-H 'Accept: text/event-stream'",
            ),
        ),
    ),
    Group(
        "Bytes and values",
        (
            Pattern(raw, names=("greeting",), ends=True),
            Pattern(
                echo,
                reads="bytes",
                fields=(
                    Field("data", "Data", "Hello\n\nevent:click\ndata: not an event\n\n", lines=True),
                    Field("comment", "Comment", "\n\nevent:click\n\n", lines=True),
                    Field("event", "Event", "greeting"),
                    Field("id", "Id", "7"),
                ),
            ),
        ),
    ),
)

PATTERNS = {pattern.name: pattern for group in GROUPS for pattern in group.patterns}
