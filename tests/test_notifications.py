"""Notifications: a row and an event in one transaction, for one user, for many or for everyone."""

import json
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sse_app import UnknownTopic, listeners, publish, subscribe, user_topic
from sse_app.models import Event, Notification, NotificationRead
from sse_app.notifications import (
    amark_read,
    anotify,
    anotify_all,
    anotify_many,
    mark_read,
    notify,
    notify_all,
    notify_many,
    send,
)
from tests.accounts import make_user
from tests.asgi import started

pytestmark = pytest.mark.django_db(transaction=True)


def events(topic):
    """Give name and data of what was published to a topic."""
    logged = Event.objects.filter(topic__name=topic).order_by("seq")
    return [(event.event, json.loads(event.data)) for event in logged]


def unread(user):
    return [one.title for one in Notification.objects.for_user(user).unread().order_by("pk")]


def shown(user):
    return {one.title: one.read for one in Notification.objects.for_user(user)}


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def bob():
    return make_user("bob")


def test_one_user_s_is_a_row_and_an_event_of_that_user_s_topic(ada, bob):
    sent = notify(ada, "Shipped", "Parcel 7", level="success", url="/orders/7/", sender=bob)
    assert Notification.objects.get() == sent
    assert (sent.recipient, sent.topic, sent.read_at) == (ada, "", None)
    payload = {
        "id": sent.pk,
        "title": "Shipped",
        "body": "Parcel 7",
        "level": "success",
        "url": "/orders/7/",
        "sender": "bob",
        "timestamp": sent.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    assert events(user_topic(ada)) == [("notification", payload)]
    assert Event.objects.count() == 1


def test_everyone_s_is_one_row_and_an_event_of_the_shared_topic(ada, bob):
    sent = notify_all("Maintenance", level="warning")
    assert (sent.recipient, sent.topic) == (None, "notifications")
    assert [(name, data["title"]) for name, data in events("notifications")] == [
        ("notification", "Maintenance")
    ]
    assert unread(ada) == unread(bob) == ["Maintenance"]


def test_many_users_get_one_each(ada, bob):
    make_user("carol")
    sent = notify_many([ada, bob], "Invited", url="https://example.com/party")
    assert [one.recipient for one in sent] == [ada, bob]
    assert [events(user_topic(user))[0][1]["id"] for user in (ada, bob)] == [one.pk for one in sent]
    assert Notification.objects.count() == 2


def test_many_users_cost_no_query_each_but_for_their_topics(ada):
    users = [make_user(f"reader {number}") for number in range(20)]
    publish("notifications", "warm up")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        notify_many(users, "Invited")
    inserts = [query for query in captured if "sse_app_notification" in query["sql"]]
    assert len(inserts) == 1


def test_no_users_get_nothing():
    assert notify_many([], "Invited") == []
    assert Notification.objects.count() == Event.objects.count() == 0


def test_what_is_rolled_back_was_never_sent(ada):
    with pytest.raises(DatabaseError), transaction.atomic():
        notify(ada, "Shipped")
        notify_all("Maintenance")
        raise DatabaseError("no space left")
    assert Notification.objects.count() == Event.objects.count() == 0


@override_settings(SSE_TOPICS={"notifications": {}})
def test_a_topic_that_does_not_exist_keeps_nothing(ada):
    with pytest.raises(UnknownTopic):
        notify(ada, "Shipped")
    assert Notification.objects.count() == Event.objects.count() == 0


@pytest.mark.parametrize(
    ("title", "details", "told"),
    [
        ("", {}, {"title": ["This field cannot be blank."]}),
        ("x" * 201, {}, {"title": ["Ensure this value has at most 200 characters (it has 201)."]}),
        ("Hi", {"level": "loud"}, {"level": ["Value 'loud' is not a valid choice."]}),
        *[
            ("Hi", {"url": url}, {"url": ["must begin with /, http:// or https://"]})
            for url in ("javascript:alert(1)", "//evil.example", "/\\evil.example", "orders", "/a b", "/a\n")
        ],
    ],
)
def test_what_is_unusable_is_refused_and_not_kept(ada, title, details, told):
    for refused in (lambda: notify(ada, title, **details), lambda: notify_all(title, **details)):
        with pytest.raises(ValidationError) as caught:
            refused()
        assert caught.value.message_dict == told
    assert Notification.objects.count() == Event.objects.count() == 0


@override_settings(SSE_MAX_EVENT_BYTES=2000)
def test_what_is_too_large_is_refused(ada):
    with pytest.raises(ValidationError, match="976 is the most"):
        notify(ada, "Long", "x" * 500, url="/" + "y" * 480)


@override_settings(SSE_NOTIFICATIONS_TOPIC=None)
def test_without_a_shared_topic_each_is_for_one_user(ada):
    with pytest.raises(ValidationError) as caught:
        notify_all("Maintenance")
    assert caught.value.message_dict == {"topic": ["This field is required."]}
    Notification.objects.create(title="Stray", topic="notifications")
    notify(ada, "Shipped")
    assert unread(ada) == ["Shipped"]


def test_a_saved_one_can_be_sent_again(ada):
    saved = Notification.objects.create(title="Hello", recipient=ada)
    assert send(saved).topic == user_topic(ada)
    send(saved)
    assert [data["id"] for _, data in events(user_topic(ada))] == [saved.pk] * 2


def test_users_see_their_own_and_what_is_for_everyone(ada, bob):
    notify(ada, "For Ada")
    notify(bob, "For Bob")
    notify_all("For all")
    Notification.objects.create(title="In a room", topic="room.a")
    assert shown(ada) == {"For Ada": False, "For all": False}
    assert shown(bob) == {"For Bob": False, "For all": False}


def test_what_everyone_got_before_a_user_joined_is_there_and_read():
    notify_all("Old news")
    newcomer = make_user("newcomer")
    notify_all("News")
    assert shown(newcomer) == {"Old news": True, "News": False}


def test_reading_is_each_user_s_own(ada, bob):
    mine, ours = notify(ada, "For Ada"), notify_all("For all")
    assert mark_read(ada, [mine.pk, ours.pk]) == [mine.pk, ours.pk]
    assert shown(ada) == {"For Ada": True, "For all": True}
    assert unread(bob) == ["For all"]
    mine.refresh_from_db()
    assert mine.read_at is not None


def test_reading_is_told_to_the_user_s_other_pages_and_to_nobody_else(ada, bob):
    ours = notify_all("For all")
    mark_read(ada, [ours.pk])
    assert events(user_topic(ada)) == [("notification-read", {"ids": [ours.pk]})]
    assert events(user_topic(bob)) == []


def test_what_was_read_already_is_not_told_again(ada):
    mine, ours = notify(ada, "For Ada"), notify_all("For all")
    mark_read(ada)
    assert mark_read(ada, [mine.pk, ours.pk]) == mark_read(ada) == []
    assert [name for name, _ in events(user_topic(ada))] == ["notification", "notification-read"]
    assert NotificationRead.objects.count() == 1


def test_nobody_reads_what_is_for_others(ada, bob):
    theirs = notify(bob, "For Bob")
    elsewhere = Notification.objects.create(title="In a room", topic="room.a")
    assert mark_read(ada, [theirs.pk, elsewhere.pk, 2**62]) == []
    assert unread(bob) == ["For Bob"]
    assert Event.objects.filter(event="notification-read").count() == 0


def test_everything_is_read_at_once_however_much_it_is(ada):
    Notification.objects.bulk_create(
        Notification(title="Hi", recipient=ada if number % 2 else None) for number in range(1201)
    )
    with CaptureQueriesContext(connection) as captured:
        assert len(mark_read(ada)) == 1201
    assert len(captured) < 20
    assert unread(ada) == []
    assert events(user_topic(ada)) == [("notification-read", {"ids": None})]  # too many to be told


def test_a_read_that_is_rolled_back_is_not_told(ada):
    ours = notify_all("For all")
    with pytest.raises(DatabaseError), transaction.atomic():
        mark_read(ada, [ours.pk])
        raise DatabaseError("no space left")
    assert unread(ada) == ["For all"]
    assert events(user_topic(ada)) == []


async def test_the_asynchronous_twins_do_the_same():
    ada = await sync_to_async(make_user)("ada")
    await anotify(ada, "One")
    await anotify_many([ada], "Two")
    await anotify_all("Three")
    assert await sync_to_async(unread)(ada) == ["One", "Two", "Three"]
    assert len(await amark_read(ada)) == 3
    assert await sync_to_async(unread)(ada) == []


async def test_listeners_are_counted_while_they_read():
    ada = await sync_to_async(make_user)("ada")
    assert listeners(user_topic(ada)) == 0
    async with subscribe([user_topic(ada)]) as messages:
        waiting = await started(messages)
        assert listeners(user_topic(ada)) == 1
        await anotify(ada, "Hello")
        assert json.loads((await waiting).data)["title"] == "Hello"
    assert listeners(user_topic(ada)) == 0


def test_deleting_a_user_deletes_what_was_for_that_user_alone(ada, bob):
    notify(ada, "For Ada", sender=bob)
    notify_all("For all", sender=ada)
    mark_read(ada)
    ada.delete()
    assert [one.title for one in Notification.objects.all()] == ["For all"]
    assert NotificationRead.objects.count() == 0


# The command sse_trim_notifications.


@pytest.fixture
def old(ada):
    """Some of ten days ago, and some of now."""
    for title in ("old", "new"):
        read = notify(ada, f"{title} read"), notify_all(f"{title} for all")
        mark_read(ada, [one.pk for one in read])
        notify(ada, f"{title} unread")
        if title == "old":
            Notification.objects.update(created_at=timezone.now() - timedelta(days=10))


def trimmed(capsys, *options):
    call_command("sse_trim_notifications", *options)
    titles = set(Notification.objects.values_list("title", flat=True))
    return capsys.readouterr().out, titles


NEW = {"new read", "new for all", "new unread"}


def test_old_ones_are_removed_but_what_their_recipients_have_not_read(old, capsys):
    assert trimmed(capsys, "--older-than", "7d") == ("2 notifications removed\n", NEW | {"old unread"})
    assert NotificationRead.objects.count() == 1


def test_unread_ones_are_removed_where_one_says_so(old, capsys):
    assert trimmed(capsys, "--older-than", "7d", "--unread") == ("3 notifications removed\n", NEW)


@pytest.mark.parametrize("age", ["11d", "999999999w"])
def test_nothing_is_so_old(old, capsys, age):
    assert trimmed(capsys, "--older-than", age, "--unread")[0] == "0 notifications removed\n"


@pytest.mark.parametrize("age", ["", "7", "a day", "-1d"])
def test_an_age_that_is_none_is_refused(age):
    with pytest.raises(CommandError, match="is no age, such as 90s"):
        call_command("sse_trim_notifications", f"--older-than={age}")
