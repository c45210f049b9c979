"""Metrics: the load of this machine, each second.

Real figures, as JSON in an event named `metrics`, with the time in RFC 3339 and a running number as
id. A client that was cut comes back with the last number it has, and the next one follows on that.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psutil
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import last_number
from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import door
from sse_app.streams import interval


@door("GET", "HEAD")
async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Measure from the number after the last one that the client has."""
    first = last_number(request) + 1

    async def events() -> AsyncIterator[ServerSentEvent]:
        load = Load()
        async for number in interval(1, start=first):
            memory = psutil.virtual_memory().percent
            measured = {"cpu": load.percent(), "memory": memory, "at": datetime.now(UTC)}
            yield ServerSentEvent(measured, event="metrics", id=str(number))

    return EventSourceResponse(events())


class Load:
    """How busy the processors were since one asked last; at first, since the machine was started.

    ``psutil.cpu_percent()`` remembers one moment per process, which several streams would share.
    """

    def __init__(self) -> None:
        self.total = self.idle = 0.0

    def percent(self) -> float:
        """Give the share of the time that was not idle."""
        times = psutil.cpu_times()
        total, idle = sum(times[:8]), times.idle + getattr(times, "iowait", 0.0)
        passed, waited = total - self.total, idle - self.idle
        self.total, self.idle = total, idle
        return round(100 * max(0.0, 1 - waited / passed), 1) if passed > 0 else 0.0
