"""Readers: many clients in one process, each of which comes back as a browser does.

``python -m tests.faults.readers --folder DIR``, which holds ``plan.json``. A reader keeps the last id that
it was sent, waits as long as it was told by ``retry``, and takes the next server of its list. It records
every block that carries an id or an event, and keeps nothing else.
"""

import argparse
import asyncio
import contextlib
import random
import socket
from pathlib import Path

import orjson

from sse_app.events import EventDecoder
from tests.faults.records import Flag, Recorder

CONNECT_SECONDS = 20.0
# Keep-alives come more often: a connection that is silent for so long is dead.
SILENCE_SECONDS = 15.0
FIRST_RETRY = 0.5
CHUNK = 65_536


class Dechunker:
    """Takes the chunked coding off a body, bytes in, bytes out."""

    def __init__(self):
        self._rest = b""
        self._left = 0  # of the chunk begun, its line end included
        self.ended = False

    def feed(self, data):
        data = self._rest + data
        out = []
        while data and not self.ended:
            if not self._left:
                line, found, rest = data.partition(b"\r\n")
                if not found:
                    break
                size, data = int(line, 16), rest
                self.ended = size == 0
                self._left = size + 2
            piece, data = data[: self._left], data[self._left :]
            out.append(piece[: max(0, self._left - 2)])
            self._left -= len(piece)
        self._rest = data
        return b"".join(out)


class Cut(Exception):
    """The connection is over; the message says why, ``own`` whether the reader wanted it."""

    def __init__(self, why, *, own=False):
        super().__init__(why)
        self.own = own


class Reader:
    """One client. ``plan``: number, target, headers, and how it behaves."""

    def __init__(self, plan, ports, out, hold):
        self.number = plan["number"]
        self.target = plan["target"]
        self.headers = plan.get("headers", {})
        self.behaviour = plan.get("behaviour", "ordinary")
        self.ports = ports
        self.out = out
        self.hold = hold
        self.last_id = ""
        self.retry = FIRST_RETRY
        self.attempts = self.number  # half of them begin at each server

    def record(self, kind, **fields):
        self.out.write(kind, reader=self.number, **fields)

    async def run(self):
        while True:
            if self.behaviour == "newcomer":
                self.last_id = ""
            self.attempts += 1
            port = self.ports[self.attempts % len(self.ports)]
            self.record("began", cursor=self.last_id, port=port)
            try:
                await self.read(port)
            except (OSError, ValueError, EOFError, TimeoutError, Cut) as error:
                why = f"{type(error).__name__}: {error}"[:100]
                self.record("cut", why=why, own=getattr(error, "own", False))
            await asyncio.sleep(self.retry)
            while self.behaviour == "absent" and self.hold:
                await asyncio.sleep(0.02)

    async def read(self, port):
        """Read one response to its end."""
        async with asyncio.timeout(CONNECT_SECONDS):
            stream, writer = await asyncio.open_connection(sock=await self.connect(port))
        try:
            writer.write(self.request())
            async with asyncio.timeout(CONNECT_SECONDS):
                head = await stream.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            self.record("open", status=status)
            if status != 200:
                raise Cut(f"status {status}", own=True)  # a browser would not come back; this one does
            await self.blocks(stream)
        finally:
            writer.transport.abort()

    async def connect(self, port):
        plain = socket.socket()
        plain.setblocking(False)
        if self.behaviour == "stuck":
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        except BaseException:
            plain.close()
            raise
        return plain

    def request(self):
        headers = {"Host": "127.0.0.1", "Accept": "text/event-stream", **self.headers}
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {self.target} HTTP/1.1\r\n{lines}\r\n".encode()

    async def blocks(self, stream):
        body, decoder = Dechunker(), EventDecoder()
        decoder.last_event_id = self.last_id
        leaves_at = asyncio.get_running_loop().time() + self.patience()
        while not body.ended:
            data = await self.chunk(stream, leaves_at)
            for event in decoder.feed(body.feed(data)):
                self.take(event)
            self.last_id = decoder.last_event_id
            self.retry = FIRST_RETRY if decoder.retry is None else decoder.retry / 1000
        raise Cut("the response has ended")

    async def chunk(self, stream, leaves_at):
        while self.hold and self.behaviour == "stuck":
            await asyncio.sleep(0.02)
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(min(leaves_at, now + SILENCE_SECONDS)):
                data = await stream.read(CHUNK)
        except TimeoutError:
            if leaves_at < now + SILENCE_SECONDS:
                raise Cut("it leaves", own=True) from None
            raise Cut("silence") from None
        if not data:
            raise Cut("end of file")
        if self.hold and self.behaviour == "absent":
            raise Cut("it is sent away", own=True)
        return data

    def patience(self):
        """Give the seconds after which the reader leaves by itself."""
        return random.uniform(0.5, 5.0) if self.behaviour in ("restless", "newcomer") else float("inf")

    def take(self, event):
        if event.id is None and event.data is None:
            return
        fields = {"id": event.id, "name": event.event}
        if event.event in ("reset", "lagged"):
            fields["told"] = orjson.loads(event.data)
        elif event.data:
            payload = orjson.loads(event.data)
            fields |= {"payload": payload.get("id", "?"), "at": payload.get("at")}
        self.record("block", **fields)


async def run(folder, plan):
    hold = Flag(folder, "hold")
    out = Recorder(folder / "readers.jsonl")
    readers = [Reader(each, plan["ports"], out, hold) for each in plan["readers"]]
    await asyncio.gather(*(reader.run() for reader in readers))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    plan = orjson.loads((options.folder / "plan.json").read_bytes())
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(options.folder, plan))


if __name__ == "__main__":
    main()
