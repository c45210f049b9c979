"""The README's commands, from a path with spaces."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.site import DEADLINE, ROOT, free_port

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "db.sqlite3*", "__pycache__", ".*_cache", ".hypothesis")


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project in a path with spaces; its environment is the one that runs the suite."""
    folder = tmp_path / "a path with spaces"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (folder / ".venv" / entry.name).symlink_to(entry)
    for stamp in ("python", "installed", "checkers"):
        (folder / ".venv" / stamp).unlink(missing_ok=True)
        (folder / ".venv" / stamp).touch()
    return folder


@contextlib.contextmanager
def make_run(checkout, port):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "DJANGO"))
    }
    output = checkout / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=checkout,
            env={**environment, "PYTHONDEVMODE": ""},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process, output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def printed(process, output, text):
    deadline = time.monotonic() + DEADLINE
    while text not in output.read_text():
        assert process.poll() is None and time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)
    return output.read_text()


def test_make_run_serves_the_demo_and_prints_lines_that_work_as_they_are(checkout):
    for _ in range(2):  # and again at once
        port = free_port()
        with make_run(checkout, port) as (process, output):
            text = printed(process, output, "--event notification")
            assert f"Dashboard   http://127.0.0.1:{port}/" in text
            assert "sign in as admin / admin" in text
            assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
            curl, publish = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
            listening = subprocess.Popen(
                [*shlex.split(curl), "--max-time", "4"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert listening.stdout.readline() == b":\n"
            subprocess.run(shlex.split(publish), cwd=checkout, check=True, stdout=subprocess.DEVNULL)
            heard = listening.communicate()[0].decode()
    assert "event: notification\n" in heard
    assert 'data: {"title": "Hello"}\n' in heard


def test_a_taken_port_is_told_in_one_clear_line(checkout):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with make_run(checkout, port) as (process, output):
            assert process.wait(timeout=DEADLINE) == 2  # make's own, for a command that failed
            text = output.read_text()
    assert text.splitlines()[0] == f"Port {port} is taken. Choose another one: make run PORT={port + 1}"
    assert "Error 1" in text
    assert not (checkout / "db.sqlite3").exists()  # probed before anything was set up
