"""Permissions: who may subscribe and who may publish; asked for every topic, closed by default."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.utils.module_loading import import_string

from sse_app.conf import conf
from sse_app.topics import IllegalTopic, require_legal

if TYPE_CHECKING:  # these are models: a policy must be importable before the apps are loaded
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

logger = logging.getLogger("sse_app")

User: TypeAlias = "AbstractBaseUser | AnonymousUser"
Scope: TypeAlias = Mapping[str, Any]
# Whether a reader gets an event, by its name and data; asked in the loop for each event.
EventFilter: TypeAlias = Callable[[str | None, str], bool]


def user_topic(user: User) -> str:
    """Give the topic of one user: ``user.`` and the primary key, whatever its type.

    Each UTF-8 byte of a character other than ``A-Z a-z 0-9 -`` is written as ``_`` and two hex
    digits, so that no two keys share a topic. Raises IllegalTopic where the key is too long.
    """
    key = re.sub(r"[^A-Za-z0-9-]", _escaped, str(user.pk))
    return require_legal(f"user.{key}")


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"_{byte:02x}" for byte in found[0].encode())


class TopicPolicy:
    """The default policy: users read their own ``user.{id}``, and nobody reads anything else.

    Subclass it and name your class in ``SSE_TOPIC_POLICY``. All methods may be ``async``; a sync
    one runs in a thread and may use the ORM. ``scope`` is the ASGI scope of the request, or {}.
    """

    def can_subscribe(self, user: User, scope: Scope, topic: str) -> Any:
        """Whether the user may read the topic: a bool, or an awaitable of one."""
        try:
            return user.is_authenticated and topic == user_topic(user)
        except IllegalTopic:  # a key that is too long has no topic
            return False

    def can_replay(self, user: User, scope: Scope, topic: str) -> Any:
        """Whether one who may read the topic may also read its past: a bool, or an awaitable of one.

        It is asked for exports, for streams that begin in the past, and for cursors from before the
        first event, which prove nothing.
        """
        return True

    def event_filter(self, user: User, scope: Scope, topic: str) -> Any:
        """Give a function of an event's name and data that says whether the user gets it; None: all.

        It is asked for once per stream. The function itself runs in the event loop for each event:
        it must be fast, and must not use the ORM.
        """
        return None

    def can_publish(self, user: User, scope: Scope, topic: str) -> Any:
        """Whether the user may publish over HTTP: a bool, or an awaitable of one."""
        allowed: Callable[[str], bool] | None = getattr(user, "has_perm", None)
        return allowed is not None and allowed("sse_app.publish_event")

    def can_see_presence(self, user: User, scope: Scope, topic: str) -> Any:
        """Whether the user may see who reads the topic: a bool, or an awaitable of one."""
        return getattr(user, "is_staff", False) or self.can_publish(user, scope, topic)


@cache
def get_policy() -> TopicPolicy:
    """Give the policy of the settings."""
    policy: TopicPolicy = import_string(conf.SSE_TOPIC_POLICY)()
    return policy


async def may_subscribe(user: User, scope: Scope, topic: str) -> bool:
    """Ask the policy whether the user may read the topic."""
    return await _ask(get_policy().can_subscribe, user, scope, topic)


async def may_replay(user: User, scope: Scope, topic: str) -> bool:
    """Ask the policy whether a user who may read the topic may also read its past."""
    return await _ask(get_policy().can_replay, user, scope, topic)


async def event_filters(user: User, scope: Scope, topics: Iterable[str]) -> dict[str, EventFilter]:
    """Ask the policy which events of the topics the user gets; of a topic that is left out, all."""
    asked = {topic: await _answer(get_policy().event_filter, user, scope, topic) for topic in topics}
    return {topic: _closed_on_failure(chosen, topic) for topic, chosen in asked.items() if chosen is not None}


def _closed_on_failure(gets: EventFilter, topic: str) -> EventFilter:
    """Hide an event at which the filter fails: raised, it would come again with each reconnect."""

    def gets_or_fails(event: str | None, data: str) -> bool:
        try:
            return gets(event, data)
        except Exception:
            logger.exception("the event filter failed: an event of %s is not shown", topic)
            return False

    return gets_or_fails


async def may_publish(user: User, scope: Scope, topic: str) -> bool:
    """Ask the policy whether the user may publish to the topic."""
    return await _ask(get_policy().can_publish, user, scope, topic)


async def may_see_presence(user: User, scope: Scope, topic: str) -> bool:
    """Ask the policy whether the user may see who reads the topic."""
    return await _ask(get_policy().can_see_presence, user, scope, topic)


async def _ask(question: Any, user: User, scope: Scope, topic: str) -> bool:
    return bool(await _answer(question, user, scope, topic))


async def _answer(question: Any, user: User, scope: Scope, topic: str) -> Any:
    if not iscoroutinefunction(question):
        question = sync_to_async(question)
    answer = await question(user, scope, topic)
    # A wrapped async method looks like a sync one, and what it returns would always be true.
    return await answer if isawaitable(answer) else answer
