"""What the demo is started with: the environment, and a compose file that names only what exists."""

import re
import runpy
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.urls import resolve
from django.utils.module_loading import import_string

ROOT = Path(__file__).parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
APP = COMPOSE[COMPOSE.index("  app:") : COMPOSE.index("  postgres:\n")]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SSE_RING_ENTRIES", "512", 512),
        ("SSE_TICK", "[0.5, 0.8]", [0.5, 0.8]),
        ("SSE_EVENT_LOG", "memory", "memory"),
        ("SSE_CHANNEL_LAYER", "null", None),
    ],
)
def test_any_setting_of_the_app_may_come_from_the_environment(name, text, value, monkeypatch):
    monkeypatch.setenv(name, text)
    assert runpy.run_path(str(ROOT / "project/settings.py"))[name] == value


def test_compose_serves_an_application_that_exists_as_nobody():
    application = re.search(r"uvicorn (\S+):(\S+) ", APP)
    assert callable(import_string(".".join(application.groups())))
    assert "USER nobody" in APP


def test_compose_asks_an_address_that_exists_whether_streams_can_be_served():
    address = re.search(r"urlopen\('([^']+)'\)", APP)[1]
    assert resolve(urlsplit(address).path).view_name == "sse:ready"


def test_compose_limits_the_memory():
    assert re.search(r"^ +mem_limit: 512m$", APP, re.M)


def test_compose_sets_what_the_settings_read():
    block = APP[APP.index("environment:") : APP.index("ports:")]
    names = re.findall(r"^ {6}(\w+):", block, re.M)
    assert len(names) >= 4
    settings = (ROOT / "project/settings.py").read_text()
    assert [name for name in names if f'"{name}"' not in settings and name != "DATABASE_URL"] == []
    assert "dj_database_url.config(" in settings  # which reads DATABASE_URL
