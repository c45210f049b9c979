"""Event logs: past events of durable topics, kept in one of several places."""

from functools import cache

from django.utils.module_loading import import_string

from sse_app.conf import conf
from sse_app.eventlog.base import EventLog

NAMES = {
    "orm": "sse_app.eventlog.orm.ORMEventLog",
    "redis": "sse_app.eventlog.redis.RedisEventLog",
    "memory": "sse_app.eventlog.memory.MemoryEventLog",
}


@cache
def get_event_log() -> EventLog:
    """Give this process's event log; loaded by name, because the ORM log needs the models."""
    name = conf.SSE_EVENT_LOG
    log: EventLog = import_string(NAMES.get(name, name))()
    return log
