"""Feed: plain events, named events with an id, and one that only sets the waiting time.

Three kinds of events in one stream. The last one has no data: the page sees nothing of it, but from
now on the browser waits two seconds before it reconnects. Then the stream ends, the browser comes
back with the `Last-Event-ID` that it has seen, and the next id follows on that one.
"""

from collections.abc import AsyncIterator
from datetime import timedelta

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import last_number
from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import door


@door("GET", "HEAD")
async def feed(request: HttpRequest) -> HttpResponseBase:
    """Send one event of each kind."""
    number = last_number(request) + 1

    async def events() -> AsyncIterator[str | ServerSentEvent]:
        yield "a plain message"
        yield ServerSentEvent(f"item {number}", event="news", id=str(number))
        yield ServerSentEvent(retry=timedelta(seconds=2))

    return EventSourceResponse(events())
