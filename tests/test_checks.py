"""System checks: each fires in its case, is quiet in the good one, and is documented."""

import re
from pathlib import Path

import django
import pytest
from django.conf import settings as django_settings
from django.core.checks import registry, run_checks
from django.db import connections

from sse_app import checks
from sse_app.eventlog.base import EventLog
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.permissions import TopicPolicy

DOCS = Path(__file__).parent.parent / "docs" / "checks.md"

CORE = "channels_redis.core.RedisChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
MEMORY = "channels.layers.InMemoryChannelLayer"
GZIP = "django.middleware.gzip.GZipMiddleware"

LEAKS = "The database 'default' has CONN_MAX_AGE set, which leaks connections under ASGI."
LOCKS = (
    "The SQLite database 'default' begins transactions without a lock: publishing from two at once ends "
    "in 'database is locked'."
)
CLOSED = "SSE_TOPIC_POLICY is not set: every topic but a user's own is closed to everyone."


class Policy(TopicPolicy):
    pass


class Log(MemoryEventLog):
    pass


class HalfALog(EventLog):
    pass


def layers(backend, **config):
    return {"default": {"BACKEND": backend, "CONFIG": config}}


# What a project that is set up well has; each case departs from it.
GOOD = {
    "DEBUG": False,
    "ASGI_APPLICATION": "project.asgi.application",
    "CHANNEL_LAYERS": layers(PUBSUB),
    "MIDDLEWARE": [GZIP, *django_settings.MIDDLEWARE],
    "SSE_TOPICS": {"orders": {"kind": "durable"}, "room.{name}": {"kind": "ephemeral"}},
    "SSE_TOPIC_POLICY": f"{__name__}.Policy",
}
GOOD_DATABASE = {"CONN_MAX_AGE": 0, "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
UNSET = object()


def case(text, id, message, database=None, **changed):
    return pytest.param(changed, database or {}, f"sse_app.{id}", message, id=f"{id}: {text}")


BAD = [
    case(
        "a tick that is one number",
        "E004",
        "SSE_TICK: must be None or two numbers of seconds, such as (1.2, 1.6), not 2",
        SSE_TICK=2,
    ),
    case(
        "a tick that runs backwards",
        "E004",
        "SSE_TICK: must be None or two numbers of seconds, such as (1.2, 1.6), not (2, 1)",
        SSE_TICK=(2, 1),
    ),
    case(
        "topics that are a list",
        "E001",
        "SSE_TOPICS: must be a dict of patterns and their options, not ['orders']",
        SSE_TOPICS=["orders"],
    ),
    case(
        "bad pattern",
        "E001",
        "SSE_TOPICS: 'two words' is not a topic pattern, such as 'orders' or 'room.{name}'",
        SSE_TOPICS={"two words": {}},
    ),
    case(
        "unknown kind",
        "E001",
        "SSE_TOPICS: 'orders': kind 'solid' is not one of durable, ephemeral, latest",
        SSE_TOPICS={"orders": {"kind": "solid"}},
    ),
    case(
        "unknown option",
        "E001",
        "SSE_TOPICS: 'orders': unknown option 'sort'; "
        "known are kind, reset_to, keep, max_age, snapshot, presence",
        SSE_TOPICS={"orders": {"sort": "durable"}},
    ),
    case(
        "options that are a word",
        "E001",
        "SSE_TOPICS: 'orders': the options must be a dict, not 'durable'",
        SSE_TOPICS={"orders": "durable"},
    ),
    case(
        "a snapshot that is not there",
        "E005",
        'SSE_TOPICS: \'orders\': snapshot: Module "tests.test_checks" does not define a "nothing" '
        "attribute/class",
        SSE_TOPICS={"orders": {"snapshot": "tests.test_checks.nothing"}},
    ),
    case(
        "a snapshot that is no function",
        "E005",
        "SSE_TOPICS: 'orders': snapshot: tests.test_checks.UNSET can't be called",
        SSE_TOPICS={"orders": {"snapshot": "tests.test_checks.UNSET"}},
    ),
    case(
        "no such module",
        "E002",
        "SSE_TOPIC_POLICY: No module named 'nowhere'",
        SSE_TOPIC_POLICY="nowhere.Policy",
    ),
    case(
        "not a policy",
        "E002",
        "SSE_TOPIC_POLICY: pathlib.Path is not a complete subclass of TopicPolicy",
        SSE_TOPIC_POLICY="pathlib.Path",
    ),
    case(
        "a policy that is no path",
        "E002",
        "SSE_TOPIC_POLICY: must be a dotted path, not None",
        SSE_TOPIC_POLICY=None,
    ),
    case(
        "unknown name of a log",
        "E003",
        "SSE_EVENT_LOG: orn doesn't look like a module path",
        SSE_EVENT_LOG="orn",
    ),
    case(
        "not a log",
        "E003",
        "SSE_EVENT_LOG: pathlib.Path is not a complete subclass of EventLog",
        SSE_EVENT_LOG="pathlib.Path",
    ),
    case(
        "a log that lacks its methods",
        "E003",
        f"SSE_EVENT_LOG: {__name__}.HalfALog is not a complete subclass of EventLog",
        SSE_EVENT_LOG=f"{__name__}.HalfALog",
    ),
    case(
        "WSGI alone",
        "W001",
        "Event streams can't be served under WSGI.",
        ASGI_APPLICATION=None,
        WSGI_APPLICATION="project.wsgi.application",
    ),
    case("no policy", "W002", CLOSED, SSE_TOPIC_POLICY=UNSET),
    case(
        "in-memory layer in production",
        "W003",
        "The in-memory channel layer does not reach other processes: their events wait for the tick.",
        CHANNEL_LAYERS=layers(MEMORY),
    ),
    case(
        "core layer with its default capacity",
        "W004",
        "The core Redis channel layer drops messages beyond 100 per process.",
        CHANNEL_LAYERS=layers(CORE),
    ),
    case("lasting connections", "W006", LEAKS, database={"CONN_MAX_AGE": 60}),
    case("connections without an end", "W006", LEAKS, database={"CONN_MAX_AGE": None}),
    case("SQLite as Django sets it up", "W007", LOCKS, database={"OPTIONS": {}}),
    case("SQLite deferred", "W007", LOCKS, database={"OPTIONS": {"transaction_mode": "DEFERRED"}}),
]
if django.VERSION < (6, 0):
    BAD.append(
        case(
            "GZip and no Content-Encoding",
            "W005",
            "GZipMiddleware of this Django makes clients lose all events but the first.",
            SSE_CONTENT_ENCODING="",
        )
    )

FINE = {
    "as it should be": {},
    "a log of one's own": {"SSE_EVENT_LOG": f"{__name__}.Log"},
    "the memory log": {"SSE_EVENT_LOG": "memory"},
    "the default policy by name": {"SSE_TOPIC_POLICY": "sse_app.TopicPolicy"},
    "neither topics nor a policy": {"SSE_TOPIC_POLICY": UNSET, "SSE_TOPICS": {}},
    "ASGI and WSGI": {"WSGI_APPLICATION": "project.wsgi.application"},
    "in-memory layer in debug mode": {"DEBUG": True, "CHANNEL_LAYERS": layers(MEMORY)},
    "no layer": {"SSE_CHANNEL_LAYER": None, "CHANNEL_LAYERS": layers(MEMORY)},
    "core layer with room": {"CHANNEL_LAYERS": layers(CORE, capacity=10_000)},
    "no Content-Encoding without GZip": {"SSE_CONTENT_ENCODING": "", "MIDDLEWARE": []},
}


@pytest.fixture
def messages(settings, monkeypatch):
    """Run all checks with the good settings, changed, and give what this app says."""
    sqlite = connections["default"].vendor == "sqlite"

    def run(changed, database=None):
        for name, value in {**GOOD, **changed}.items():
            if value is UNSET:
                delattr(settings, name)
            else:
                setattr(settings, name, value)
        for name, value in {**GOOD_DATABASE, **(database or {})}.items():
            if sqlite or name != "OPTIONS":
                monkeypatch.setitem(connections.settings["default"], name, value)
        return [message for message in run_checks() if str(message.id).startswith("sse_app.")]

    return run


@pytest.mark.parametrize(("changed", "database", "id", "message"), BAD)
def test_a_fault_is_named(messages, changed, database, id, message):
    if id == "sse_app.W007" and connections["default"].vendor != "sqlite":
        pytest.skip("the suite runs on another database")
    (found,) = messages(changed, database)
    assert (found.id, found.msg) == (id, message)
    assert found.is_serious(40) == id.startswith("sse_app.E")


@pytest.mark.parametrize("changed", FINE.values(), ids=FINE)
def test_what_is_right_is_passed_over(messages, changed):
    assert messages(changed) == []


@pytest.mark.parametrize("mode", ["IMMEDIATE", "immediate", "EXCLUSIVE"])
def test_any_mode_that_takes_the_lock_first_is_right(messages, mode):
    assert messages({}, {"OPTIONS": {"transaction_mode": mode}}) == []


def test_every_warning_says_what_to_do(messages):
    for row in BAD:
        changed, database, id, _ = row.values
        if id.startswith("sse_app.W"):
            assert all(message.hint for message in messages(changed, database))


def test_every_check_is_bound():
    functions = [value for name, value in vars(checks).items() if name.startswith("check_")]
    assert list(checks.ALL) == functions
    assert set(checks.ALL) <= set(registry.registry.get_checks())


def ids_in_the_source():
    return re.findall(r"sse_app\.[EW]\d{3}", Path(checks.__file__).read_text())


def test_no_id_is_used_twice():
    assert len(ids_in_the_source()) == len(set(ids_in_the_source())) == len(checks.ALL)


def test_every_id_has_a_case_here():
    tested = {row.values[2] for row in BAD} | {"sse_app.W005"}
    assert tested == set(ids_in_the_source())


def test_every_id_is_documented_once_and_in_order():
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    assert [id.strip("`") for id, *_ in cells] == sorted(ids_in_the_source())
    assert all(len(row) == 3 and all(row) for row in cells)
