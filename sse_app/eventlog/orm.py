"""The ORM log: events are rows, and an append is part of the caller's transaction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from django.db import connections, router, transaction
from django.db.models import F, FilteredRelation, Q

from sse_app.conf import conf
from sse_app.entries import Entry, Page
from sse_app.eventlog.base import EventLog, new_tag
from sse_app.models import Event, Topic
from sse_app.positions import GENESIS, Position
from sse_app.readpool import ReadPool

T = TypeVar("T")
HEADS_PER_QUERY = 500


class ORMEventLog(EventLog):
    """Heads in ``Topic``, entries in ``Event``; reads in a few threads of its own."""

    transactional = True

    def __init__(self) -> None:
        self._pool = ReadPool(conf.SSE_LOG_READERS, on_exit=connections.close_all)

    @property
    def alias(self) -> str:
        """The database that is written: a replica that lags would look like a log rewound."""
        return router.db_for_write(Event)

    def append(self, topic: str, event: str | None, data: str, *, keep_one: bool) -> Entry:
        """Append an event; it exists if and only if the caller's transaction commits."""
        with transaction.atomic(using=self.alias, savepoint=False):
            row = self._move_head(topic)
            made = Event.objects.using(self.alias).create(
                topic=row, seq=row.seq, tag=row.tag, prev=row.prev, event=event or "", data=data
            )
            if keep_one:
                row.events.using(self.alias).exclude(pk=made.pk).delete()
        return Entry(topic, Position(row.seq, row.tag), row.prev, event, data)

    def _move_head(self, topic: str) -> Topic:
        """Move the head first and read it then: the update takes the lock that makes this safe."""
        row = Topic.objects.using(self.alias).filter(name=topic)
        moved = {"prev": F("tag"), "tag": new_tag(), "seq": F("seq") + 1}
        if not row.update(**moved):
            Topic.objects.using(self.alias).get_or_create(name=topic)
            row.update(**moved)
        return row.get()

    async def read(self, topic: str, from_seq: int, limit: int) -> Page:
        """Read head and entries in one statement."""
        return await self._run(lambda: self._read(topic, from_seq, limit))

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads, 500 at a time."""
        return await self._run(lambda: dict(self._heads(topics)))

    async def check(self) -> None:
        """Read something."""
        await self._run(lambda: Topic.objects.using(self.alias).exists())

    async def _run(self, query: Callable[[], T]) -> T:
        return await self._pool.run(lambda: self._query(query))

    def _query(self, query: Callable[[], T]) -> T:
        try:
            return query()
        except Exception:
            connections[self.alias].close()  # whatever is wrong with it, the next read gets anew
            raise

    def _read(self, topic: str, from_seq: int, limit: int) -> Page:
        rows = list(
            Topic.objects.using(self.alias)
            .filter(name=topic)
            .annotate(kept=FilteredRelation("events", condition=Q(events__seq__gte=from_seq)))
            .order_by("kept__seq")
            .values_list("seq", "tag", "kept__seq", "kept__tag", "kept__prev", "kept__event", "kept__data")[
                : limit + 1
            ]
        )
        if not rows:
            return Page(GENESIS, ())
        entries = [
            Entry(topic, Position(seq, tag), prev, event or None, data)
            for _, _, seq, tag, prev, event, data in rows
            if seq is not None
        ]
        return Page(Position(*rows[0][:2]), entries)

    def _heads(self, topics: Sequence[str]) -> Iterator[tuple[str, Position]]:
        for start in range(0, len(topics), HEADS_PER_QUERY):
            names = topics[start : start + HEADS_PER_QUERY]
            rows = Topic.objects.using(self.alias).filter(name__in=names)
            for name, seq, tag in rows.values_list("name", "seq", "tag"):
                yield name, Position(seq, tag)
