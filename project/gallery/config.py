"""Config: settings that change while everything runs, on a topic of which only the newest value counts.

Publish to ``config``, and the pace of all open streams changes at once, in every process; a stream that
opens later begins with it. From a shell: ``manage.py sse_publish config '{"every": 0.2}'``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse, subscribe
from sse_app.refusals import door


@door("GET", "HEAD")
async def config(request: HttpRequest) -> HttpResponseBase:
    """Count at the pace that the settings say."""
    return EventSourceResponse(paced())


async def paced() -> AsyncIterator[dict[str, Any]]:
    """Count, and look at the settings only when they change."""
    every = 1.0
    async with subscribe("config") as settings:
        for tick in count():
            yield {"tick": tick, "every": every}
            try:
                message = await asyncio.wait_for(anext(settings), every)
                every = min(max(0.05, float(json.loads(message.data)["every"])), 60)
            except (TimeoutError, ValueError, TypeError, KeyError):
                continue  # no change, or none that can be used
