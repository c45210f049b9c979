"""Clock: a count per second, for ever.

The smallest stream there is. Close the page, and the server forgets the stream: nothing of it stays
behind. A comment would be sent after 15 seconds of silence, so that no proxy closes the connection;
here it is never that quiet.
"""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app import EventSourceResponse
from sse_app.refusals import door
from sse_app.streams import interval


@door("GET", "HEAD")
async def clock(request: HttpRequest) -> HttpResponseBase:
    """Count the seconds."""
    return EventSourceResponse(interval(1))
