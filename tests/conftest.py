"""What every test starts from: no hub, no log, no settings left by another one."""

import contextlib
import inspect

import pytest

from sse_app import conf, eventlog, permissions
from sse_app.hub import forget_hub, hubs

pytest_plugins = ["tests.services"]


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
    for cached in (conf.topic_rules, eventlog.get_event_log, permissions.get_policy):
        cached.cache_clear()
