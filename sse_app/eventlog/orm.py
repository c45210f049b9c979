"""The ORM log: events are rows, and an append is part of the caller's transaction."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import router, transaction
from django.db.models import F, FilteredRelation, Q, QuerySet, Subquery
from django.utils import timezone

from sse_app import database
from sse_app.conf import conf
from sse_app.entries import Entry, Page
from sse_app.eventlog.base import Draft, EventLog, Receipt, new_tag, receipts, unknown
from sse_app.models import Event, IdempotencyKey, Topic
from sse_app.positions import GENESIS, Position

ENTRY = ("seq", "tag", "prev", "event", "data", "created_at")
HEADS_PER_QUERY = 500
# Inserted or deleted at once.
ROWS_PER_STATEMENT = 500


class ORMEventLog(EventLog):
    """Heads in ``Topic``, entries in ``Event``; reads in the few threads of ``database``."""

    transactional = True
    roster = "sse_app.roster.orm.ORMRoster"

    @property
    def alias(self) -> str:
        """The database that is written: a replica that lags would look like a log rewound."""
        return router.db_for_write(Event)

    def append_many(self, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> list[Receipt]:
        """Append events; they exist if and only if the caller's transaction commits."""
        with transaction.atomic(using=self.alias, savepoint=False):
            keys = [draft.key for draft in drafts if draft.key is not None]
            known = self._known(topic, keys) if keys else {}
            fresh = unknown(drafts, known)
            entries = self._append(topic, fresh, keep_one=keep_one) if fresh else []
            given = receipts(drafts, known, entries)
            if keys:
                self._remember(topic, drafts, given)
        return given

    def _append(self, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> list[Entry]:
        tags = [new_tag() for _ in drafts]
        row = self._move_head(topic, len(drafts), tags[-1])
        first = row.seq - len(drafts) + 1
        entries = [
            Entry(topic, Position(first + index, tag), prev, draft.event, draft.data)
            for index, (tag, prev, draft) in enumerate(zip(tags, [row.prev, *tags], drafts, strict=False))
        ]
        self._insert(row, entries[-1:] if keep_one else entries)
        if keep_one:
            row.events.using(self.alias).filter(seq__lt=row.seq).delete()
        return entries

    def _insert(self, row: Topic, entries: Sequence[Entry]) -> None:
        Event.objects.using(self.alias).bulk_create(
            (
                Event(
                    topic=row,
                    seq=entry.position.seq,
                    tag=entry.position.tag,
                    prev=entry.prev,
                    event=entry.event or "",
                    data=entry.data,
                )
                for entry in entries
            ),
            batch_size=ROWS_PER_STATEMENT,
        )

    def _move_head(self, topic: str, by: int, tag: str) -> Topic:
        """Move the head first and read it then: the update takes the lock that makes this safe."""
        return self._update(topic, prev=F("tag"), tag=tag, seq=F("seq") + by)

    def _update(self, topic: str, **changes: Any) -> Topic:
        row = Topic.objects.using(self.alias).filter(name=topic)
        if not row.update(**changes):
            Topic.objects.using(self.alias).get_or_create(name=topic)
            row.update(**changes)
        return row.get()

    def _known(self, topic: str, keys: Sequence[str]) -> dict[str, Receipt]:
        """Look up keys under the lock of the head, so that no two transactions miss each other's."""
        self._update(topic, seq=F("seq"))
        rows = self._keys(topic).filter(key__in=keys, created_at__gte=_window_start())
        return {
            key: Receipt(Position(seq, tag), prev, None)
            for key, seq, tag, prev in rows.values_list("key", "seq", "tag", "prev")
        }

    def _remember(self, topic: str, drafts: Sequence[Draft], given: Sequence[Receipt]) -> None:
        new = {
            draft.key: receipt
            for draft, receipt in zip(drafts, given, strict=True)
            if draft.key is not None and receipt.entry is not None
        }
        row = Topic.objects.using(self.alias).get(name=topic)
        self._keys(topic).filter(key__in=new).delete()  # those that the window has passed
        IdempotencyKey.objects.using(self.alias).bulk_create(
            IdempotencyKey(topic=row, key=key, seq=at.position.seq, tag=at.position.tag, prev=at.prev)
            for key, at in new.items()
        )

    def _keys(self, topic: str) -> QuerySet[IdempotencyKey]:
        return IdempotencyKey.objects.using(self.alias).filter(topic__name=topic)

    def topics(self) -> list[str]:
        """Give the names of all topics."""
        return list(Topic.objects.using(self.alias).order_by("name").values_list("name", flat=True))

    def trim(self, topic: str, *, keep: int | None, before: datetime | None) -> int:
        """Remove the oldest entries, in short transactions that hold no lock on the head."""
        head = Topic.objects.using(self.alias).filter(name=topic).first()
        events = Event.objects.using(self.alias).filter(topic=head).order_by("seq")
        oldest = events.values_list("seq", flat=True).first()
        if head is None or oldest is None:
            return 0
        first_kept = oldest
        if keep is not None:
            first_kept = max(first_kept, head.seq - keep + 1)
        if before is not None:
            first_kept = max(first_kept, self._first_since(topic, before))
        for start in range(oldest, first_kept, ROWS_PER_STATEMENT):
            end = min(start + ROWS_PER_STATEMENT, first_kept)
            events.filter(seq__lt=end).order_by().delete()
        return first_kept - oldest

    def forget_keys(self) -> int:
        """Forget old keys, in short transactions as well."""
        keys = IdempotencyKey.objects.using(self.alias)
        forgotten = 0
        while old := list(keys.filter(created_at__lt=_window_start()).values_list("pk")[:ROWS_PER_STATEMENT]):
            forgotten += keys.filter(pk__in=[pk for (pk,) in old]).delete()[0]
        return forgotten

    async def read(self, topic: str, from_seq: int, limit: int, *, urgent: bool = False) -> Page:
        """Read head and entries in one statement."""
        return await database.read(lambda: self._read(topic, from_seq, limit), urgent=urgent)

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads, 500 at a time."""
        return await database.read(lambda: self.heads_now(topics), urgent=True)

    def heads_now(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads on the caller's own connection."""
        return dict(self._heads(topics))

    async def first_since(self, topic: str, moment: datetime) -> int:
        """Look for the entry in one statement."""
        return await database.read(lambda: self._first_since(topic, moment))

    async def check(self) -> None:
        """Read something."""
        await database.read(lambda: Topic.objects.using(self.alias).exists())

    def _read(self, topic: str, from_seq: int, limit: int) -> Page:
        rows = list(
            Topic.objects.using(self.alias)
            .filter(name=topic)
            .annotate(kept=FilteredRelation("events", condition=Q(events__seq__gte=from_seq)))
            .order_by("kept__seq")
            .values_list("seq", "tag", *(f"kept__{name}" for name in ENTRY))[: limit + 1]
        )
        if not rows:
            return Page(GENESIS, ())
        entries = [
            Entry(topic, Position(seq, tag), prev, event or None, data, created_at)
            for _, _, seq, tag, prev, event, data, created_at in rows
            if seq is not None
        ]
        return Page(Position(*rows[0][:2]), entries)

    def _first_since(self, topic: str, moment: datetime) -> int:
        young = Event.objects.using(self.alias).filter(topic__name=topic, created_at__gte=moment)
        head = Topic.objects.using(self.alias).filter(name=topic)
        found = head.annotate(first=Subquery(young.order_by("seq").values("seq")[:1])).values_list(
            "seq", "first"
        )
        seq, first = found.first() or (GENESIS.seq, None)
        return seq + 1 if first is None else first

    def _heads(self, topics: Sequence[str]) -> Iterator[tuple[str, Position]]:
        for start in range(0, len(topics), HEADS_PER_QUERY):
            names = topics[start : start + HEADS_PER_QUERY]
            rows = Topic.objects.using(self.alias).filter(name__in=names)
            for name, seq, tag in rows.values_list("name", "seq", "tag"):
                yield name, Position(seq, tag)


def _window_start() -> datetime:
    return timezone.now() - timedelta(seconds=conf.SSE_IDEMPOTENCY_WINDOW)
