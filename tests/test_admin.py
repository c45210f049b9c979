"""The admin: a notification is sent on commit and once, and the event log is for looking at."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import post_save
from django.test import Client, override_settings

from sse_app import publish
from sse_app.models import Event, Notification
from tests.accounts import make_user
from tests.asgi import request

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/sse_app/notification/add/"
NOTIFICATIONS = "/admin/sse_app/notification/"
LOG = "/admin/sse_app/event/"
FORM = {"topic": "notifications", "title": "Hello", "body": "All of you", "level": "info"}


@pytest.fixture
def staff():
    return get_user_model().objects.create_superuser("grace")


@pytest.fixture
def client(staff):
    client = Client()
    client.force_login(staff)
    return client


def told(response):
    return [str(message) for message in response.context["messages"]]


def errors(response):
    return response.context["adminform"].form.errors


def assert_nothing_saved():
    assert (Event.objects.count(), Notification.objects.count(), LogEntry.objects.count()) == (0, 0, 0)


def test_adding_a_notification_sends_it_once(client, staff):
    response = client.post(ADD, FORM, follow=True)
    notification = Notification.objects.get()
    event = Event.objects.get()
    assert notification.sender == staff
    assert (event.topic.name, event.event) == ("notifications", "notification")
    assert json.loads(event.data) == {
        "id": notification.pk,
        "title": "Hello",
        "body": "All of you",
        "level": "info",
        "sender": "grace",
        "timestamp": notification.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    assert told(response)[0] == "“Hello” was sent to “notifications”: 0 open streams in this process."


def test_a_send_is_in_the_admins_log(client, staff):
    client.post(ADD, FORM)
    sent, added = LogEntry.objects.order_by("pk")
    assert (sent.action_flag, sent.get_change_message()) == (CHANGE, "Sent to “notifications”.")
    assert added.action_flag == ADDITION
    assert {sent.user, added.user} == {staff}
    assert sent.object_id == added.object_id == str(Notification.objects.get().pk)


async def test_every_open_stream_gets_it_at_once():
    client = Client()
    await sync_to_async(client.force_login)(
        await sync_to_async(get_user_model().objects.create_superuser)("grace")
    )
    async with request(get_asgi_application(), "/sse/topics/notifications/") as stream:
        await stream.primed()
        response = await sync_to_async(client.post)(ADD, FORM, follow=True)
        event = await stream.event("notification")
        await sync_to_async(publish)("notifications", "next")
        assert (await stream.event()).data == "next"
    assert json.loads(event.data)["title"] == "Hello"
    assert told(response)[0] == "“Hello” was sent to “notifications”: 1 open stream in this process."


def test_a_notification_whose_transaction_fails_is_never_sent(client):
    def fail(instance, **kwargs):
        if instance.action_flag == ADDITION:  # the last thing that the admin does
            raise ConnectionError("the disk is full")

    post_save.connect(fail, sender=LogEntry)
    try:
        with pytest.raises(ConnectionError):
            client.post(ADD, FORM)
    finally:
        post_save.disconnect(fail, sender=LogEntry)
    assert_nothing_saved()


def test_editing_sends_nothing(client):
    client.post(ADD, FORM)
    notification = Notification.objects.get()
    client.post(f"{NOTIFICATIONS}{notification.pk}/change/", {**FORM, "title": "Better"})
    notification.refresh_from_db()
    assert notification.title == "Better"
    assert Event.objects.count() == 1


def test_another_editor_does_not_become_the_sender(client, staff):
    client.post(ADD, FORM)
    editor = Client()
    editor.force_login(get_user_model().objects.create_superuser("eve"))
    editor.post(f"{NOTIFICATIONS}{Notification.objects.get().pk}/change/", {**FORM, "title": "Better"})
    assert Notification.objects.get(title="Better").sender == staff


def test_saving_in_code_and_loading_a_fixture_send_nothing(tmp_path):
    Notification.objects.create(title="Made in code")
    rows = [
        {
            "model": "sse_app.notification",
            "pk": 7,
            "fields": {"title": "Loaded", "created_at": "2024-05-01T12:00:00Z", "topic": "notifications"},
        }
    ]
    fixture = tmp_path / "notifications.json"
    fixture.write_text(json.dumps(rows))
    call_command("loaddata", fixture, verbosity=0)
    assert Notification.objects.get(pk=7).title == "Loaded"
    assert Event.objects.count() == 0


def send_again(client, *notifications):
    chosen = {"action": "send_again", "_selected_action": [one.pk for one in notifications]}
    return client.post(NOTIFICATIONS, chosen, follow=True)


def test_the_chosen_notifications_are_sent_again_oldest_first(client, staff):
    one, two, _ = [Notification.objects.create(title=title, sender=staff) for title in ("1", "2", "3")]
    response = send_again(client, two, one)
    assert [json.loads(event.data)["title"] for event in Event.objects.order_by("seq")] == ["1", "2"]
    assert [entry.get_change_message() for entry in LogEntry.objects.all()] == [
        "Sent to “notifications”."
    ] * 2
    assert told(response) == [
        "“1” was sent to “notifications”: 0 open streams in this process.",
        "“2” was sent to “notifications”: 0 open streams in this process.",
    ]


def test_one_that_can_no_longer_be_sent_is_told_and_the_others_go_out(client):
    gone = Notification.objects.create(title="Gone", topic="closed.topic")
    fine = Notification.objects.create(title="Fine")
    response = send_again(client, gone, fine)
    assert [json.loads(event.data)["title"] for event in Event.objects.all()] == ["Fine"]
    assert told(response) == [
        "“Gone” was not sent: no topic 'closed.topic' is declared.",
        "“Fine” was sent to “notifications”: 0 open streams in this process.",
    ]


def test_who_may_only_look_may_not_send_again():
    viewer = make_user("vera")
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.add(Permission.objects.get(codename="view_notification"))
    client = Client()
    client.force_login(viewer)
    response = send_again(client, Notification.objects.create(title="Hello"))
    assert response.status_code == 200
    assert Event.objects.count() == 0


@override_settings(SSE_MAX_EVENT_BYTES=2000)
def test_a_text_too_large_to_send_is_an_error_of_the_form(client):
    response = client.post(ADD, {**FORM, "body": "x" * 1000})
    assert errors(response) == {"body": ["title and text take 1012 bytes; 976 is the most"]}
    assert_nothing_saved()


@override_settings(SSE_MAX_EVENT_BYTES=2000)
def test_the_longest_text_that_the_form_takes_can_be_sent_whoever_sends_it():
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("\N{GRINNING FACE}" * 150))
    client.post(ADD, {**FORM, "title": '"' * 9 + "x", "body": "ä" * 475, "level": "success"})
    assert Event.objects.count() == Notification.objects.count() == 1


@pytest.mark.parametrize(
    ("topic", "error"),
    [
        ("nothing", "no topic 'nothing' is declared"),
        (
            "a b",
            "illegal topic 'a b': 1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, "
            "the first a letter or digit",
        ),
        ("", "This field is required."),
    ],
)
def test_a_topic_that_does_not_exist_is_an_error_of_the_form(client, topic, error):
    response = client.post(ADD, {**FORM, "topic": topic})
    assert errors(response) == {"topic": [error]}
    assert_nothing_saved()


@pytest.fixture
def log():
    for number in range(3):
        publish("notifications", f"number {number}")
    publish("room.a", "x" * 200, event="news")
    return Event.objects.order_by("pk")


def listed(response):
    return [event.data for event in response.context["cl"].queryset.order_by("pk")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["number 0", "number 1", "number 2", "x" * 200]),
        ("?q=number+1", ["number 1"]),
        ("?q=nowhere", []),
        ("?event__exact=news", ["x" * 200]),
        ("?created_at__year=1999", []),
    ],
)
def test_the_event_log_can_be_browsed_searched_and_filtered(client, log, query, found):
    response = client.get(LOG + query)
    assert response.status_code == 200
    assert listed(response) == found


def test_the_event_log_can_be_filtered_by_topic(client, log):
    topic = log.last().topic_id
    assert listed(client.get(f"{LOG}?topic__id__exact={topic}")) == ["x" * 200]


def test_a_long_event_is_shortened_in_the_list_and_whole_on_its_page(client, log):
    listing = client.get(LOG).content.decode()
    page = client.get(f"{LOG}{log.last().pk}/change/").content.decode()
    assert "x" * 79 + "…" in listing and "x" * 80 not in listing
    assert "x" * 200 in page


@pytest.mark.parametrize("address", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_the_event_log_can_not_be_altered(client, log, address):
    before = list(log.values())
    data = {"topic": log[0].topic_id, "seq": 99, "tag": "00000000", "prev": "00000000", "data": "forged"}
    response = client.post(LOG + address.format(pk=log[0].pk), {**data, "post": "yes"})
    assert response.status_code == 403
    assert list(log.values()) == before


def test_the_event_log_offers_no_action(client, log):
    before = list(log.values())
    response = client.post(
        LOG, {"action": "delete_selected", "_selected_action": [log[0].pk], "post": "yes"}, follow=True
    )
    assert response.status_code == 200
    assert list(log.values()) == before
    assert b'name="action"' not in client.get(LOG).content


def test_deleting_a_user_keeps_what_was_sent(client):
    client.post(ADD, FORM)
    with transaction.atomic():
        get_user_model().objects.get(username="grace").delete()
    assert Notification.objects.get().sender is None
    assert Event.objects.count() == 1
