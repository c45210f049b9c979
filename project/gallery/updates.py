"""Updates: a hundred numbered events that resume where they were cut, and pings in between.

Each event has its number as id, so that a client which was cut comes back with the last one it has,
and gets the rest. One that has them all is told to stay away: 204 ends an `EventSource` for good.
After 5 seconds without an event a comment with the text `ping` goes out; no page sees it, but read
the raw bytes.
"""

from collections.abc import AsyncIterator

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from project.gallery.parameters import last_number, only, seconds
from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import door
from sse_app.streams import interval

COUNT = 100


@door("GET", "HEAD")
async def updates(request: HttpRequest) -> HttpResponseBase:
    """Send what is left of the hundred: ``?every=SECONDS``."""
    only(request, "every", "last_event_id")
    first = last_number(request, none=-1) + 1
    every = seconds(request, "every", default=1, most=60)
    if first >= COUNT:
        return HttpResponse(status=204)

    async def events() -> AsyncIterator[ServerSentEvent]:
        async for number in interval(every, start=first):
            yield ServerSentEvent(f"Message {number}", event="update", id=str(number))
            if number == COUNT - 1:
                return

    return EventSourceResponse(events(), keep_alive=5, keep_alive_text="ping")
