"""Notifications: messages for one user or for everyone, kept as rows and sent as events.

Each is one row and one event in one transaction: what is rolled back was never there. One user's go to
that user's own topic (``user_topic``), which ``SSE_TOPICS`` must declare; those for everyone to
``SSE_NOTIFICATIONS_TOPIC``. What a user has read is told to the user's other pages by an event too.

Example::

    notify(order.customer, "Order shipped", f"Parcel {number}", url=order.get_absolute_url())
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from asgiref.sync import sync_to_async
from django.db import connections, router, transaction
from django.utils import timezone

from sse_app.models import Notification, NotificationQuerySet, NotificationRead, shared_topic
from sse_app.permissions import user_topic
from sse_app.publishing import Outgoing, Published, publish, publish_many

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

EVENT = "notification"
READ_EVENT = "notification-read"
# A longer list is not told: pages fetch anew what is unread.
MAX_TOLD_IDS = 1000
ROWS_PER_STATEMENT = 500


class Details(TypedDict, total=False):
    """What a notification may have besides its title and text."""

    level: str  # "info" (if nothing is said), "success", "warning" or "error"
    url: str  # where it leads: a path of this site, or an http address
    sender: "AbstractBaseUser | None"


def notify(user: "AbstractBaseUser", title: str, body: str = "", **details: Unpack[Details]) -> Notification:
    """Send a notification to one user, once the current transaction commits.

    ``details``: ``level``, ``url`` and ``sender``, see ``Details``. Raises ValidationError for what is
    unusable, and what ``publish`` raises; nothing is kept or sent then.
    """
    return notify_many([user], title, body, **details)[0]


async def anotify(
    user: "AbstractBaseUser", title: str, body: str = "", **details: Unpack[Details]
) -> Notification:
    """Do what ``notify`` does, from asynchronous code."""
    return await sync_to_async(notify)(user, title, body, **details)


def notify_many(
    users: Iterable["AbstractBaseUser"], title: str, body: str = "", **details: Unpack[Details]
) -> list[Notification]:
    """Send a notification to each of the users: all or none. See ``notify``."""
    common: dict[str, Any] = {"topic": "", "title": title, "body": body, **details}
    made = [Notification(recipient=user, **common) for user in cast("Iterable[Any]", users)]
    for notification in made[:1]:  # the others differ in nothing that is checked
        _check(notification)
    alias = router.db_for_write(Notification)
    with transaction.atomic(using=alias):
        _insert(made, alias)
        publish_many([_outgoing(notification) for notification in made])
    return made


async def anotify_many(
    users: Iterable["AbstractBaseUser"], title: str, body: str = "", **details: Unpack[Details]
) -> list[Notification]:
    """Do what ``notify_many`` does, from asynchronous code."""
    return await sync_to_async(notify_many)(users, title, body, **details)


def notify_all(title: str, body: str = "", **details: Unpack[Details]) -> Notification:
    """Send a notification to everyone, on ``SSE_NOTIFICATIONS_TOPIC``. See ``notify``."""
    notification = Notification(topic=shared_topic(), title=title, body=body, **details)
    _check(notification)
    with transaction.atomic(using=router.db_for_write(Notification)):
        notification.save()
        send(notification)
    return notification


async def anotify_all(title: str, body: str = "", **details: Unpack[Details]) -> Notification:
    """Do what ``notify_all`` does, from asynchronous code."""
    return await sync_to_async(notify_all)(title, body, **details)


def send(notification: Notification) -> Published:
    """Publish a notification that is saved already."""
    outgoing = _outgoing(notification)
    return publish(outgoing.topic, outgoing.data, event=outgoing.event)


def topic_of(notification: Notification) -> str:
    """Give the topic on which a notification is sent."""
    recipient = notification.recipient
    return notification.topic if recipient is None else user_topic(recipient)


def mark_read(
    user: "AbstractBaseUser", ids: Iterable[int] | None = None, *, among: NotificationQuerySet | None = None
) -> list[int]:
    """Mark what is for the user as read: all of it, or what has these ids. Give the ids that were unread.

    The user's pages are told by an event, once the current transaction commits. ``among``: of a
    queryset that ``for_user`` gave.
    """
    alias = router.db_for_write(Notification)
    unread = (Notification.objects.for_user(user) if among is None else among).using(alias).unread()
    if ids is not None:
        unread = unread.filter(pk__in=list(ids))
    with transaction.atomic(using=alias):
        rows: list[tuple[int, Any]] = list(unread.order_by("pk").values_list("pk", "recipient_id"))
        _mark([pk for pk, recipient in rows if recipient is not None], alias)
        marks = [NotificationRead(notification_id=pk, user_id=user.pk) for pk, to in rows if to is None]
        NotificationRead.objects.using(alias).bulk_create(
            marks, batch_size=ROWS_PER_STATEMENT, ignore_conflicts=True
        )
        newly = [pk for pk, _ in rows]
        if newly:
            told = newly if len(newly) <= MAX_TOLD_IDS else None
            publish(user_topic(user), {"ids": told}, event=READ_EVENT)
    return newly


async def amark_read(user: "AbstractBaseUser", ids: Iterable[int] | None = None) -> list[int]:
    """Do what ``mark_read`` does, from asynchronous code."""
    return await sync_to_async(mark_read)(user, ids)


def _check(notification: Notification) -> None:
    notification.full_clean(exclude=["recipient", "sender"])


def _insert(made: Sequence[Notification], alias: str) -> None:
    if connections[alias].features.can_return_rows_from_bulk_insert:
        Notification.objects.using(alias).bulk_create(made, batch_size=ROWS_PER_STATEMENT)
        return
    for notification in made:  # readers get the ids
        notification.save(using=alias, force_insert=True)


def _mark(ids: Sequence[int], alias: str) -> None:
    """Mark those of one user, in steps that fit into a statement."""
    now = timezone.now()
    for start in range(0, len(ids), ROWS_PER_STATEMENT):
        step = ids[start : start + ROWS_PER_STATEMENT]
        Notification.objects.using(alias).filter(pk__in=step, read_at=None).update(read_at=now)


def _outgoing(notification: Notification) -> Outgoing:
    return Outgoing(topic_of(notification), notification.payload(), EVENT)
