"""Permissions: closed by default, a user's own topic, and policies of every shape."""

import asyncio
import functools
import re
from types import SimpleNamespace
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.asgi import get_asgi_application
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from sse_app import IllegalTopic, TopicPolicy, apublish, user_topic
from sse_app.permissions import may_publish, may_subscribe
from sse_app.topics import TopicRules
from tests.accounts import headers_of, make_user, signed_in
from tests.asgi import fetch, request

DEFAULT = "sse_app.permissions.TopicPolicy"

app = get_asgi_application()


def user(pk, **attributes):
    return SimpleNamespace(pk=pk, is_authenticated=True, **attributes)


def policy(cls):
    """Settings with this policy."""
    return override_settings(SSE_TOPIC_POLICY=f"{__name__}.{cls.__name__}")


@pytest.mark.parametrize(
    "topic", ["notifications", "room.a", "demo.a", "user.2", "user.", "user", "user.1.2"]
)
@override_settings(SSE_TOPIC_POLICY=DEFAULT)
async def test_the_default_policy_closes_every_topic_but_ones_own(topic):
    assert not await may_subscribe(user(1), {}, topic)
    assert not await may_subscribe(AnonymousUser(), {}, topic)


@override_settings(SSE_TOPIC_POLICY=DEFAULT)
async def test_nobody_who_is_not_signed_in_owns_a_topic():
    nobody = AnonymousUser()
    assert not await may_subscribe(nobody, {}, user_topic(nobody))


KEYS = [
    (1, "user.1"),
    (-1, "user.-1"),
    (2**63 - 1, "user.9223372036854775807"),
    (UUID("6f1c2a4e-8b7d-4c3a-9e5f-0a1b2c3d4e5f"), "user.6f1c2a4e-8b7d-4c3a-9e5f-0a1b2c3d4e5f"),
    ("ada", "user.ada"),
    ("Ada", "user.Ada"),
    ("ada@example.org", "user.ada_40example_2eorg"),
    ("a.b", "user.a_2eb"),
    ("a_b", "user.a_5fb"),
    ("a/b c", "user.a_2fb_20c"),
    ("é", "user._c3_a9"),
    ("\N{GRINNING FACE}", "user._f0_9f_98_80"),
    ("../admin\0", "user._2e_2e_2fadmin_00"),
]


@pytest.mark.parametrize(("key", "topic"), KEYS)
@override_settings(SSE_TOPIC_POLICY=DEFAULT)
async def test_a_users_topic_is_its_owners_alone_whatever_the_key(key, topic):
    assert user_topic(user(key)) == topic
    assert TopicRules({"user.{id}": {}}).rule(topic)
    for other, _ in KEYS:
        assert await may_subscribe(user(other), {}, topic) == (other == key)


# Keys that a careless escaping writes alike.
ALIKE = [
    ("a_b", "a.b"),
    ("a.b", "a_2eb"),
    ("a_2eb", "a_5f2eb"),
    ("\u1f600", "\N{GRINNING FACE}"),
    ("é", "e\u0301"),
    ("ada", "Ada"),
    ("1", "01"),
    ("1", "１"),
    ("a", "a "),
    ("a", "a\n"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_keys_that_look_alike_have_topics_of_their_own(one, other):
    assert user_topic(user(one)) != user_topic(user(other))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=7))
def test_the_key_can_be_read_back_from_the_topic(key):
    escaped = user_topic(user(key)).removeprefix("user.")
    plain = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), escaped.encode())
    assert plain.decode() == key


@override_settings(SSE_TOPIC_POLICY=DEFAULT)
async def test_a_key_that_is_too_long_owns_no_topic_and_does_no_harm():
    longest, too_long = "k" * 95, "k" * 96
    assert await may_subscribe(user(longest), {}, user_topic(user(longest)))
    with pytest.raises(IllegalTopic, match=r"^illegal topic of 101 characters: "):
        user_topic(user(too_long))
    assert not await may_subscribe(user(too_long), {}, f"user.{too_long[:95]}")


@pytest.mark.parametrize(
    ("holder", "allowed"),
    [
        (user(1), False),
        (AnonymousUser(), False),
        (user(1, has_perm=lambda name: False), False),
        (user(1, has_perm=lambda name: name == "sse_app.publish_event"), True),
    ],
    ids=["without permissions", "anonymous", "without this one", "with it"],
)
@pytest.mark.django_db(transaction=True)
async def test_publishing_over_http_takes_the_permission(holder, allowed):
    assert await may_publish(holder, {}, "notifications") is allowed


class SyncPolicy(TopicPolicy):
    """Uses the ORM, which Django allows in a thread without a running loop only."""

    def can_subscribe(self, user, scope, topic):
        return get_user_model().objects.filter(username=topic).exists()

    def can_publish(self, user, scope, topic):
        return self.can_subscribe(user, scope, topic)


class AsyncPolicy(TopicPolicy):
    async def can_subscribe(self, user, scope, topic):
        await asyncio.sleep(0)
        return await get_user_model().objects.filter(username=topic).aexists()

    async def can_publish(self, user, scope, topic):
        return await self.can_subscribe(user, scope, topic)


def logged(method):
    """Wrap a method as decorators do: what it wraps is no longer seen to be async."""

    @functools.wraps(method)
    def wrapper(*args):
        return method(*args)

    return wrapper


class WrappedAsyncPolicy(AsyncPolicy):
    can_subscribe = logged(AsyncPolicy.can_subscribe)
    can_publish = logged(AsyncPolicy.can_publish)


@pytest.mark.parametrize("cls", [SyncPolicy, AsyncPolicy, WrappedAsyncPolicy])
@pytest.mark.django_db(transaction=True)
async def test_a_policy_may_be_sync_or_async_and_use_the_orm(cls):
    await get_user_model().objects.acreate(username="ada")
    with policy(cls):
        for ask in (may_subscribe, may_publish):
            assert await ask(AnonymousUser(), {}, "ada") is True
            assert await ask(AnonymousUser(), {}, "eve") is False


class LocalPolicy(TopicPolicy):
    """Judges the connection, not the user."""

    def can_subscribe(self, user, scope, topic):
        return scope["client"] == ("127.0.0.1", 50000) and scope["path"].startswith("/sse/")

    async def can_publish(self, user, scope, topic):
        return (b"x-key", b"right") in scope["headers"] and topic == "notifications"


@pytest.mark.django_db(transaction=True)
async def test_a_policy_sees_the_scope_of_the_request():
    with policy(LocalPolicy):
        async with request(app, "/sse/topics/user.1/") as stream:
            await stream.primed()
            assert stream.status == 200
        sent, refused = [
            await fetch(
                app,
                "/sse/topics/notifications/",
                method="POST",
                headers=[(b"x-key", key)],
                body=b'{"data": 1}',
            )
            for key in (b"right", b"wrong")
        ]
    assert (sent.status, refused.status) == (201, 401)


@pytest.mark.django_db(transaction=True)
async def test_each_topic_of_a_stream_is_asked_for():
    headers = await signed_in("ada")
    answer = await fetch(app, "/sse/events/?topic=notifications&topic=room.a&topic=user.0", headers=headers)
    assert (answer.status, answer.content) == (403, b'{"error": "you may not read \'user.0\'"}')


@pytest.mark.django_db(transaction=True)
async def test_users_read_their_own_topic_live():
    ada = await sync_to_async(make_user)("ada")
    headers = await sync_to_async(headers_of)(ada)
    async with request(app, f"/sse/topics/{user_topic(ada)}/", headers=headers) as stream:
        await stream.primed()
        await apublish(user_topic(ada), "yours")
        assert (await stream.event()).data == "yours"


class ParsingPolicy(TopicPolicy):
    """Takes names apart, as it may where only declared topics are asked about."""

    def can_publish(self, user, scope, topic):
        return bool(topic.split(".")[1])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("topic", "status"), [("nosuch", 404), ("-", 400)])
async def test_a_policy_is_only_asked_about_declared_topics(settings, topic, status):
    settings.SSE_TOPIC_POLICY = f"{__name__}.ParsingPolicy"
    answer = await fetch(get_asgi_application(), f"/sse/topics/{topic}/", method="POST", body=b'{"data": 1}')
    assert answer.status == status
