"""A chat with rooms: members write over a WebSocket, and the room is a topic that anyone may stream."""

import json
from typing import Any

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from project.websocket import farewell, read
from sse_app import Message, Subscription, apublish
from sse_app.conf import conf
from sse_app.lease import short_lease
from sse_app.payloads import to_text
from sse_app.permissions import may_replay
from sse_app.queries import make_subscription
from sse_app.refusals import REFUSED, admit_subscription, as_refusal
from sse_app.start import read_starts
from sse_app.subscribing import acursor_before
from sse_app.websocket import Goodbye, WebSocket, conversation, together

ROOMS = ["lobby", "support", "random"]
HISTORY = 50
LONGEST_TEXT = 2000


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the chat; the page's script opens the WebSocket of one room at a time."""
    return render(request, "chat.html", {"rooms": ROOMS, "longest": LONGEST_TEXT, "history": HISTORY})


@conversation(farewell)
async def chat(socket: WebSocket) -> None:
    """Join a room: its newest messages, then all that come; what the member writes is published.

    A member costs the place in the room's log that was last sent, never a queue of messages.
    """
    try:
        subscription = await _join(socket)
    except REFUSED as error:
        refused = as_refusal(error)
        raise Goodbye(4000 + refused.status, str(refused)) from error
    try:
        await together(_send(socket, subscription), _publish(socket))
    finally:
        subscription.close()


async def _join(socket: WebSocket) -> Subscription:
    """Admit the member, who goes on after ``last_event_id``, or begins with the newest messages."""
    topic, user = _topic(socket), socket.scope["user"]
    query = QueryDict(socket.scope["query_string"])
    cursor = query.get("last_event_id")
    topics = [topic, f"presence.{topic}"]
    subscription = make_subscription(topics, query, cursor)
    async with short_lease():
        await admit_subscription(user, socket.scope, subscription)
        if cursor or not await may_replay(user, socket.scope, topic):
            return subscription
        recent = await acursor_before(topic, HISTORY)
    subscription.starts[topic] = read_starts([topic], recent)[topic]
    return subscription


async def _send(socket: WebSocket, subscription: Subscription) -> None:
    async for batch in subscription.batches(conf.SSE_KEEP_ALIVE):
        for message in batch:
            await socket.send(to_text(_shown(message)))


async def _publish(socket: WebSocket) -> None:
    """Publish what the member writes; the next message is not read before."""
    user, topic = socket.scope["user"], _topic(socket)
    while True:
        try:
            text = _text(read(await socket.receive()))
            said = {"user": user.get_username(), "text": text, "timestamp": timezone.now()}
            async with short_lease():
                await apublish(topic, said, event="chat")
        except ValueError as error:
            await socket.send(to_text({"type": "error", "error": str(error)}))


def _topic(socket: WebSocket) -> str:
    return f"room.{socket.scope['url_route']['kwargs']['room']}"


def _text(message: dict[str, Any]) -> str:
    text = message.get("text")
    if message["type"] != "message" or not isinstance(text, str) or not text.strip():
        raise ValueError('write {"type": "message", "text": "…"}')
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"text: {len(text)} characters are more than {LONGEST_TEXT}")
    return text


def _shown(message: Message) -> dict[str, Any]:
    """Give a message of the room as its members get it: anyone may publish anything to a topic."""
    if not message.topic:
        return {"type": message.event, "id": message.id, "data": message.data}
    try:
        said = json.loads(message.data)
    except (ValueError, RecursionError):
        said = None
    if message.event == "presence" and isinstance(said, dict):
        return {"type": "presence", "id": message.id, **_present(said)}
    fields = said if isinstance(said, dict) and message.event == "chat" else {"text": message.data}
    texts = {name: _legible(fields.get(name)) for name in ("user", "text", "timestamp")}
    return {"type": "message", "id": message.id, **texts}


def _present(said: dict[str, Any]) -> dict[str, Any]:
    readers, users = said.get("readers"), said.get("users")
    names = users if isinstance(users, list) else []
    return {
        "readers": readers if isinstance(readers, int) and 0 <= readers < 2**31 else 0,
        "users": [name for name in map(_legible, names) if name],
    }


def _legible(value: object) -> str | None:
    """Give a text that UTF-8 can carry; escaped in JSON there are others."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else None
