"""Ticker: text made from a count, in one line.

An async generator expression is a stream, too. A `str` goes out as it is, anything else as JSON.
"""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse
from sse_app.refusals import door
from sse_app.streams import interval


@door("GET", "HEAD")
async def ticker(request: HttpRequest) -> HttpResponseBase:
    """Say each second that it has passed."""
    return EventSourceResponse(f"tick: {number}" async for number in interval(1))
