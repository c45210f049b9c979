"""The app as Django loads it."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed
from django.utils.functional import Promise

from sse_app import checks as sse_checks
from sse_app.conf import topic_rules
from sse_app.eventlog import get_event_log
from sse_app.payloads import json_default
from sse_app.permissions import get_policy
from sse_app.roster import get_roster


class SSEConfig(AppConfig):
    """Live streams."""

    name = "sse_app"
    verbose_name = "Live streams"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register checks, lazy translations as JSON, and the reload of changed settings."""
        for check in sse_checks.ALL:
            checks.register(check)
        json_default.register(Promise, str)
        setting_changed.connect(forget_settings)


def forget_settings(*, setting: str, **kwargs: Any) -> None:
    """Let a setting overridden in a test take effect."""
    if setting.startswith("SSE_"):
        for cached in (topic_rules, get_event_log, get_roster, get_policy):
            cached.cache_clear()
