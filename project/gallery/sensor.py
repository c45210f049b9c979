"""Sensor: readings that come too fast, of which the newest wins.

The sensor gives a hundred readings a second, the page gets four. What lies between is dropped, and
never the last one. The sensor is not held up, however slow the client is.
"""

import math
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse
from sse_app.refusals import door
from sse_app.streams import interval, throttle


@door("GET", "HEAD")
async def sensor(request: HttpRequest) -> HttpResponseBase:
    """Give a reading every quarter of a second."""
    return EventSourceResponse(throttle(readings(), 0.25))


async def readings() -> AsyncIterator[dict[str, Any]]:
    """Give a hundred readings a second."""
    async for number in interval(0.01):
        yield {"reading": number, "level": round(50 + 40 * math.sin(number / 150), 1)}
