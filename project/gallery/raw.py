"""Raw: bytes that were encoded elsewhere pass through as they are.

From another server, a file or a cache: whole blocks of the event-stream format, which are sent
unchecked. That is also the danger: bytes put together from what users typed can carry a whole event
of their own. Build those from values, as the next pattern does.
"""

import asyncio
from collections.abc import AsyncIterator

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse
from sse_app.refusals import door

RECORDED = [
    b": a comment, which no page sees\n\n",
    b"data: a plain message\n\n",
    b"event: greeting\nid: 7\ndata: hello\ndata: world\n\n",
]


@door("GET", "HEAD")
async def raw(request: HttpRequest) -> HttpResponseBase:
    """Send what was recorded."""

    async def blocks() -> AsyncIterator[bytes]:
        for block in RECORDED:
            yield block
            await asyncio.sleep(0.3)

    return EventSourceResponse(blocks(), prime=False)
