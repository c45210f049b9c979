"""The long poll: the next events of some topics as one answer, for clients that have nothing better.

It is the subscription of the event stream, cut after its first events: the same query, policy, filters
and cursor, so that nothing is lost or repeated between two polls of a topic that has a log. What an
ephemeral topic sends between two polls is missed.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sse_app.messages import Message
from sse_app.payloads import to_json
from sse_app.queries import make_subscription, named_topics, parameter
from sse_app.refusals import Refused, admit_stream, door, json_line, require_asgi
from sse_app.responses import AsyncResponse
from sse_app.resuming import last_event_id
from sse_app.snapshot import SnapshotSource
from sse_app.subscription import Subscription
from sse_app.topics import TopicKind

DEFAULT_WAIT = 25.0  # below the 30 seconds after which many proxies give up
LONGEST_WAIT = 60.0
# How long the log may take to say where a reader is, whatever the client's patience.
OPENING_SECONDS = 5.0
# Snapshots come whole, or the next poll would begin them again; batches of the log are far smaller.
MAX_ANSWER_BYTES = 4 * 2**20


@door("GET", "HEAD")
async def poll(request: HttpRequest) -> HttpResponseBase:
    """Answer with the next events after ``last_event_id``, or with none after ``wait`` seconds.

    Without a cursor the answer comes at once: it has the cursor of the moment.
    """
    request = require_asgi(request)
    wait = parameter(request.GET, "wait", _parse_wait)
    cursor = last_event_id(request)
    subscription = make_subscription(named_topics(request.GET), request.GET, cursor)
    await admit_stream(request, subscription)
    if request.method == "HEAD":
        return json_line({})
    subscription.snapshots = _owed(subscription)
    claims_nothing = all(start.is_new for start in subscription.starts.values())
    if claims_nothing or wait == 0:
        return await _answer_at_once(subscription)
    answer = _later(subscription, DEFAULT_WAIT if wait is None else wait, cursor)
    headers = {"Cache-Control": "no-store", "Content-Encoding": "identity"}
    # As a body that is long in coming: with it neither a thread nor a connection waits.
    return AsyncResponse(answer, b"", content_type="application/json", headers=headers)


async def _answer_at_once(subscription: Subscription) -> HttpResponseBase:
    try:
        messages = await _collect(subscription, 0)
    finally:
        subscription.close()
    if messages is None:
        raise Refused(501, f"a snapshot has more than the {MAX_ANSWER_BYTES} bytes of one answer")
    if subscription.cursor is None:
        raise Refused(503, "the event log is out of reach", Retry_After="5")
    return json_line(_content(messages, subscription.cursor))


async def _later(subscription: Subscription, wait: float, cursor: str | None) -> AsyncIterator[bytes]:
    try:
        messages = await _collect(subscription, wait)
    finally:
        subscription.close()
    if messages is None:
        raise OverflowError(f"a snapshot has more than the {MAX_ANSWER_BYTES} bytes of one answer")
    if subscription.cursor is None:  # what was sent would be sent again
        messages = []
    yield to_json(_content(messages, subscription.cursor or cursor))


async def _collect(subscription: Subscription, wait: float) -> list[Message] | None:
    """Give the first events there are, or none once ``wait`` seconds have passed; None if they are too many.

    What the log is still being asked for is waited for a little longer.
    """
    time = asyncio.get_running_loop().time
    patience, end = time() + wait, time() + max(wait, OPENING_SECONDS)
    collected: list[Message] = []
    while time() < end:
        over = bool(collected) or time() >= patience
        if over and subscription.cursor is not None and (collected or subscription.settled):
            break
        items = await subscription.items((end if over else patience) - time(), or_settled=over)
        collected += [message for message in subscription.messages(items) if _is_told(message)]
        if subscription.cursor is None and sum(len(m.data) for m in collected) > MAX_ANSWER_BYTES:
            return None
    return collected


def _is_told(message: Message) -> bool:
    """Whether it is more than the cursor, which the answer has in any case."""
    return bool(message.topic) or message.event != "cursor"


def _owed(subscription: Subscription) -> dict[str, SnapshotSource]:
    """Give the snapshots but for those of ephemeral topics that the client has come back to.

    These can't be resumed, so that their snapshots would end each poll at once.
    """
    return {
        topic: source
        for topic, source in subscription.snapshots.items()
        if subscription.rules[topic].kind is not TopicKind.EPHEMERAL or subscription.starts[topic].is_new
    }


def _content(messages: list[Message], cursor: str | None) -> dict[str, Any]:
    return {"events": [message.record for message in messages], "last_event_id": cursor}


def _parse_wait(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or float(text) > LONGEST_WAIT:
        raise ValueError(f"wait: must be a number of seconds from 0 to {LONGEST_WAIT:g}, not {text!r}")
    return float(text)
