"""What open streams cost a server: counted, on PostgreSQL."""

import asyncio
import json

import httpx
import psutil
import psycopg
import pytest
from websockets.asyncio.client import connect

from tests.asgi import poll
from tests.site import Listener, Site

STREAMS = 200
MOST_CONNECTIONS = 5
MOST_THREADS = 10


@pytest.fixture
def site(postgres, tmp_path):
    """The demo on a new PostgreSQL database."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS cost WITH (FORCE)")
        admin.execute("CREATE DATABASE cost")
    site = Site(tmp_path, DATABASE_URL=f"{postgres}/cost")
    site.manage("migrate", "-v0")
    site.manage("demo_data")
    yield site
    site.close()


def connections(postgres):
    with psycopg.connect(f"{postgres}/postgres") as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'cost'").fetchone()
    return row[0]


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_an_idle_stream_is_nearly_free_200_hold_few_connections_and_threads(site, postgres, server):
    process = await asyncio.to_thread(site.serve, server)
    server_threads = psutil.Process(process.child.pid).num_threads
    admin = await asyncio.to_thread(process.sign_in)
    idle = server_threads()
    cookie = f"sessionid={admin.cookies['sessionid']}"
    target = "/sse/events/?topic=notifications&topic=room.lobby"  # rooms are for those who signed in
    listeners = [Listener(process.port, target, headers={"Cookie": cookie}) for _ in range(STREAMS)]
    await asyncio.gather(*(listener.connect() for listener in listeners))
    await asyncio.gather(*(listener.primed() for listener in listeners))

    await poll(lambda: connections(postgres) <= MOST_CONNECTIONS)
    await poll(lambda: server_threads() <= idle + MOST_THREADS)

    await asyncio.to_thread(site.manage, "sse_publish", "room.lobby", "to everyone")
    events = await asyncio.gather(*(listener.event() for listener in listeners))
    assert {event.data for event in events} == {"to everyone"}
    assert connections(postgres) <= MOST_CONNECTIONS
    assert server_threads() <= idle + MOST_THREADS

    await asyncio.gather(*(listener.disconnect() for listener in listeners))
    admin.close()


async def test_polls_and_sockets_that_wait_hold_as_little(site, postgres):
    process = await asyncio.to_thread(site.serve, "uvicorn")
    server_threads = psutil.Process(process.child.pid).num_threads
    admin = await asyncio.to_thread(process.sign_in)
    idle = server_threads()
    cookie = {"Cookie": f"sessionid={admin.cookies['sessionid']}"}
    half = 40
    async with httpx.AsyncClient(
        base_url=process.base, headers=cookie, limits=httpx.Limits(), timeout=60, trust_env=False
    ) as client:
        first = await client.get("/sse/poll/", params={"topic": "room.lobby"})
        asked = {"topic": "room.lobby", "wait": 60, "last_event_id": first.json()["last_event_id"]}
        # The head of an answer comes when its poll begins to wait.
        polls = await asyncio.gather(
            *(
                client.send(client.build_request("GET", "/sse/poll/", params=asked), stream=True)
                for _ in range(half)
            )
        )
        sockets = await asyncio.gather(
            *(
                connect(
                    f"ws://127.0.0.1:{process.port}/sse/ws/?topic=room.lobby",
                    origin=process.base,
                    additional_headers=cookie,
                    proxy=None,
                    open_timeout=60,
                )
                for _ in range(half)
            )
        )
        assert {json.loads(await socket.recv())["event"] for socket in sockets} == {"cursor"}

        await poll(lambda: connections(postgres) <= MOST_CONNECTIONS)
        await poll(lambda: server_threads() <= idle + MOST_THREADS)

        await asyncio.to_thread(site.manage, "sse_publish", "room.lobby", "to everyone")
        answers = [json.loads(await answer.aread()) for answer in polls]
        frames = [json.loads(await socket.recv()) for socket in sockets]
        assert [event["data"] for answer in answers for event in answer["events"]] == ["to everyone"] * half
        assert [frame["data"] for frame in frames] == ["to everyone"] * half
        await asyncio.gather(*(socket.close() for socket in sockets))
    admin.close()
