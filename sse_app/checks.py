"""System checks: what keeps streams from working, said before it happens."""

from collections.abc import Callable, Sequence
from inspect import isabstract
from typing import Any

import django
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections
from django.utils.module_loading import import_string

from sse_app.conf import conf, topic_rules
from sse_app.eventlog import NAMES
from sse_app.eventlog.base import EventLog
from sse_app.permissions import TopicPolicy

Check = Callable[..., Sequence[CheckMessage]]

IN_MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
CORE_REDIS_LAYER = "channels_redis.core.RedisChannelLayer"


def check_topics_can_be_read(**kwargs: Any) -> list[CheckMessage]:
    """A bad pattern, kind or option."""
    try:
        topic_rules()
    except ValueError as error:
        return [Error(f"SSE_TOPICS: {error}", id="sse_app.E001")]
    return []


def check_policy_can_be_loaded(**kwargs: Any) -> list[CheckMessage]:
    """A policy that is missing or is none."""
    return _check_class("SSE_TOPIC_POLICY", conf.SSE_TOPIC_POLICY, TopicPolicy, "sse_app.E002")


def check_event_log_can_be_loaded(**kwargs: Any) -> list[CheckMessage]:
    """An event log that is missing or is none."""
    name = conf.SSE_EVENT_LOG
    return _check_class("SSE_EVENT_LOG", NAMES.get(name, name), EventLog, "sse_app.E003")


def check_tick_is_a_span(**kwargs: Any) -> list[CheckMessage]:
    """A tick that is no pair of times."""
    match conf.SSE_TICK:
        case None:
            return []
        case [(int() | float()) as shortest, (int() | float()) as longest] if 0 < shortest <= longest:
            return []
    message = f"SSE_TICK: must be None or two numbers of seconds, such as (1.2, 1.6), not {conf.SSE_TICK!r}"
    return [Error(message, id="sse_app.E004")]


def check_snapshots_can_be_loaded(**kwargs: Any) -> list[CheckMessage]:
    """A topic's snapshot that is missing or can't be called."""
    try:
        rules = topic_rules().rules
    except ValueError:  # which is an error of its own
        return []
    found = []
    for rule in rules:
        try:
            usable = rule.snapshot is None or callable(import_string(rule.snapshot))
            problem = None if usable else f"{rule.snapshot} can't be called"
        except ImportError as error:
            problem = str(error)
        if problem:
            found.append(Error(f"SSE_TOPICS: {rule.pattern!r}: snapshot: {problem}", id="sse_app.E005"))
    return [*found]


def check_project_is_served_by_asgi(**kwargs: Any) -> list[CheckMessage]:
    """A project that knows of WSGI only."""
    if getattr(settings, "ASGI_APPLICATION", None) or not settings.WSGI_APPLICATION:
        return []
    hint = "Set ASGI_APPLICATION and serve it with an ASGI server; publishing works under both."
    return [Warning("Event streams can't be served under WSGI.", hint=hint, id="sse_app.W001")]


def check_policy_is_set(**kwargs: Any) -> list[CheckMessage]:
    """Topics that nobody may read, because no policy says who may."""
    if hasattr(settings, "SSE_TOPIC_POLICY") or not conf.SSE_TOPICS:
        return []
    hint = "Set SSE_TOPIC_POLICY to a subclass of sse_app.TopicPolicy."
    message = "SSE_TOPIC_POLICY is not set: every topic but a user's own is closed to everyone."
    return [Warning(message, hint=hint, id="sse_app.W002")]


def check_layer_reaches_other_processes(**kwargs: Any) -> list[CheckMessage]:
    """The in-memory channel layer in production."""
    if settings.DEBUG or _layer().get("BACKEND") != IN_MEMORY_LAYER:
        return []
    message = "The in-memory channel layer does not reach other processes: their events wait for the tick."
    hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer."
    return [Warning(message, hint=hint, id="sse_app.W003")]


def check_core_layer_has_capacity(**kwargs: Any) -> list[CheckMessage]:
    """The core Redis layer, whose default capacity a burst exceeds."""
    layer = _layer()
    if layer.get("BACKEND") != CORE_REDIS_LAYER or "capacity" in layer.get("CONFIG", {}):
        return []
    message = "The core Redis channel layer drops messages beyond 100 per process."
    hint = "Use channels_redis.pubsub.RedisPubSubChannelLayer, or set its capacity to 10000."
    return [Warning(message, hint=hint, id="sse_app.W004")]


def check_gzip_leaves_streams_alone(**kwargs: Any) -> list[CheckMessage]:
    """GZipMiddleware before Django 6.0: clients decode the first event and lose the others."""
    gzip = "django.middleware.gzip.GZipMiddleware" in settings.MIDDLEWARE
    if not gzip or django.VERSION >= (6, 0) or conf.SSE_CONTENT_ENCODING:
        return []
    hint = 'Leave SSE_CONTENT_ENCODING at "identity".'
    message = "GZipMiddleware of this Django makes clients lose all events but the first."
    return [Warning(message, hint=hint, id="sse_app.W005")]


def check_connections_are_not_persistent(**kwargs: Any) -> list[CheckMessage]:
    """CONN_MAX_AGE under ASGI, where a connection belongs to a thread that is soon gone."""
    return [
        Warning(
            f"The database {alias!r} has CONN_MAX_AGE set, which leaks connections under ASGI.",
            hint="Set CONN_MAX_AGE to 0, or use a pool.",
            id="sse_app.W006",
        )
        for alias in connections
        if getattr(settings, "ASGI_APPLICATION", None)
        and connections.settings[alias].get("CONN_MAX_AGE") != 0
    ]


def check_sqlite_begins_immediately(**kwargs: Any) -> list[CheckMessage]:
    """SQLite in its default mode, in which transactions that publish fail at once."""
    return [
        Warning(
            f"The SQLite database {alias!r} begins transactions without a lock: publishing from two "
            "at once ends in 'database is locked'.",
            hint='Set OPTIONS["transaction_mode"] to "IMMEDIATE", and journal_mode to WAL.',
            id="sse_app.W007",
        )
        for alias in connections
        if connections[alias].vendor == "sqlite"
        and _transaction_mode(alias) not in ("IMMEDIATE", "EXCLUSIVE")
    ]


ALL: tuple[Check, ...] = (
    check_topics_can_be_read,
    check_policy_can_be_loaded,
    check_event_log_can_be_loaded,
    check_tick_is_a_span,
    check_snapshots_can_be_loaded,
    check_project_is_served_by_asgi,
    check_policy_is_set,
    check_layer_reaches_other_processes,
    check_core_layer_has_capacity,
    check_gzip_leaves_streams_alone,
    check_connections_are_not_persistent,
    check_sqlite_begins_immediately,
)


def _check_class(setting: str, path: object, base: type, id: str) -> list[CheckMessage]:
    if not isinstance(path, str):
        return [Error(f"{setting}: must be a dotted path, not {path!r}", id=id)]
    try:
        found = import_string(path)
    except ImportError as error:
        return [Error(f"{setting}: {error}", id=id)]
    if not (isinstance(found, type) and issubclass(found, base)) or isabstract(found):
        return [Error(f"{setting}: {path} is not a complete subclass of {base.__name__}", id=id)]
    return []


def _transaction_mode(alias: str) -> str:
    return str(connections.settings[alias]["OPTIONS"].get("transaction_mode")).upper()


def _layer() -> dict[str, Any]:
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    layer: dict[str, Any] = layers.get(conf.SSE_CHANNEL_LAYER, {})
    return layer
