"""Failing: an export that fails in the middle, and doesn't look complete.

The status has been sent long before, so it can't tell. Instead the body is cut and not ended, which
every HTTP client reports as an error, and the last record with the count is missing. The client
never sees what went wrong: that is in the server's log.
"""

from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import number, only
from sse_app import NDJSONResponse
from sse_app.refusals import door
from sse_app.streams import rate_limit


@door("GET", "HEAD")
async def failing(request: HttpRequest) -> HttpResponseBase:
    """Export a hundred records, or fail after some: ``?after=RECORDS``."""
    only(request, "after")
    after = number(request, "after", default=30, least=0, most=100)
    return NDJSONResponse(rate_limit(records(after), 100), request=request, trailer=True)


async def records(after: int) -> AsyncIterator[dict[str, Any]]:
    """Give a hundred records, unless the database fails."""
    for id in range(1, 101):
        if id > after:
            raise ConnectionError("the database is gone")
        yield {"id": id, "name": f"Record {id}"}
