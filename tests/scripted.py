"""A server that answers as a test has written it down: refusals, half blocks, silence."""

import json
import threading
import time
from collections import deque
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import parse_qs, urlsplit

STREAM_JS = Path(__file__).parent.parent / "sse_app/static/sse_app/stream.js"
PRIMED = ":\nevent: cursor\nid: a=0-00000000\nretry: 500\ndata:\n\n"
PAGES = {
    "/": ("text/html", "<!doctype html><link rel=icon href=data:,><title>Blank</title>"),
    "/login": ("text/html", "Sign in"),
    "/static/sse_app/stream.js": ("text/javascript", STREAM_JS.read_text()),
}


class ScriptedServer:
    """Answers each request for ``/stream`` with the next step; when there are none left, with a stream.

    A step is a dict of ``status``, ``headers`` and ``body``; after its body the answer is held open where
    ``hold`` is true. ``requests`` are those that came for it: when, with which headers, for what.
    ``refused`` are the topics that may not be read, and with which status that is said.
    """

    def __init__(self):
        self.steps = deque()
        self.requests = []
        self.refused = {}
        self._held = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server._answer(self)

            def log_message(self, *message):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.hang_up()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def say(self, text):
        """Send a text over all streams that are held open."""
        for words in [*self._held]:
            words.put(text)

    def hang_up(self):
        """End all streams that are held open."""
        self.say(None)

    def waits(self):
        """Give the seconds between the requests."""
        times = [at for at, *_ in self.requests]
        return [later - earlier for earlier, later in zip(times, times[1:], strict=False)]

    def _answer(self, handler):
        url = urlsplit(handler.path)
        if url.path in PAGES:
            kind, body = PAGES[url.path]
            return _send(handler, {"headers": {"Content-Type": kind}, "body": body})
        self.requests.append((time.monotonic(), dict(handler.headers), handler.path))
        topics = parse_qs(url.query).get("topic", ["a"])
        for topic in self.refused.keys() & set(topics):
            return _send(handler, refusal(self.refused[topic]))
        cursor = handler.headers.get("Last-Event-ID") or "&".join(f"{topic}=0-00000000" for topic in topics)
        primed = {"body": block(event="cursor", id=cursor, retry=500, data=""), "hold": True}
        step = self.steps.popleft() if self.steps else primed
        words = SimpleQueue()
        if step.get("hold"):
            self._held.append(words)
        _send(handler, step)
        with suppress(OSError):  # the browser may have left
            while step.get("hold") and (text := words.get()) is not None:
                handler.wfile.write(text.encode())


def _send(handler, step):
    status = step.get("status", 200)
    kind = "text/event-stream" if status == 200 else "application/json"
    handler.send_response(status)
    for name, value in {"Content-Type": kind, **step.get("headers", {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    with suppress(OSError):
        handler.wfile.write(step.get("body", "").encode())


def refusal(status, error="no", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"status": status, "headers": headers, "body": json.dumps({"error": error})}


def block(**fields):
    return "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"
