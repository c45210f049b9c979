"""The admin: a notification is sent on commit and once, and the event log is for looking at."""

import json
import zlib
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import post_save
from django.test import Client, override_settings
from django.urls import path

from project.urls import urlpatterns as addresses
from sse_app import publish, user_topic
from sse_app.admin import NDJSONExportMixin
from sse_app.models import Event, Notification
from tests.accounts import headers_of, make_user
from tests.asgi import fetch, request
from tests.shop.models import Book, Tag

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
        "url": "",
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


def test_to_one_user_it_goes_on_that_user_s_topic(client, staff):
    ada = make_user("ada")
    response = client.post(ADD, {**FORM, "recipient": ada.pk, "url": "/orders/7/"}, follow=True)
    notification = Notification.objects.get()
    assert (notification.recipient, notification.topic, notification.sender) == (ada, "", staff)
    event = Event.objects.get()
    assert (event.topic.name, json.loads(event.data)["url"]) == (user_topic(ada), "/orders/7/")
    assert told(response)[0] == "“Hello” was sent to ada: 0 open streams in this process."
    assert LogEntry.objects.order_by("pk")[0].get_change_message() == "Sent to ada."


async def test_a_user_s_open_stream_gets_it_at_once_and_nobody_else_s():
    client = Client()
    await sync_to_async(client.force_login)(
        await sync_to_async(get_user_model().objects.create_superuser)("grace")
    )
    ada = await sync_to_async(make_user)("ada")
    headers = await sync_to_async(headers_of)(ada)
    async with (
        request(get_asgi_application(), f"/sse/topics/{user_topic(ada)}/", headers=headers) as stream,
        request(get_asgi_application(), "/sse/topics/notifications/") as other,
    ):
        await stream.primed()
        await other.primed()
        form = await sync_to_async(client.get)(ADD)
        assert "1 open stream of this process reads “notifications”." in form.content.decode()
        response = await sync_to_async(client.post)(ADD, {**FORM, "recipient": ada.pk}, follow=True)
        assert json.loads((await stream.event("notification")).data)["title"] == "Hello"
        await sync_to_async(publish)("notifications", "next")
        assert (await other.event()).data == "next"
    assert told(response)[0] == "“Hello” was sent to ada: 1 open stream in this process."


def test_the_form_tells_how_many_are_listening(client):
    assert "0 open streams of this process read “notifications”." in client.get(ADD).content.decode()
    ada = make_user("ada")
    sent = Notification.objects.create(title="Hello", recipient=ada)
    page = client.get(f"{NOTIFICATIONS}{sent.pk}/change/").content.decode()
    assert f"0 open streams of this process read “{user_topic(ada)}”." in page


@override_settings(SSE_NOTIFICATIONS_TOPIC=None)
def test_without_a_shared_topic_the_form_wants_one_or_a_user(client):
    assert "open streams" not in client.get(ADD).content.decode()
    assert errors(client.post(ADD, {**FORM, "topic": ""})) == {"topic": ["This field is required."]}
    client.post(ADD, {**FORM, "topic": "", "recipient": make_user("ada").pk})
    assert Event.objects.count() == 1


def test_a_link_that_a_browser_would_run_is_an_error_of_the_form(client):
    response = client.post(ADD, {**FORM, "url": "javascript:alert(1)"})
    assert errors(response) == {"url": ["must begin with /, http:// or https://"]}
    assert_nothing_saved()


def test_whom_it_was_sent_to_can_not_be_changed(client):
    client.post(ADD, {**FORM, "recipient": make_user("ada").pk})
    sent = Notification.objects.get()
    change = {**FORM, "title": "Better", "topic": "room.a", "recipient": make_user("bob").pk}
    client.post(f"{NOTIFICATIONS}{sent.pk}/change/", change)
    sent.refresh_from_db()
    assert (sent.title, sent.recipient.username, sent.topic) == ("Better", "ada", "")


def test_recipients_are_searched_for_by_those_who_may_see_users_and_written_by_others(client):
    assert "/admin/autocomplete/" in client.get(ADD).content.decode()
    sender = make_user("vera")
    sender.is_staff = True
    sender.save()
    sender.user_permissions.add(Permission.objects.get(codename="add_notification"))
    other = Client()
    other.force_login(sender)
    page = other.get(ADD).content.decode()
    assert "/admin/autocomplete/" not in page and 'name="recipient"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"all", "room", "one"}),
        ("?to=user", {"one"}),
        ("?to=topic:notifications", {"all"}),
        ("?to=topic:room.a", {"room"}),
    ],
)
def test_the_list_tells_for_whom_they_are_and_can_be_filtered(client, query, found):
    Notification.objects.create(title="all")
    Notification.objects.create(title="room", topic="room.a")
    Notification.objects.create(title="one", recipient=make_user("ada"))
    response = client.get(f"{NOTIFICATIONS}{query}")
    assert {one.title for one in response.context["cl"].queryset} == found
    assert [label for _, label in response.context["cl"].filter_specs[1].lookup_choices] == [
        "one user",
        "notifications",
        "room.a",
    ]


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


def offered(client, address):
    """Give the actions that a list offers."""
    form = client.get(address).context["action_form"]
    return [name for name, _ in form.fields["action"].choices if name]


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


def test_the_event_log_offers_no_action_that_changes_it(client, log):
    before = list(log.values())
    response = client.post(
        LOG, {"action": "delete_selected", "_selected_action": [log[0].pk], "post": "yes"}, follow=True
    )
    assert response.status_code == 200
    assert list(log.values()) == before
    assert offered(client, LOG) == ["export_as_ndjson"]


def test_deleting_a_user_keeps_what_was_sent(client):
    client.post(ADD, FORM)
    with transaction.atomic():
        get_user_model().objects.get(username="grace").delete()
    assert Notification.objects.get().sender is None
    assert Event.objects.count() == 1


# The action "Export as NDJSON".

ASGI_NEEDED = (
    "streams need ASGI: serve this project's ASGI application with an ASGI server, such as "
    "`uvicorn yourproject.asgi:application` or daphne's runserver"
)
BOOKS = "/shop/shop/book/"


class BookAdmin(NDJSONExportMixin, admin.ModelAdmin):
    """As a project would write it."""

    ordering = ("-price",)
    list_filter = ("tags",)
    list_editable = ()
    search_fields = ("title", "tags__name")

    def export_fields(self, book):
        return {"title": book.title, "tags": sorted(tag.name for tag in book.tags.all())}

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("tags")


class TagAdmin(NDJSONExportMixin, admin.ModelAdmin):
    """With nothing of its own."""


shop = admin.AdminSite("shop")
shop.register(Book, BookAdmin)
shop.register(Tag, TagAdmin)
urlpatterns = [path("shop/", shop.urls), *addresses]


@sync_to_async
def staff_headers(*permissions):
    """Give the headers of a superuser's browser, or of staff with some permissions."""
    if permissions:
        user = make_user("vera")
        user.is_staff = True
        user.save()
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    else:
        user = get_user_model().objects.create_superuser("ada")
    return headers_of(user)


async def export(address, chosen, headers, query="", **form):
    """Choose rows in a list, and export them."""
    fields = {"action": "export_as_ndjson", "_selected_action": [row.pk for row in chosen], **form}
    return await fetch(
        get_asgi_application(),
        f"{address}?{query}",
        method="POST",
        headers=[*headers, (b"content-type", b"application/x-www-form-urlencoded")],
        body=urlencode(fields, doseq=True).encode(),
    )


def records(answer):
    assert answer.status == 200
    return [json.loads(line) for line in answer.content.splitlines()]


async def test_the_chosen_notifications_are_exported_with_all_their_columns_oldest_first():
    made = [await Notification.objects.acreate(title=title) for title in ("1", "2", "3")]
    answer = await export(NOTIFICATIONS, [made[2], made[0]], await staff_headers())
    assert records(answer) == [
        {
            "id": one.pk,
            "topic": "notifications",
            "recipient_id": None,
            "title": one.title,
            "body": "",
            "level": "info",
            "url": "",
            "sender_id": None,
            "created_at": one.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "read_at": None,
        }
        for one in (made[0], made[2])
    ]


async def test_an_export_is_a_file_to_be_saved_that_no_cache_keeps():
    one = await Notification.objects.acreate(title="1")
    answer = await export(NOTIFICATIONS, [one], await staff_headers())
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="notification.ndjson"'
    assert answer.headers["content-encoding"] == "identity"
    assert {"no-store", "private"} <= set(answer.headers["cache-control"].split(", "))


async def test_an_export_is_packed_for_those_who_accept_gzip():
    one = await Notification.objects.acreate(title="1")
    headers = [*await staff_headers(), (b"accept-encoding", b"gzip, deflate")]
    answer = await export(NOTIFICATIONS, [one], headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(zlib.decompress(answer.content, 31))["title"] == "1"


async def test_all_rows_of_a_filtered_list_are_exported():
    await Notification.objects.abulk_create(
        Notification(title=str(number), level="info" if number % 2 else "error") for number in range(2100)
    )
    one = await Notification.objects.afirst()
    answer = await export(
        NOTIFICATIONS, [one], await staff_headers(), "level__exact=error", select_across="1", index="0"
    )
    assert [record["title"] for record in records(answer)] == [str(number) for number in range(0, 2100, 2)]


async def test_the_event_log_is_exported_with_its_topics():
    await sync_to_async(publish)("notifications", "one")
    await sync_to_async(publish)("room.a", {"two": 2}, event="news")
    first, second = [event async for event in Event.objects.order_by("pk")]
    answer = await export(LOG, [first, second], await staff_headers())
    assert [list(record.values())[:5] for record in records(answer)] == [
        ["notifications", 1, first.tag, "", "one"],
        ["room.a", 1, second.tag, "news", '{"two":2}'],
    ]
    assert list(records(answer)[0]) == ["topic__name", "seq", "tag", "event", "data", "created_at"]


async def test_who_may_look_may_export_and_nobody_else():
    one = await Notification.objects.acreate(title="1")
    viewer = await staff_headers("view_notification")
    assert len(records(await export(NOTIFICATIONS, [one], viewer))) == 1
    await sync_to_async(get_user_model().objects.all().delete)()
    other = await staff_headers("view_event")
    assert (await export(NOTIFICATIONS, [one], other)).status == 403


def test_the_action_is_offered_after_those_of_the_model(client):
    Notification.objects.create(title="1")
    assert offered(client, NOTIFICATIONS) == ["delete_selected", "send_again", "export_as_ndjson"]
    assert b"Export as NDJSON" in client.get(NOTIFICATIONS).content


def test_a_popup_offers_no_action(client):
    Notification.objects.create(title="1")
    assert client.get(f"{NOTIFICATIONS}?_popup=1").context["action_form"] is None


def test_under_wsgi_a_message_says_what_is_needed(client):
    one = Notification.objects.create(title="1")
    chosen = {"action": "export_as_ndjson", "_selected_action": [one.pk]}
    response = client.post(NOTIFICATIONS, chosen, follow=True)
    assert (told(response), response.status_code) == ([ASGI_NEEDED], 200)


@pytest.fixture
def shelf():
    tags = [Tag.objects.create(name=name) for name in ("new", "old")]
    books = [Book.objects.create(title=str(number), price=number) for number in range(3)]
    for book in books:
        book.tags.set(tags[: int(book.title)])
    return books


@override_settings(ROOT_URLCONF=__name__)
@pytest.mark.parametrize(
    ("query", "found"), [("", ["0", "1", "2"]), ("q=w", ["1", "2"]), ("q=new+2", ["2"]), ("q=nowhere", None)]
)
async def test_any_model_can_be_exported_as_a_function_says(shelf, query, found):
    answer = await export(BOOKS, shelf, await staff_headers(), query, select_across="1")
    if found is None:  # nothing is listed, so the admin asks for a choice
        assert answer.status in (200, 302)
        return
    tags = {"0": [], "1": ["new"], "2": ["new", "old"]}
    assert records(answer) == [{"title": title, "tags": tags[title]} for title in found]


@override_settings(ROOT_URLCONF=__name__)
async def test_a_list_filtered_over_many_is_exported_without_repeats(shelf):
    new = await Tag.objects.aget(name="new")
    answer = await export(BOOKS, shelf, await staff_headers(), f"tags__id__exact={new.pk}", select_across="1")
    assert [record["title"] for record in records(answer)] == ["1", "2"]


@override_settings(ROOT_URLCONF=__name__)
async def test_a_model_with_nothing_of_its_own_gives_all_columns(shelf):
    tags = [tag async for tag in Tag.objects.order_by("pk")]
    answer = await export("/shop/shop/tag/", tags, await staff_headers())
    assert records(answer) == [{"id": tag.pk, "name": tag.name} for tag in tags]
