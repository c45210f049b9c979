"""Consumers: a subscription over WebSocket, with the cursor, policy and limits of the event stream.

Each event is a message ``{"topic", "event", "data", "id"}``; ``cursor``, ``reset`` and ``lagged`` come
in the same form, with an empty topic. After a silence the cursor is told again, as a heartbeat. A
refusal is a message ``error`` and then a close code: 4000 and the status that HTTP would answer with.
"""

from contextlib import aclosing

from django.http import QueryDict

from sse_app.conf import conf
from sse_app.lease import short_lease
from sse_app.messages import Message
from sse_app.payloads import to_text
from sse_app.queries import make_subscription, named_topics
from sse_app.refusals import REFUSED, Refused, admit_subscription, as_refusal
from sse_app.subscription import Subscription
from sse_app.websocket import Goodbye, WebSocket, conversation, together

# Added to the status of HTTP; the range 4000 to 4999 is the application's own.
REFUSED_CODE = 4000
NOT_FOUND = 4404


def _error_frame(goodbye: Goodbye) -> str:
    return Message("", "error", to_text({"code": goodbye.code, "error": str(goodbye)}), None).frame


@conversation(farewell=_error_frame)
async def subscribe(socket: WebSocket) -> None:
    """Send the events of the topics of the query: ``?topic=a&topic=b``."""
    try:
        subscription = await _admitted(socket)
    except REFUSED as error:
        refused = as_refusal(error)
        raise Goodbye(REFUSED_CODE + refused.status, str(refused)) from error
    try:
        await together(_send(socket, subscription), _receive(socket))
    finally:
        subscription.close()


@conversation(farewell=_error_frame)
async def not_found(socket: WebSocket) -> None:
    """Answer for an address that does not exist; the router would answer with a traceback."""
    raise Goodbye(NOT_FOUND, f"no WebSocket is served at {socket.scope['path']}")


async def _admitted(socket: WebSocket) -> Subscription:
    user = socket.scope.get("user")
    if user is None:
        raise Refused(501, "channels' AuthMiddlewareStack is missing")
    query = QueryDict(socket.scope["query_string"])
    subscription = make_subscription(named_topics(query), query, query.get("last_event_id") or None)
    async with short_lease():
        await admit_subscription(user, socket.scope, subscription)
    return subscription


async def _send(socket: WebSocket, subscription: Subscription) -> None:
    async with aclosing(subscription.batches(conf.SSE_KEEP_ALIVE)) as batches:
        async for batch in batches:
            for message in batch:
                await socket.send(message.frame)


async def _receive(socket: WebSocket) -> None:
    """Read what the client sends, of which nothing is wanted, until it goes."""
    while True:
        await socket.receive()
