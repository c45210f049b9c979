"""Drives an ASGI application by hand, so that a test decides when a client reads, stalls or goes."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from sse_app.events import EventDecoder

DEADLINE = 10.0


class Exchange:
    """One request and what comes back."""

    def __init__(self, app, method, target, headers, body):
        parts = urlsplit(target)
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"testserver"), *headers],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }
        self.app = app
        self.body = body
        self.status = None
        self.headers = {}
        self.chunks = []
        self.ended = False
        self.decoder = EventDecoder()
        self.events = []
        self.blocked_in_send = False
        self._requested = False
        self._gone = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._news = asyncio.Condition()
        self.task = None

    async def receive(self):
        if not self._requested:
            self._requested = True
            return {"type": "http.request", "body": self.body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.blocked_in_send = not self._reading.is_set()
        await self._reading.wait()
        self.blocked_in_send = False
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
        else:
            body = message.get("body", b"")
            self.chunks.append(body)
            self.events += self.decoder.feed(body)
            self.ended = not message.get("more_body", False)
        async with self._news:
            self._news.notify_all()

    def stall(self):
        """Stop reading: the next send blocks."""
        self._reading.clear()

    def resume(self):
        self._reading.set()

    async def until(self, condition):
        """Wait until the condition of what has arrived holds."""
        async with asyncio.timeout(DEADLINE), self._news:
            while not condition():
                if self.task.done() and not condition():
                    self.task.result()
                    raise AssertionError(f"the application ended early: {self.status} {self.content!r}")
                waiter = asyncio.ensure_future(self._news.wait())
                await asyncio.wait({waiter, self.task}, return_when=asyncio.FIRST_COMPLETED)
                if not waiter.done():
                    waiter.cancel()
                    await asyncio.wait({waiter})

    async def event(self, name=None):
        """Wait for the next event that a browser would dispatch, the priming ones left out."""

        def found():
            return next((e for e in self.events if e.data is not None and e.event != "cursor"), None)

        await self.until(lambda: found() is not None)
        event = found()
        self.events = self.events[self.events.index(event) + 1 :]
        if name is not None:
            assert event.event == name, event
        return event

    async def primed(self):
        """Wait for the cursor block, and give the client's last event id at that moment."""
        await self.until(lambda: any(event.event == "cursor" for event in self.events))
        cursor = next(event for event in self.events if event.event == "cursor")
        self.events = self.events[self.events.index(cursor) + 1 :]
        return cursor.id

    async def go(self):
        """Disconnect, and wait for the application to end."""
        self._gone.set()
        self.resume()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait({self.task})

    @property
    def content(self):
        return b"".join(self.chunks)


@asynccontextmanager
async def request(app, target, *, method="GET", headers=(), body=b"", last_event_id=None):
    """Send a request; leave the block to disconnect."""
    headers = list(headers)
    if last_event_id is not None:
        headers.append((b"last-event-id", last_event_id.encode()))
    if body:
        headers.append((b"content-length", str(len(body)).encode()))
    exchange = Exchange(app, method, target, headers, body)
    exchange.task = asyncio.create_task(app(exchange.scope, exchange.receive, exchange.send))
    try:
        yield exchange
    finally:
        await exchange.go()


async def fetch(app, target, **options):
    """Send a request and wait for the whole answer."""
    async with request(app, target, **options) as exchange:
        await exchange.until(lambda: exchange.ended)
    return exchange


async def poll(condition, message="the condition did not come true"):
    """Wait for a condition that no event tells, up to the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.01)


async def started(messages):
    """Begin to wait for the first message, and let the subscription reach its topics."""
    waiting = asyncio.ensure_future(anext(messages))
    await poll(lambda: messages._primed)
    return waiting
