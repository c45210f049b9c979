"""Ticks: what a plain Node server writes, byte for byte.

Three named events, 150 ms apart, and the end. Without the comment that primes a stream
(`prime=False`) the body is the same as that of a few lines of Node, which a test runs beside it.
"""

from collections.abc import AsyncIterator

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import door
from sse_app.streams import interval


@door("GET", "HEAD")
async def ticks(request: HttpRequest) -> HttpResponseBase:
    """Send three ticks."""

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for number in interval(0.15):
            yield ServerSentEvent({"seq": number, "message": f"tick {number}"}, event="tick")
            if number == 2:
                return

    return EventSourceResponse(events(), prime=False)
