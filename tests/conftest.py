"""What every test starts from: no hub, no log, no settings left by another one."""

import contextlib

import pytest

from sse_app import conf, eventlog, permissions
from sse_app.hub import forget_hub, hubs

pytest_plugins = ["tests.services"]


@pytest.fixture(autouse=True)
async def fresh_state():
    yield
    for hub in hubs():
        with contextlib.suppress(RuntimeError):  # another loop's hub is gone with its loop
            await hub.close()
        forget_hub(hub)
    for cached in (conf.topic_rules, eventlog.get_event_log, permissions.get_policy):
        cached.cache_clear()
