"""Drives an ASGI application over a WebSocket by hand: a client that reads, stalls, writes and goes."""

import asyncio
import json
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

from tests.asgi import DEADLINE

ORIGIN = (b"origin", b"http://testserver")


class Talk:
    """One WebSocket and what has come over it."""

    def __init__(self, target, headers, scope):
        parts = urlsplit(target)
        self.scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"testserver"), ORIGIN, *headers],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            "subprotocols": [],
            **scope,
        }
        self.accepted = False
        self.close = None  # what the server closes with: (code, reason)
        self.frames = []
        self.waiting_to_send = 0
        self.task = None
        self._incoming = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        self._reading = asyncio.Event()
        self._reading.set()
        self._news = asyncio.Condition()

    async def receive(self):
        return await self._incoming.get()

    async def send(self, message):
        self.waiting_to_send += 1
        try:
            await self._reading.wait()
        finally:
            self.waiting_to_send -= 1
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.send":
            self.frames.append(json.loads(message["text"]))
        else:
            self.close = (message.get("code", 1000), message.get("reason", ""))
            self.leave(self.close[0])
        async with self._news:
            self._news.notify_all()

    def stall(self):
        """Stop reading: the next send blocks."""
        self._reading.clear()

    def resume(self):
        self._reading.set()

    def write(self, message):
        """Send a message to the server: bytes, text, or what is made JSON."""
        if isinstance(message, bytes):
            self._incoming.put_nowait({"type": "websocket.receive", "bytes": message})
        else:
            text = message if isinstance(message, str) else json.dumps(message)
            self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self, code=1001):
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code})

    async def until(self, condition, seconds=DEADLINE):
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(condition)

    async def frame(self, **wanted):
        """Wait for the next frame with these values; others are passed over."""

        def found():
            return next((f for f in self.frames if wanted.items() <= f.items()), None)

        await self.until(lambda: found() is not None)
        frame = found()
        self.frames = self.frames[self.frames.index(frame) + 1 :]
        return frame

    async def closed(self):
        """Wait until the server has closed it and the application has ended."""
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait({self.task})
        self.task.result()
        return self.close


@asynccontextmanager
async def talk(app, target="/", *, headers=(), **scope):
    """Open a WebSocket; leave the block to go."""
    socket = Talk(target, headers, scope)
    socket.task = asyncio.create_task(app(socket.scope, socket.receive, socket.send))
    try:
        yield socket
    finally:
        socket.leave()
        socket.resume()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait({socket.task})
        socket.task.result()
