"""Inboxes: what one user, or a visitor, sees of the notifications."""

from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async

from sse_app.conf import topic_rules
from sse_app.models import Notification, NotificationQuerySet, shared_topic
from sse_app.notifications import EVENT
from sse_app.payloads import to_text
from sse_app.permissions import (
    EventFilter,
    Scope,
    User,
    event_filters,
    may_replay,
    may_subscribe,
    user_topic,
)
from sse_app.subscribing import current_cursor
from sse_app.topics import IllegalTopic, UnknownTopic

PAGE = 20
# A bell that says "99+" needs to know no more of them.
MOST_UNREAD_IDS = 100


@dataclass(frozen=True, slots=True)
class Inbox:
    """What the policy lets a user see, as the current transaction has it.

    ``topics`` tell what comes after it, from ``cursor`` on.
    """

    user: User
    topics: tuple[str, ...]
    cursor: str
    notifications: NotificationQuerySet

    def page(self, before: int | None = None, limit: int = PAGE) -> tuple[list[Notification], bool]:
        """Give the newest ones, or those before an id, newest first; and whether there are more."""
        rows = self.notifications.select_related("sender").order_by("-pk")
        if before is not None:
            rows = rows.filter(pk__lt=before)
        found = list(rows[: limit + 1])
        return found[:limit], len(found) > limit

    def unread(self) -> int:
        """Count the unread ones; a visitor has no account to remember what was read."""
        return self.notifications.unread().count() if self.user.is_authenticated else 0

    def unread_ids(self) -> list[int]:
        """Give the ids of the unread ones, newest first, but no more than a bell needs."""
        if not self.user.is_authenticated:
            return []
        newest = self.notifications.unread().order_by("-pk")
        return list(newest.values_list("pk", flat=True)[:MOST_UNREAD_IDS])


async def ainbox(user: User, scope: Scope) -> Inbox:
    """Give a user's inbox; the policy is asked for the topic of what is for everyone, and for its past."""
    topics = []
    gets: EventFilter | None = _nothing
    shared = shared_topic()
    if _is_declared(shared) and await may_subscribe(user, scope, shared):
        topics.append(shared)
        if await may_replay(user, scope, shared):
            gets = (await event_filters(user, scope, topics)).get(shared)
    if user.is_authenticated and await may_subscribe(user, scope, user_topic(user)):
        topics.append(user_topic(user))
    return await sync_to_async(_inbox)(user, tuple(topics), gets)


def inbox(user: User, scope: Scope) -> Inbox:
    """Do what ``ainbox`` does, from synchronous code."""
    return async_to_sync(ainbox)(user, scope)


def as_json(notification: Any) -> dict[str, Any]:
    """Give a notification of an inbox as readers get it, and whether it was read."""
    return {**notification.payload(), "read": notification.read}


def _inbox(user: User, topics: tuple[str, ...], gets: EventFilter | None) -> Inbox:
    cursor = current_cursor(*topics)  # before the rows: what comes in between is told twice, not missed
    rows = Notification.objects.for_user(user)
    if gets is _nothing:
        rows = rows.exclude(recipient=None)
    elif gets is not None:
        to_all = rows.filter(recipient=None).select_related("sender")
        rows = rows.exclude(pk__in=[row.pk for row in to_all if not gets(EVENT, to_text(row.payload()))])
    return Inbox(user, topics, cursor, rows)


def _nothing(event: str | None, data: str) -> bool:
    """Hide everything."""
    return False


def _is_declared(topic: str) -> bool:
    try:
        return bool(topic_rules().rule(topic))
    except (IllegalTopic, UnknownTopic):
        return False
