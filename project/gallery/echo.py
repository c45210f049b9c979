"""Echo: an event made of what a visitor typed, which stays one event.

Every line of the data gets a `data:` of its own, every line of a comment its colon, and a name or
an id of two lines is refused. So `\\n\\nevent:click\\n\\n` in any of them is text, and never an
event.
"""

from collections.abc import AsyncIterator

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from project.gallery.parameters import only
from sse_app import EventSourceResponse, ServerSentEvent
from sse_app.refusals import Refused, door


@door("GET", "HEAD")
async def echo(request: HttpRequest) -> HttpResponseBase:
    """Send back one event: ``?data=&event=&id=&comment=``."""
    only(request, "data", "event", "id", "comment")
    data, name, id, comment = (request.GET.get(field) for field in ("data", "event", "id", "comment"))
    try:
        event = ServerSentEvent(data, event=name, id=id, comment=comment)
    except ValueError as error:
        raise Refused(400, str(error)) from error

    async def events() -> AsyncIterator[ServerSentEvent | str]:
        yield event
        yield "the end"

    return EventSourceResponse(events())
