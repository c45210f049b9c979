"""An export that fails in the middle, on each server: no client takes it for a whole one."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.site import DEADLINE, ROOT, free_port

SITE = "tests.failing_site.asgi:application"
SERVERS = {
    "uvicorn": ["uvicorn", "--port", "{port}", "--log-level", "warning", SITE],
    "hypercorn": ["hypercorn", "--bind", "127.0.0.1:{port}", SITE],
    "granian": ["granian", "--interface", "asgi", "--port", "{port}", SITE],
    "daphne": ["daphne", "-b", "127.0.0.1", "-p", "{port}", SITE],
}
# None, and many batches.
COUNTS = [0, 5000]
PARTIAL_FILE = 18
# What other software may take for the end of a body whose length it does not know.
LAST_CHUNK = b"0\r\n\r\n"


@pytest.fixture(scope="module", params=SERVERS)
def base(request, tmp_path_factory):
    port = free_port()
    log = tmp_path_factory.mktemp("servers") / request.param
    command = [part.format(port=port) for part in SERVERS[request.param]]
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONDEVMODE": ""},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_live(f"http://127.0.0.1:{port}", child, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait()


def wait_until_live(base, child, log):
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        assert child.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{base}/live/").text == "live":
                return
        time.sleep(0.05)
    raise AssertionError(f"the server did not start: {log.read_text()}")


def curl(address, *options):
    """Give curl's exit code and what it has received."""
    done = subprocess.run(
        ["curl", "-sN", "--max-time", str(DEADLINE), *options, address], capture_output=True, check=False
    )
    return done.returncode, done.stdout


def numbers(body):
    assert body.endswith(b"\n") or not body
    return [json.loads(line)["number"] for line in body.splitlines()]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("options", [[], ["--compressed"]], ids=["plain", "gzip"])
def test_curl_reports_an_export_that_failed_and_no_other(base, count, options):
    assert curl(f"{base}/export/failing/{count}/", *options)[0] == PARTIAL_FILE
    code, body = curl(f"{base}/export/complete/{count}/", *options)
    assert (code, numbers(body)) == (0, list(range(count)))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_httpx_raises_for_an_export_that_failed_and_for_no_other(base, count, coding):
    headers = {"Accept-Encoding": coding}
    with httpx.Client(base_url=base, headers=headers, timeout=DEADLINE) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"/export/failing/{count}/")
        whole = client.get(f"/export/complete/{count}/")
    assert whole.headers.get("content-encoding", "identity") == coding
    assert numbers(whole.content) == list(range(count))


def test_what_was_read_before_the_failure_arrives_and_the_reason_does_not(base):
    code, body = curl(f"{base}/export/failing/5000/")
    assert (code, numbers(body)) == (PARTIAL_FILE, list(range(5000)))
    assert b"secret" not in body


def test_the_last_chunk_is_never_sent_and_the_connection_is_closed(base):
    port = int(base.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain:
        plain.sendall(b"GET /export/failing/10/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while piece := plain.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in head.lower()
    assert body.count(b'"number"') == 10
    assert LAST_CHUNK not in body


def test_the_server_lives_on_after_many_failures(base):
    for _ in range(2):
        assert curl(f"{base}/export/failing/10/")[0] == PARTIAL_FILE
    assert curl(f"{base}/live/") == (0, b"live")
