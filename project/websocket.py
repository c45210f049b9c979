"""A WebSocket in its smallest form: a heartbeat one way, typed messages back and forth."""

import asyncio
import json
from typing import Any

from django.utils import timezone

from sse_app.payloads import to_text
from sse_app.websocket import NORMAL, Goodbye, WebSocket, conversation, together

HEARTBEAT_SECONDS = 5.0


def farewell(goodbye: Goodbye) -> str | None:
    """Say why it ends, in the form of all other messages; a normal end needs no reason."""
    return to_text({"type": "error", "code": goodbye.code, "error": str(goodbye)})


@conversation(farewell)
async def echo(socket: WebSocket) -> None:
    """Send heartbeats, and each typed message back, until either side ends it."""
    await together(_beat(socket), _answer(socket))


async def _beat(socket: WebSocket) -> None:
    while True:
        await socket.send(to_text({"type": "heartbeat", "timestamp": timezone.now()}))
        await asyncio.sleep(HEARTBEAT_SECONDS)


async def _answer(socket: WebSocket) -> None:
    while True:
        try:
            message = read(await socket.receive())
            answer = to_text({"type": "echo", "message": message})
        except ValueError as error:
            await socket.send(to_text({"type": "error", "error": str(error)}))
            continue
        if message["type"] == "close":
            raise Goodbye(NORMAL, "closed as you asked")
        await socket.send(answer)


def read(content: str | bytes) -> dict[str, Any]:
    """Read a typed message: JSON with a ``type``. Raises ValueError."""
    try:
        message = json.loads(content) if isinstance(content, str) else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError('a message must be JSON text such as {"type": "hello"}')
    return message
