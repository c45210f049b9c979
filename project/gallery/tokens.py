"""Tokens: a text token by token, in the form that clients of language models expect.

Each frame is the JSON of one `chat.completion.chunk`, and the last one is `[DONE]`. To make such a
text costs money, so it is made once: a reader who was cut comes back with the last id and gets the
rest, also of what was made meanwhile. Whether the making goes on without a reader is `linger`, in
seconds.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from project.gallery.parameters import only, seconds
from sse_app import EventSourceResponse, ServerSentEvent, last_event_id
from sse_app.jobs import Jobs, TooManyJobs
from sse_app.refusals import Refused, door

TEXT = (
    "A stream is a response that has not ended yet. The server writes when it has something to say, "
    "and the browser reads as it comes: a word, a number, half a sentence. Nobody asks again and "
    "again, and nobody waits for the whole.\nWhen the line is cut, the browser remembers the last "
    "thing that it heard, and comes back for the rest."
)

jobs: Jobs[Any] = Jobs()


async def answer(pace: float) -> AsyncIterator[Any]:
    """Write the text as a language model would."""
    frame = {"object": "chat.completion.chunk", "created": int(time.time()), "model": "demo"}
    for token in re.findall(r"\s*\S+|\s+", TEXT):
        await asyncio.sleep(pace)
        yield frame | {"choices": [{"index": 0, "delta": {"content": token}, "finish_reason": None}]}
    yield frame | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield "[DONE]"


@door("GET", "HEAD")
async def tokens(request: HttpRequest) -> HttpResponseBase:
    """Write a text, or go on with one: ``?linger=SECONDS&pace=SECONDS``."""
    only(request, "linger", "pace", "last_event_id")
    linger = seconds(request, "linger", default=30, least=0, most=600)
    pace = seconds(request, "pace", default=0.05, least=0.001, most=10)
    seen = last_event_id(request)
    try:
        reading = jobs.resume(seen) if seen else jobs.start(answer(pace), linger=linger)
    except TooManyJobs as error:
        raise Refused(503, str(error), Retry_After="60") from error
    if reading is None:
        raise Refused(410, "that text is no longer being written; ask for a new one")
    if reading.done:
        return HttpResponse(status=204)  # an EventSource that has seen the end is to stay away

    async def frames() -> AsyncIterator[ServerSentEvent]:
        async with aclosing(reading):
            async for id, frame in reading:
                yield ServerSentEvent(frame, id=id)

    return EventSourceResponse(frames())
