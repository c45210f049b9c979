"""Launch: a countdown that ends with an event of another name.

A browser opens a stream again that just ends. So a stream that is over says so with an event of its
own, here `liftoff`, on which the page closes its side.
"""

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import door


@door("GET", "HEAD")
async def launch(request: HttpRequest) -> HttpResponseBase:
    """Count down and lift off."""

    async def events() -> AsyncIterator[str | ServerSentEvent]:
        for number in (3, 2, 1):
            yield f"T-minus {number}"
            await asyncio.sleep(0.15)
        yield ServerSentEvent("Liftoff!", event="liftoff")

    return EventSourceResponse(events())
