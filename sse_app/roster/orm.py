"""The roster of the ORM log: a row for each process and topic, by the clock of the database."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections, router
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from sse_app.conf import conf
from sse_app.models import PresenceRoll
from sse_app.roster.base import Presence, Roll, Roster

# A change may become visible later than the time it carries.
OVERLAP_SECONDS = 2.0


class ORMRoster(Roster):
    """Rows that a process renews together, in one statement."""

    @property
    def _rows(self) -> QuerySet[PresenceRoll]:
        return PresenceRoll.objects.using(router.db_for_write(PresenceRoll))

    @property
    def _live(self) -> QuerySet[PresenceRoll]:
        return self._rows.filter(readers__gt=0, seen_at__gte=_ago(conf.SSE_PRESENCE_EXPIRY))

    def write(self, process: str, rolls: Mapping[str, Roll]) -> None:
        """Insert or update the rows in one statement; nobody is a number too, until it expires."""
        features: Any = connections[self._rows.db].features
        self._rows.bulk_create(
            [
                PresenceRoll(
                    process=process,
                    topic=topic,
                    readers=roll.readers,
                    users=list(roll.users),
                    seen_at=Now(),
                    changed_at=Now(),
                )
                for topic, roll in rolls.items()
            ],
            update_conflicts=True,
            update_fields=["readers", "users", "seen_at", "changed_at"],
            unique_fields=["process", "topic"] if features.supports_update_conflicts_with_target else None,
        )

    def refresh(self, process: str) -> bool:
        """Renew the rows."""
        return bool(self._rows.filter(process=process, readers__gt=0).update(seen_at=Now()))

    def leader(self) -> str | None:
        """Choose the first."""
        return self._live.order_by("process").values_list("process", flat=True).first()

    def news(self, since: float | None) -> tuple[float, Collection[str]]:
        """Read changed and expired rows in one statement; remove the expired ones if there are any."""
        expired = Q(seen_at__lt=_ago(conf.SSE_PRESENCE_EXPIRY))
        changed = Q() if since is None else Q(changed_at__gte=_moment(since))
        rows = self._rows.filter(expired | changed) if since is not None else self._rows.all()
        found = list(rows.annotate(now=Now(), age=Now() - F("seen_at")).values_list("topic", "now", "age"))
        if any(age.total_seconds() > conf.SSE_PRESENCE_EXPIRY for _, _, age in found):
            self._rows.filter(expired).delete()
        latest = max((now.timestamp() for _, now, _ in found), default=None)
        goes_on = since if latest is None else latest - OVERLAP_SECONDS
        return goes_on if goes_on is not None else 0.0, {topic for topic, _, _ in found}

    def read(self, topics: Collection[str]) -> dict[str, Presence]:
        """Add up the rows in one statement."""
        rolls: dict[str, list[Roll]] = {topic: [] for topic in topics}
        rows = self._live.filter(topic__in=topics).values_list("topic", "readers", "users")
        for topic, readers, users in rows:
            rolls[topic].append(Roll(readers, tuple(users)))
        return {topic: Presence.of(topic, found) for topic, found in rolls.items()}


def _ago(seconds: float) -> Any:
    return Now() - timedelta(seconds=seconds)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
