"""Producer: a producer that waits for its reader.

Ten thousand events, made by a task of its own 10 ms apart, go through a channel that holds 32.
While it is full `put` waits, so a client that reads slowly slows the producer down instead of
filling the memory. When the client goes the producer is cancelled.
"""

import asyncio

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse
from sse_app.pumps import Put
from sse_app.refusals import door
from sse_app.streams import produce


@door("GET", "HEAD")
async def producer(request: HttpRequest) -> HttpResponseBase:
    """Send what is produced."""

    async def work(put: Put[str]) -> None:
        for number in range(10_000):
            await put(f"Event {number}")
            await asyncio.sleep(0.01)

    return EventSourceResponse(produce(work, size=32), keep_alive=15)
