"""Records: one generator in four formats.

The client chooses with its `Accept` header: newline-delimited JSON, JSON Lines, one JSON array or
an event stream. Weights, wildcards and the more specific range count as RFC 9110 has it; who takes
none of the four gets 406 and the list.
"""

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import ServerSentEvent, negotiate
from sse_app.refusals import door
from sse_app.streams import interval


@door("GET", "HEAD")
async def records(request: HttpRequest) -> HttpResponseBase:
    """Give five records in the format that the client asks for."""
    return negotiate(request, five(), event=as_event)


async def five() -> AsyncIterator[dict[str, Any]]:
    """Give the records."""
    async for number in interval(0.1, start=1):
        yield {"id": number, "square": number**2}
        if number == 5:
            return


def as_event(record: dict[str, Any]) -> ServerSentEvent:
    """Give the record a name and an id, where it is an event."""
    return ServerSentEvent(record, event="record", id=str(record["id"]))
