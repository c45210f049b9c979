"""The demo site as its users run it: a real server in a child process, a real database, real sockets."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from sse_app.events import EventDecoder

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 20.0
# Several servers may start at once, on a machine that is busy; one that has ended is noticed at once.
START_DEADLINE = 60.0
SERVERS = {
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", "{application}"],
    "uvicorn": ["uvicorn", "--port", "{port}", "--log-level", "warning", "{application}"],
}
# Of the server whose own limit is below that of the app.
LARGER = ["--websocket-max-message-size", "8388608", "--websocket-max-frame-size", "8388608"]
COMMANDS = {
    **SERVERS,
    "daphne": [*SERVERS["daphne"], *LARGER],
    "runserver": ["django", "runserver", "--noreload", "{port}"],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", "{application}"],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", "{application}"],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """One database and any number of server processes on it."""

    application = "project.asgi:application"

    def __init__(self, folder, **environment):
        self.folder = folder
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SSE_", "DJANGO_", "DATABASE_", "REDIS_"))
        }
        self.environment = {
            **inherited,
            "DJANGO_SETTINGS_MODULE": "project.settings",
            "DJANGO_DEBUG": "1",
            "PYTHONDEVMODE": "",
            **environment,
        }
        self.processes = []

    def manage(self, *arguments, **environment):
        """Run a management command in a process of its own, and give what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shell(self, code):
        """Run code in another process, with the apps loaded."""
        return self.manage("shell", "-v0", "-c", code)

    def serve(self, server="uvicorn", *, port=None, **environment):
        """Start a server process and wait until it answers."""
        process = self.start(server, port=port, **environment)
        process.wait_until_live()
        return process

    def start(self, server="uvicorn", *, port=None, **environment):
        """Start a server process."""
        process = ServerProcess(self, server, port or free_port(), environment)
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            process.kill()


class ServerProcess:
    """A server in a child process."""

    def __init__(self, site, server, port, environment):
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        command = [part.format(port=port, application=site.application) for part in COMMANDS[server]]
        self.log = site.folder / f"{server}-{port}.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**site.environment, **environment},
                stdout=log,
                stderr=log,
            )

    def wait_until_live(self):
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            assert self.child.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.base}/sse/health/live/").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def kill(self):
        self.child.kill()
        self.child.wait()

    def sign_in(self, username="admin", password="admin"):
        """Give a client that has signed in through the admin's own form."""
        client = httpx.Client(base_url=self.base, follow_redirects=True, timeout=DEADLINE)
        page = client.get("/admin/login/")
        answer = client.post(
            "/admin/login/?next=/",
            data={"username": username, "password": password, **token_of(page)},
            headers={"Referer": f"{self.base}/admin/login/"},
        )
        assert answer.status_code == 200, answer
        return client


def token_of(page):
    """Give the CSRF token of a page's form."""
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found, page.text
    return {"csrfmiddlewaretoken": found[1]}


def send_from_admin(client, title, topic="notifications"):
    """Send a notification as staff do it: by the admin's form."""
    page = client.get("/admin/sse_app/notification/add/")
    form = {"topic": topic, "title": title, "body": "", "level": "info", **token_of(page)}
    answer = client.post("/admin/sse_app/notification/add/", data=form, headers={"Referer": str(page.url)})
    assert answer.status_code == 200, answer.text
    assert "was sent to" in answer.text, answer.text


class Listener:
    """A client on a plain socket, that keeps the last id as a browser does."""

    def __init__(self, port, target, *, headers=(), receive_buffer=None):
        self.port = port
        self.target = target
        self.headers = dict(headers)
        self.receive_buffer = receive_buffer
        self.decoder = EventDecoder()
        self.events = []

    async def __aenter__(self):
        return await self.connect()

    async def __aexit__(self, *exc):
        await self.disconnect()

    async def connect(self, port=None):
        plain = socket.socket()
        if self.receive_buffer:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port or self.port))
        # A client that is meant to be slow must not have its stream buffered here.
        limit = self.receive_buffer or 2**24
        self.reader, self.writer = await asyncio.open_connection(sock=plain, limit=limit)
        headers = {"Host": "127.0.0.1", "Accept": "text/event-stream", **self.headers}
        if self.decoder.last_event_id:
            headers["Last-Event-ID"] = self.decoder.last_event_id
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.writer.write(f"GET {self.target} HTTP/1.1\r\n{lines}\r\n".encode())
        self.last_id = self.decoder.last_event_id
        self.decoder = EventDecoder()
        self.decoder.last_event_id = self.last_id
        return self

    async def disconnect(self):
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def primed(self):
        """Read the head of the answer and the priming block."""
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            while not any(event.event == "cursor" for event in self.events):
                await self._read_chunk()
        self.events = [event for event in self.events if event.event != "cursor"]

    async def event(self):
        """Wait for the next event with data."""
        async with asyncio.timeout(DEADLINE):
            while not self.events:
                await self._read_chunk()
        return self.events.pop(0)

    async def _read_chunk(self):
        size = int(await self.reader.readline(), 16)
        body = await self.reader.readexactly(size + 2)
        if not size:
            raise ConnectionResetError("the stream has ended")
        self.events += [event for event in self.decoder.feed(body[:-2]) if event.data is not None]


def title(event):
    return json.loads(event.data)["title"]


def copy_database(template, folder):
    """Give a database of its own to a test, without migrating it again."""
    path = folder / "db.sqlite3"
    shutil.copy(template, path)
    return f"sqlite:///{path}"
