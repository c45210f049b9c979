"""What exports of 200,000 rows cost a server: memory, connections and threads, counted."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time

import httpx
import psutil
import psycopg
import pytest

from tests.site import ROOT, free_port

ROWS = 200_000
MOST_GROWTH = 30 * 2**20
LOG_READERS = 4  # the default of SSE_LOG_READERS
# Longer than the threads that read the database stay idle.
DEADLINE = 30.0
FILL = f"""
INSERT INTO shop_book (title, price, author_id)
SELECT '{"x" * 90}' || n, 9.90, NULL
FROM (WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS}) SELECT n FROM n) AS n
"""

TESTS = ["test_export", "test_trim", "test_publishing"]


@pytest.fixture(scope="module")
def databases(postgres, tmp_path_factory):
    """The addresses of two databases with as many books, one of each kind."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS shop WITH (FORCE)")
        admin.execute("CREATE DATABASE shop")
    file = tmp_path_factory.mktemp("shop") / "db.sqlite3"
    found = {"sqlite": f"sqlite:///{file}", "postgresql": f"{postgres}/shop"}
    for address in found.values():
        make_tables(address)
    with contextlib.closing(sqlite3.connect(file)) as lite, lite:
        lite.execute(FILL)
    with psycopg.connect(found["postgresql"]) as elephant:
        elephant.execute(FILL)
        elephant.execute("ANALYZE shop_book")
    return found


def environment(address):
    return {**os.environ, "DATABASE_URL": address, "PYTHONDEVMODE": ""}


def make_tables(address):
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--run-syncdb", "-v0", "--settings=tests.shop.settings"],
        cwd=ROOT,
        env=environment(address),
        check=True,
    )


class Shop:
    """A uvicorn that exports the books."""

    def __init__(self, address, log):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.address = address
        self.log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "--port", str(self.port), "tests.shop.asgi:application"],
                cwd=ROOT,
                env=environment(address),
                stdout=output,
                stderr=output,
            )
        until(self._is_live)

    def _is_live(self):
        assert self.child.poll() is None, self.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            return self.held()

    def held(self):
        """Give the tasks of the process, with that of this question, and its snapshot threads."""
        return httpx.get(f"{self.base}/held/").json()

    def rss(self):
        return psutil.Process(self.child.pid).memory_info().rss

    def read(self, way, last):
        """Read a whole export; give its lines and bytes, and the most memory that it took meanwhile."""
        lines = size = most = 0
        plain = {"Accept-Encoding": "identity"}
        target = f"{self.base}/export/{way}/{last}/"
        with httpx.stream("GET", target, headers=plain, timeout=DEADLINE) as answer:
            for piece in answer.iter_raw():
                lines += piece.count(b"\n")
                size += len(piece)
                most = max(most, self.rss())
        return lines, size, most


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request, databases, tmp_path):
    shop = Shop(databases[request.param], tmp_path / "log")
    yield shop
    shop.child.terminate()
    shop.child.wait()


@pytest.fixture
def elephant(databases, tmp_path):
    """The shop on PostgreSQL, which says how many connections there are."""
    shop = Shop(databases["postgresql"], tmp_path / "log")
    yield shop
    shop.child.terminate()
    shop.child.wait()


def connections(shop):
    with psycopg.connect(f"{shop.address.rpartition('/')[0]}/postgres") as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'").fetchone()
    return row[0]


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


class Client:
    """A client on a plain socket, that has read the head of the answer and nothing more."""

    def __init__(self, shop, way):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", shop.port))
        request = f"GET /export/{way}/{ROWS}/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self.socket.sendall(request.encode())
        self.body = b""
        while b'{"id":1,' not in self.body:
            self.body += self.socket.recv(1024)

    def go(self):
        self.socket.close()

    def read_on(self):
        """Read the rest, and count the rows."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        pieces = [self.body]
        while piece := self.socket.recv(2**20):
            pieces.append(piece)
        return b"".join(pieces).count(b'"author_id"')


@pytest.mark.parametrize("way", ["keyset", "snapshot"])
def test_an_export_of_200_000_rows_takes_little_memory(shop, way):
    assert shop.read(way, 10)[0] == 10
    before = shop.rss()
    lines, size, most = shop.read(way, ROWS)
    print(json.dumps({"way": way, "bytes": size, "growth": most - before}))
    assert lines == ROWS
    assert size > 25 * 2**20
    assert most - before <= MOST_GROWTH


def test_clients_that_stop_reading_pages_share_few_connections_and_then_hold_none(elephant):
    assert connections(elephant) == 0
    clients = []
    for _ in range(20):
        clients.append(Client(elephant, "keyset"))
        assert connections(elephant) <= LOG_READERS
    until(lambda: connections(elephant) == 0)
    assert elephant.held()["snapshots"] == 0
    assert clients[0].read_on() == ROWS
    for client in clients:
        client.go()


def test_a_client_that_stops_reading_a_snapshot_holds_one_connection_until_it_goes(elephant):
    clients = [Client(elephant, "snapshot") for _ in range(3)]
    assert (connections(elephant), elephant.held()["snapshots"]) == (3, 3)
    for client in clients:
        client.go()
    until(lambda: connections(elephant) == 0)
    until(lambda: elephant.held()["snapshots"] == 0)


@pytest.mark.parametrize("way", ["keyset", "snapshot"])
def test_a_client_that_leaves_in_the_middle_frees_everything(shop, way):
    idle = shop.held()
    clients = [Client(shop, way) for _ in range(5)]
    assert shop.held()["tasks"] > idle["tasks"]
    for client in clients:
        client.go()
    until(lambda: shop.held() == idle)


def test_exports_batches_and_retention_hold_on_postgresql_too(postgres):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--timeout=30",  # a test that hangs is to be named, before this one is
            "-p",
            "no:cacheprovider",
            *("-k", "not memory and not bad"),
            *(f"tests/{name}.py" for name in TESTS),
        ],
        cwd=ROOT,
        env={**environment(f"{postgres}/postgres"), "PGOPTIONS": "-c synchronous_commit=off"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
