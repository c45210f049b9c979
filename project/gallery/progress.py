"""Progress: a long job in percent, which survives a reload.

The job runs by itself; the stream only looks on. Reload the page: it comes back with the id that it
has seen last, finds the same job, and misses nothing that matters, as only the newest percentage is
kept. After a restart of the server the job is gone, but the id still tells how far it was, so a new
one goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from project.gallery.parameters import only, seconds
from sse_app import EventSourceResponse, ServerSentEvent, last_event_id
from sse_app.jobs import Jobs, TooManyJobs
from sse_app.refusals import Refused, door

jobs: Jobs[int] = Jobs(keep=1)


async def work(begin: int, duration: float) -> AsyncIterator[int]:
    """Do a hundredth after the other."""
    for percent in range(begin + 1, 101):
        await asyncio.sleep(duration / 100)
        yield percent


@door("GET", "HEAD")
async def progress(request: HttpRequest) -> HttpResponseBase:
    """Look on, and begin the work if there is none yet: ``?duration=SECONDS``."""
    only(request, "duration", "last_event_id")
    duration = seconds(request, "duration", default=20, least=0.1, most=600)
    seen = last_event_id(request)
    begin = percent_of(seen)
    if begin == 100:
        return HttpResponse(status=204)  # an EventSource that has seen the end is to stay away
    try:
        reading = jobs.resume(seen) or jobs.start(work(begin, duration), after=begin, linger=60)
    except TooManyJobs as error:
        raise Refused(503, str(error), Retry_After="60") from error

    async def events() -> AsyncIterator[ServerSentEvent]:
        async with aclosing(reading):
            async for id, percent in reading:
                yield ServerSentEvent({"percent": percent}, event="progress", id=id)

    return EventSourceResponse(events())


def percent_of(id: str | None) -> int:
    """Give the percentage that an id ends with."""
    text = "0" if id is None else id.rpartition(".")[2]
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= 100):
        raise Refused(400, f"last event id: must end with a percentage, not {text!r}")
    return int(text)
