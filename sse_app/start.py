"""Where a reader begins in a topic, as its client says it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sse_app.positions import GENESIS, Position, decode_cursor


@dataclass(frozen=True, slots=True)
class Start:
    """After a position, with the first event since a moment, or, with neither, with what comes new.

    It is ``unknown`` where the client has been somewhere, but it can't be read where.
    """

    position: Position | None = None
    since: datetime | None = None
    unknown: bool = False

    @property
    def is_new(self) -> bool:
        """Whether the client claims nothing."""
        return self == Start()

    @property
    def is_unproven(self) -> bool:
        """Whether it opens the past to a client that need not have read anything before."""
        return self.since is not None or self.position == GENESIS


def read_starts(
    topics: Collection[str], cursor: str | None, since: datetime | None = None
) -> dict[str, Start]:
    """Read the cursor that a client sends; without one, its topics begin ``since`` the moment."""
    if not cursor:
        return {topic: Start(since=since) for topic in topics}
    claims = decode_cursor(cursor)
    if claims is None or claims.keys().isdisjoint(topics):
        return {topic: Start(unknown=True) for topic in topics}
    return {
        topic: Start(claims[topic], unknown=claims[topic] is None) if topic in claims else Start()
        for topic in topics
    }
