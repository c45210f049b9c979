"""What every test starts from: no hub, no log, no settings left by another one."""

import contextlib
import inspect
import threading
import time

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections

from sse_app import conf, database, eventlog, permissions, roster
from sse_app.hub import forget_hub, hubs

pytest_plugins = ["tests.services", "tests.browser", "tests.client", "tests.npm"]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup):
    """Let go of the database in other threads before it is dropped."""
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
    database.close()
    deadline = time.monotonic() + 10
    while any(thread.name == "sse-log" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
async def closed_hubs():
    """Close the test's hub while its loop still runs."""
    yield
    for hub in hubs():
        with contextlib.suppress(RuntimeError):  # another loop's hub is gone with its loop
            await hub.close()
        forget_hub(hub)


@pytest.fixture(autouse=True)
def fresh_state(request):
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("closed_hubs")
    yield
    for cached in (conf.topic_rules, eventlog.get_event_log, roster.get_roster, permissions.get_policy):
        cached.cache_clear()
