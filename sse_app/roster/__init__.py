"""Rosters: who reads what in all processes together, kept beside the event log."""

from functools import cache

from django.utils.module_loading import import_string

from sse_app.eventlog import get_event_log
from sse_app.roster.base import Roster


@cache
def get_roster() -> Roster:
    """Give this process's roster: the one that the event log names."""
    roster: Roster = import_string(get_event_log().roster)()
    return roster
