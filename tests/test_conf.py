"""Settings: each is explained, in the code and in the docs alike, and can be overridden."""

import ast
import re
from pathlib import Path

import pytest
from django.test import override_settings

from sse_app import TopicPolicy, conf, eventlog, permissions
from sse_app.eventlog.memory import MemoryEventLog
from sse_app.eventlog.orm import ORMEventLog
from sse_app.topics import TopicKind

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"
HEADING = re.compile(r"^### `(?P<name>SSE_\w+): (?P<type>.+)`\n\nDefault: `(?P<default>.+)`\n\n(?=\S)", re.M)

NAMES = [name for name, value in vars(conf.Settings).items() if isinstance(value, property)]
DOCUMENTED = {found["name"]: found for found in HEADING.finditer(DOCS.read_text())}


class Policy(TopicPolicy):
    pass


def annotations():
    """Give the types of all settings as they are written in the code."""
    module = ast.parse(Path(conf.__file__).read_text())
    (settings,) = (node for node in module.body if isinstance(node, ast.ClassDef))
    methods = [node for node in settings.body if isinstance(node, ast.FunctionDef)]
    return {method.name: ast.unparse(method.returns) for method in methods}


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_says_what_it_is_for(name):
    text = getattr(conf.Settings, name).__doc__
    assert text and text.endswith(".")


def test_the_docs_have_all_settings_and_no_others():
    assert sorted(DOCUMENTED) == sorted(NAMES)
    assert sorted(re.findall(r"^#+ .*?(SSE_\w+)", DOCS.read_text(), re.M)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_docs_have_the_right_type_and_default(name, settings):
    if hasattr(settings, name):
        delattr(settings, name)
    assert DOCUMENTED[name]["type"] == annotations()[name]
    assert ast.literal_eval(DOCUMENTED[name]["default"]) == getattr(conf.conf, name)


@pytest.mark.parametrize("name", NAMES)
def test_an_override_takes_effect_at_once_and_for_as_long_as_it_lasts(name):
    before = getattr(conf.conf, name)
    value = object()
    with override_settings(**{name: value}):
        assert getattr(conf.conf, name) is value
    assert getattr(conf.conf, name) == before


def test_overridden_topics_are_read_anew():
    with override_settings(SSE_TOPICS={"orders": {"kind": "latest"}}):
        assert conf.topic_rules().rule("orders").kind is TopicKind.LATEST
        with override_settings(SSE_TOPICS={"orders": {"kind": "ephemeral"}}):
            assert conf.topic_rules().rule("orders").kind is TopicKind.EPHEMERAL
        assert conf.topic_rules().rule("orders").kind is TopicKind.LATEST


def test_an_overridden_policy_is_made_anew():
    with override_settings(SSE_TOPIC_POLICY=f"{__name__}.Policy"):
        assert type(permissions.get_policy()) is Policy
    assert type(permissions.get_policy()) is not Policy


def test_an_overridden_log_is_made_anew():
    with override_settings(SSE_EVENT_LOG="memory"):
        first = eventlog.get_event_log()
        assert type(first) is MemoryEventLog
        assert eventlog.get_event_log() is first
    with override_settings(SSE_EVENT_LOG="orm"):
        assert type(eventlog.get_event_log()) is ORMEventLog
    with override_settings(SSE_EVENT_LOG="sse_app.eventlog.memory.MemoryEventLog"):
        assert eventlog.get_event_log() is not first
