"""WebSockets: a connection as an object, bounded in what it takes and in how long a send may hang.

What channels' own consumers do is not needed here and would cost each client a channel of its own on
the channel layer, so the conversation is spoken with ASGI directly. For the rest there is channels:
its routing, its sessions and users, and its check of the origin.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from functools import wraps
from typing import Any

from sse_app.conf import conf
from sse_app.hangup import have_server_close

logger = logging.getLogger("sse_app")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]

NORMAL = 1000
TOO_BIG = 1009
INTERNAL_ERROR = 1011
NOT_READING = 4408
# What RFC 6455, section 5.5, leaves of a control frame for the reason, in bytes.
MAX_REASON = 123
# A client that does not read can't be told why it is closed; it gets this many seconds to begin.
CLOSE_SECONDS = 1.0


class Gone(Exception):
    """The client has left, or does not read."""


class Goodbye(Exception):
    """Ends the conversation: the close code, and the reason as the client shall read it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class WebSocket:
    """One connection. Several tasks may send; one receives."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()
        self._open = False

    async def accept(self) -> None:
        """Accept the connection. Raises Gone."""
        if (await self._receive())["type"] != "websocket.connect":
            raise Gone
        await self._send({"type": "websocket.accept"})
        self._open = True

    async def receive(self) -> str | bytes:
        """Wait for the next message.

        Raises Gone, and Goodbye for one of more than ``SSE_MAX_MESSAGE_BYTES``.
        """
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._open = False
            raise Gone
        content: str | bytes = message.get("text") or message.get("bytes") or ""
        most = conf.SSE_MAX_MESSAGE_BYTES
        if len(content) > most // 4 and _size(content) > most:  # a character has four bytes at most
            raise Goodbye(TOO_BIG, f"a message may have {most} bytes at most")
        return content

    async def send(self, text: str) -> None:
        """Send a message, one after the other.

        Raises Gone once the client has left, or has read nothing for ``SSE_SEND_TIMEOUT`` seconds.
        """
        try:
            async with asyncio.timeout(conf.SSE_SEND_TIMEOUT):
                await self._speak({"type": "websocket.send", "text": text})
        except TimeoutError:
            await self._hang_up()
            raise Gone from None

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close it, unless that has been done."""
        have_server_close()
        said = reason.encode()[:MAX_REASON].decode(errors="ignore")
        try:
            await self._speak({"type": "websocket.close", "code": code, "reason": said})
        except Gone:
            return
        finally:
            self._open = False

    async def _hang_up(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.close(NOT_READING, f"nothing was read for {conf.SSE_SEND_TIMEOUT:g} seconds")
        except TimeoutError:
            return

    async def _speak(self, message: dict[str, Any]) -> None:
        async with self._sending:
            if not self._open:
                raise Gone
            try:
                await self._send(message)
            except OSError:  # how servers say that the client is no longer there
                self._open = False
                raise Gone from None


def _size(content: str | bytes) -> int:
    return len(content.encode() if isinstance(content, str) else content)


def conversation(
    farewell: Callable[[Goodbye], str | None] = lambda goodbye: None,
) -> Callable[[Callable[[WebSocket], Awaitable[None]]], Application]:
    """Make an ASGI application of a function that talks to one WebSocket until it returns.

    It is accepted first: of a handshake that is refused a browser tells its page nothing at all. The
    function ends the conversation with ``Goodbye``; ``farewell`` then gives a last message, for clients
    that have no place for a code and a reason.
    """

    def decorate(talk: Callable[[WebSocket], Awaitable[None]]) -> Application:
        @wraps(talk)
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            socket = WebSocket(scope, receive, send)
            try:
                await socket.accept()
                await _talk(socket, talk, farewell)
            except Gone:
                return

        return application

    return decorate


async def _talk(
    socket: WebSocket,
    talk: Callable[[WebSocket], Awaitable[None]],
    farewell: Callable[[Goodbye], str | None],
) -> None:
    try:
        await talk(socket)
        goodbye = Goodbye(NORMAL, "")
    except Gone:
        raise
    except Goodbye as said:
        goodbye = said
    except Exception:
        logger.exception("a WebSocket's conversation failed")
        goodbye = Goodbye(INTERNAL_ERROR, "internal error")
    last = farewell(goodbye)
    if last is not None and goodbye.code != NORMAL:
        await socket.send(last)
    await socket.close(goodbye.code, str(goodbye))


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts of a conversation until the first of them ends, and end the others with it.

    Raises what that one raised.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
