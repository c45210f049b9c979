"""Heartbeat: the time, in streams that don't live for ever.

A stream ends after its lifetime, and the browser opens the next one. So a fleet of servers can be
rebalanced, and nobody reads for years with a permission from long ago. `spread` ends some of them
earlier, at random, so that a thousand pages which were opened together don't come back together.
"""

from datetime import UTC, datetime

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import only, seconds
from sse_app import EventSourceResponse
from sse_app.refusals import door
from sse_app.streams import interval, lifetime


@door("GET", "HEAD")
async def heartbeat(request: HttpRequest) -> HttpResponseBase:
    """Tell the time each second, for an hour at most: ``?seconds=LIFETIME``."""
    only(request, "seconds")
    longest = seconds(request, "seconds", default=3600, least=0.1, most=3600)
    beats = ({"time": datetime.now(UTC)} async for _ in interval(1))
    return EventSourceResponse(lifetime(beats, longest, spread=0.1), keep_alive=10)
