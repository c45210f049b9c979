"""Snapshots as topics name them: functions that say what a new reader gets first."""

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from inspect import isasyncgenfunction, isawaitable, iscoroutinefunction
from typing import Any

from django.utils.module_loading import import_string

from sse_app import database
from sse_app.events import ServerSentEvent
from sse_app.permissions import Scope, User
from sse_app.pumps import aclose
from sse_app.snapshot import SnapshotSource
from sse_app.topics import TopicRule


def snapshot_sources(rules: dict[str, TopicRule], user: User, scope: Scope) -> dict[str, SnapshotSource]:
    """Give the sources of the snapshots of those topics that have one, for this user.

    Their functions take user, scope and topic. A plain one, or a generator, runs in the threads that
    read the log and may use the ORM; a coroutine function or an asynchronous generator runs in the
    loop. All give events or their data.
    """
    return {
        topic: partial(_events, import_string(rule.snapshot), user, scope, topic)
        for topic, rule in rules.items()
        if rule.snapshot is not None
    }


async def _events(function: Any, user: User, scope: Scope, topic: str) -> AsyncIterator[ServerSentEvent]:
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        made = function(user, scope, topic)
    else:
        made = await database.read(lambda: _listed(function(user, scope, topic)))
    if isawaitable(made):
        made = await made
    if isinstance(made, AsyncIterable):
        try:
            async for item in made:
                yield _event(item)
        finally:
            await aclose(made)
    else:
        for item in made:
            yield _event(item)


def _listed(made: Any) -> Any:
    """Read what is lazy here, in the thread, unless it belongs into the loop."""
    return made if isinstance(made, AsyncIterable) or isawaitable(made) else list(made)


def _event(item: Any) -> ServerSentEvent:
    """Take an event without an id, or the data of one: the ids of a stream are its cursors."""
    event = item if isinstance(item, ServerSentEvent) else ServerSentEvent(item)
    if event.id is not None:
        raise ValueError(f"a snapshot's event must have no id, but this one has {event.id!r}")
    return event
