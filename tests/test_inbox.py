"""Inboxes over HTTP: who sees what, page by page, and what is read; every refusal is one line of JSON."""

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.core.asgi import get_asgi_application
from django.test import Client, override_settings

from sse_app import TopicPolicy, publish, user_topic
from sse_app.inbox import inbox
from sse_app.models import Notification
from sse_app.notifications import mark_read, notify, notify_all
from tests.accounts import headers_of, make_user
from tests.asgi import fetch, request

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/sse/notifications/"
READ = "/sse/notifications/read/"
app = get_asgi_application()


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def browser(ada):
    """The headers of Ada's browser."""
    return headers_of(ada)


async def get(target, headers=()):
    answer = await fetch(app, target, headers=headers)
    return answer.status, json.loads(answer.content)


async def post(body, headers=(), target=READ):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await fetch(app, target, method="POST", headers=headers, body=content)
    return answer.status, json.loads(answer.content)


@sync_to_async
def made(ada, count):
    return [notify(ada, f"{number}").pk for number in range(count)]


async def test_the_list_has_the_newest_first_and_what_is_unread(ada, browser):
    first = await sync_to_async(notify)(ada, "For Ada", "Text", level="error", url="/a/", sender=ada)
    second = await sync_to_async(notify_all)("For all")
    await sync_to_async(mark_read)(ada, [first.pk])
    status, answer = await get(LIST, browser)
    assert status == 200
    assert [(one["title"], one["read"]) for one in answer["notifications"]] == [
        ("For all", False),
        ("For Ada", True),
    ]
    assert answer["notifications"][1] == {
        "id": first.pk,
        "title": "For Ada",
        "body": "Text",
        "level": "error",
        "url": "/a/",
        "sender": "ada",
        "timestamp": first.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "read": True,
    }
    assert (answer["next"], answer["unread"], answer["unread_ids"]) == (None, 1, [second.pk])
    assert answer["topics"] == ["notifications", user_topic(ada)]


async def test_a_stream_from_the_list_s_cursor_on_misses_nothing(ada, browser):
    status, answer = await get(LIST, browser)
    await sync_to_async(notify)(ada, "Meanwhile")
    query = "&".join(f"topic={topic}" for topic in answer["topics"])
    async with request(
        app, f"/sse/events/?{query}", headers=browser, last_event_id=answer["last_event_id"]
    ) as stream:
        assert json.loads((await stream.event("notification")).data)["title"] == "Meanwhile"


async def test_an_empty_list(ada, browser):
    status, answer = await get(LIST, browser)
    assert (answer["notifications"], answer["next"], answer["unread"]) == ([], None, 0)


async def test_the_list_comes_in_pages_however_much_is_sent_meanwhile(ada, browser):
    ids = await made(ada, 5)
    status, answer = await get(f"{LIST}?limit=2", browser)
    pages = [answer]
    while pages[-1]["next"]:
        await sync_to_async(notify)(ada, "Meanwhile")
        pages.append((await get(pages[-1]["next"], browser))[1])
    assert [[one["id"] for one in page["notifications"]] for page in pages] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
    ]
    assert pages[1]["next"] == f"/sse/notifications/?before={ids[1]}&limit=2"


async def test_a_page_has_twenty_and_the_unread_ids_end_at_a_hundred(ada, browser):
    ids = await made(ada, 101)
    status, answer = await get(LIST, browser)
    assert [one["id"] for one in answer["notifications"]] == ids[:-21:-1]
    assert (answer["unread"], answer["unread_ids"]) == (101, ids[:0:-1])


async def test_nobody_sees_what_is_for_another_user(ada, browser):
    await made(await sync_to_async(make_user)("bob"), 2)
    status, answer = await get(LIST, browser)
    assert (answer["notifications"], answer["unread"]) == ([], 0)


async def test_no_cache_keeps_the_list(ada, browser):
    answer = await fetch(app, LIST, headers=browser)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.count(b"\n") == 0


NUMBER = "must be a whole number from 1 to"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", f"limit: {NUMBER} 100, not '0'"),
        ("limit=101", f"limit: {NUMBER} 100, not '101'"),
        ("limit=x", f"limit: {NUMBER} 100, not 'x'"),
        ("before=", f"before: {NUMBER} {2**63 - 1}, not ''"),
        ("before=-1", f"before: {NUMBER} {2**63 - 1}, not '-1'"),
        (f"before={2**63}", f"before: {NUMBER} {2**63 - 1}, not '{2**63}'"),
        ("after=1", "unknown parameter 'after'; known are before, limit"),
    ],
)
async def test_a_list_that_can_not_be_given_is_refused(browser, query, error):
    assert await get(f"{LIST}?{query}", browser) == (400, {"error": error})


@pytest.mark.parametrize("target", [LIST, READ])
async def test_a_visitor_is_asked_to_sign_in(target):
    body = b'{"all": true}' if target == READ else b""
    method = "POST" if target == READ else "GET"
    answer = await fetch(app, target, method=method, body=body)
    assert answer.status == 401
    assert json.loads(answer.content) == {"error": "notifications are for users; sign in first"}


@pytest.mark.parametrize(
    ("target", "method", "allowed"), [(LIST, "POST", "GET, HEAD"), (READ, "GET", "POST")]
)
async def test_other_methods_are_refused(browser, target, method, allowed):
    answer = await fetch(app, target, method=method, headers=browser)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


async def test_some_are_marked_as_read(ada, browser):
    ids = await made(ada, 3)
    assert await post({"ids": ids[:2]}, browser) == (200, {"read": 2, "unread": 1})
    assert await post({"ids": ids}, browser) == (200, {"read": 1, "unread": 0})
    assert await post({"ids": []}, browser) == (200, {"read": 0, "unread": 0})


async def test_all_are_marked_as_read(ada, browser):
    await made(ada, 3)
    await sync_to_async(notify_all)("For all")
    assert await post({"all": True}, browser) == (200, {"read": 4, "unread": 0})


async def test_what_another_user_has_is_not_marked_and_not_told(ada, browser):
    bob = await sync_to_async(make_user)("bob")
    ids = await made(bob, 2)
    assert await post({"ids": [*ids, 2**63 - 1]}, browser) == (200, {"read": 0, "unread": 0})
    assert await Notification.objects.filter(read_at=None).acount() == 2


async def test_the_user_s_other_pages_hear_of_it_at_once_and_other_users_do_not(ada, browser):
    bob = await sync_to_async(make_user)("bob")
    ours = await sync_to_async(notify_all)("For all")
    theirs = await sync_to_async(headers_of)(bob)
    async with (
        request(app, f"/sse/topics/{user_topic(ada)}/", headers=browser) as mine,
        request(app, f"/sse/topics/{user_topic(bob)}/", headers=theirs) as other,
    ):
        await mine.primed()
        await other.primed()
        await post({"all": True}, browser)
        assert json.loads((await mine.event("notification-read")).data) == {"ids": [ours.pk]}
        await sync_to_async(publish)(user_topic(bob), "next")
        assert (await other.event()).data == "next"


SHAPE = 'the body must be {"ids": [1, 2, …]} or {"all": true}'


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"]", "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "the body is not JSON: it is nested too deeply"),
        *[
            (body, SHAPE)
            for body in (
                [],
                {},
                {"all": False},
                {"all": 1},
                {"ids": "1"},
                {"ids": {"1": 1}},
                {"ids": ["1"]},
                {"ids": [True]},
                {"ids": [0]},
                {"ids": [2**63]},
                {"ids": [1], "all": True},
                {"all": True, "more": 1},
            )
        ],
        ({"ids": list(range(1, 1002))}, "ids: 1001 are more than the 1000 of one request"),
    ],
)
async def test_a_body_that_is_not_understood_is_refused(browser, body, error):
    assert await post(body, browser) == (400, {"error": error})


async def test_another_site_can_not_mark_anything(ada):
    await made(ada, 1)
    status, answer = await post({"all": True}, await sync_to_async(headers_of)(ada, csrf=False))
    assert status == 403
    assert answer == {"error": "the CSRF check failed: send this site's token in the X-CSRFToken header"}
    assert await Notification.objects.filter(read_at=None).acount() == 1


def test_under_wsgi_it_works_as_well(ada):
    notify(ada, "Hello")
    client = Client()
    client.force_login(ada)
    assert client.get(LIST).json()["unread"] == 1
    answer = client.post(READ, {"all": True}, content_type="application/json")
    assert answer.json() == {"read": 1, "unread": 0}


# What the policy lets a user see.


class Closed(TopicPolicy):
    """The default: nobody reads what is for everyone."""


class OpenButPast(TopicPolicy):
    """All may read, but not what was."""

    async def can_subscribe(self, user, scope, topic):
        return True

    async def can_replay(self, user, scope, topic):
        return topic != "notifications"


class Filtered(TopicPolicy):
    """Nobody gets what is about cats."""

    def can_subscribe(self, user, scope, topic):
        return True

    def event_filter(self, user, scope, topic):
        return lambda event, data: "cat" not in data


class Deaf(TopicPolicy):
    """Nobody reads anything."""

    def can_subscribe(self, user, scope, topic):
        return False


def policy(cls):
    return override_settings(SSE_TOPIC_POLICY=f"{__name__}.{cls.__name__}")


@pytest.mark.parametrize(
    ("cls", "topics", "titles"),
    [
        (Closed, ["own"], ["mine"]),
        (OpenButPast, ["notifications", "own"], ["mine"]),
        (Filtered, ["notifications", "own"], ["dogs", "mine"]),
        (Deaf, [], ["mine"]),
    ],
)
def test_the_list_has_no_more_than_the_policy_opens(ada, cls, topics, titles):
    notify(ada, "mine")
    notify_all("cats")
    notify_all("dogs")
    with policy(cls):
        found = inbox(ada, {})
        assert [topic.replace(user_topic(ada), "own") for topic in found.topics] == topics
        assert [one.title for one in found.page()[0]] == titles
        assert found.unread() == len(titles)


@policy(Filtered)
async def test_what_the_policy_hides_is_not_marked_as_read(ada, browser):
    await sync_to_async(notify_all)("cats")
    await sync_to_async(notify_all)("dogs")
    assert await post({"all": True}, browser) == (200, {"read": 1, "unread": 0})


def test_a_visitor_sees_what_is_for_everyone_and_nothing_is_unread(ada):
    notify(ada, "mine")
    notify_all("all")
    found = inbox(AnonymousUser(), {})
    assert [one.title for one in found.page()[0]] == ["all"]
    assert (found.topics, found.unread(), found.unread_ids()) == (("notifications",), 0, [])
    with policy(Closed):
        assert inbox(AnonymousUser(), {}).page() == ([], False)


@override_settings(SSE_TOPICS={"user.{id}": {}})
def test_a_site_may_have_no_topic_for_everyone(ada):
    notify(ada, "mine")
    found = inbox(ada, {})
    assert (found.topics, [one.title for one in found.page()[0]]) == ((user_topic(ada),), ["mine"])
