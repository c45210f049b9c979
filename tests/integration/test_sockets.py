"""WebSockets of the demo on every server, with a client of another make."""

import asyncio
import json
import socket

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.services import copy_database
from tests.site import COMMANDS, DEADLINE, Listener, Site

LIMIT = 4 * 2**20


@pytest.fixture(scope="module")
def shared(migrated, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sockets")
    site = Site(folder, DATABASE_URL=copy_database(migrated, folder), GRANIAN_LOG_LEVEL="error")
    yield site
    site.close()


@pytest.fixture(scope="module", params=COMMANDS)
def server(request, shared):
    server = shared.serve(request.param)
    server.name = request.param
    yield server
    server.kill()


@pytest.fixture(scope="module")
def admin(server):
    client = server.sign_in()
    yield client
    client.close()


@pytest.fixture
def cookie(admin):
    return f"sessionid={admin.cookies['sessionid']}"


async def publish(admin, topic, data):
    """Publish over HTTP, and give the number of streams of the process that read the topic."""
    token = admin.cookies["csrftoken"]
    answer = await asyncio.to_thread(
        admin.post,
        f"/sse/topics/{topic}/",
        json={"data": data},
        headers={"X-CSRFToken": token, "Referer": str(admin.base_url)},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["receivers"]


class Client:
    """A client that knows the site's frames."""

    def __init__(self, server, target, **options):
        address = server.base.replace("http", "ws") + target
        headers = {"Cookie": options.pop("cookie")} if "cookie" in options else {}
        self.connecting = connect(
            address,
            origin=options.pop("origin", server.base),
            additional_headers=headers,
            proxy=None,
            max_size=2**24,
            open_timeout=DEADLINE,
            sock=options.pop("sock", None),
            **options,
        )

    async def __aenter__(self):
        self.socket = await self.connecting
        return self

    async def __aexit__(self, *exc):
        await self.socket.close()

    async def write(self, message):
        await self.socket.send(message if isinstance(message, str) else json.dumps(message))

    async def frame(self, **wanted):
        async with asyncio.timeout(DEADLINE):
            while True:
                frame = json.loads(await self.socket.recv())
                if wanted.items() <= frame.items():
                    return frame

    async def closed(self):
        """Wait for the server's close; give its code, its reason, and the last frame before."""
        last = None
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    last = json.loads(await self.socket.recv())
        except ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason, last


async def test_a_subscription_delivers_and_resumes_by_its_cursor(server, admin):
    target = "/sse/ws/?topic=notifications"
    async with Client(server, target) as client:
        await client.frame(event="cursor")
        await publish(admin, "notifications", "Grüße")
        frame = await client.frame(topic="notifications")
        assert (frame["event"], frame["data"]) == ("message", "Grüße")
    await publish(admin, "notifications", "missed")
    async with Client(server, f"{target}&last_event_id={frame['id']}") as client:
        assert (await client.frame(topic="notifications"))["data"] == "missed"


@pytest.mark.parametrize(
    ("target", "code", "error"),
    [
        ("/sse/ws/", 4400, "name at least one topic, as in ?topic=notifications"),
        ("/sse/ws/?topic=room.a", 4401, "you may not read 'room.a'; sign in first"),
        ("/sse/ws/?topic=nothing", 4404, "no topic 'nothing' is declared"),
        ("/sse/ws/nowhere/", 4404, "no WebSocket is served at /sse/ws/nowhere/"),
    ],
)
async def test_a_refusal_is_a_close_code_with_its_reason(server, target, code, error):
    async with Client(server, target) as client:
        rcvd, reason, last = await client.closed()
    assert (rcvd, reason) == (code, error)
    assert json.loads(last["data"]) == {"code": code, "error": error}


async def test_one_who_is_signed_in_and_not_allowed_gets_4403(server, cookie):
    async with Client(server, "/sse/ws/?topic=user.0", cookie=cookie) as client:
        assert (await client.closed())[0] == 4403


async def test_the_echo_beats_answers_and_closes_as_asked(server):
    async with Client(server, "/ws/") as client:
        assert "timestamp" in await client.frame(type="heartbeat")
        await client.write({"type": "hello"})
        assert await client.frame(type="echo") == {"type": "echo", "message": {"type": "hello"}}
        await client.write({"type": "close"})
        code, reason, _ = await client.closed()
        assert (code, reason) == (1000, "closed as you asked")


async def test_a_message_over_4_mib_is_closed_with_1009_and_one_below_is_not(server):
    below = json.dumps({"type": "large", "text": "x" * 900_000})
    async with Client(server, "/ws/") as client:
        await client.write(below)
        assert (await client.frame(type="echo"))["message"] == json.loads(below)
        if (
            server.name == "daphne"
        ):  # at its own limit of 1 MiB it cuts the connection, before the app sees it
            return
        await client.write("x" * (LIMIT + 1))
        code, reason, last = await client.closed()
    assert (code, reason) == (1009, f"a message may have {LIMIT} bytes at most")
    assert last["error"] == reason


async def test_in_the_chat_members_and_event_streams_read_each_message(server, cookie):
    stream = Listener(server.port, "/sse/topics/room.lobby/", headers={"Cookie": cookie})
    async with stream, Client(server, "/ws/chat/lobby/", cookie=cookie) as member:
        await stream.primed()
        await member.frame(type="cursor")
        await member.write({"type": "message", "text": f"by {server.name}"})
        frame = await member.frame(type="message", text=f"by {server.name}")
        event = await stream.event()
        assert json.loads(event.data)["text"] == f"by {server.name}"
        assert (frame["user"], frame["id"].partition("&")[0]) == ("admin", event.id)


async def test_a_stranger_does_not_join_the_chat(server):
    async with Client(server, "/ws/chat/lobby/") as client:
        code, _, last = await client.closed()
    assert (code, last["error"]) == (4401, "you may not read 'room.lobby'; sign in first")


async def test_other_sites_are_refused_and_the_server_s_own_limit_holds(site):
    server = await asyncio.to_thread(
        site.serve, "uvicorn", DJANGO_DEBUG="0", DJANGO_SECRET_KEY="k" * 50, UVICORN_WS_MAX_SIZE="1000"
    )
    for origin in ("http://evil.example", None):
        with pytest.raises(InvalidStatus) as refused:
            async with Client(server, "/sse/ws/?topic=notifications", origin=origin):
                pass
        assert refused.value.response.status_code == 403
    async with Client(server, "/ws/") as client:
        await client.write("x" * 1001)
        assert (await client.closed())[0] == 1009


async def test_a_client_that_never_reads_is_closed_and_the_memory_of_the_server_stays(site):
    size = 500_000
    limits = {"SSE_MAX_EVENT_BYTES": str(size), "SSE_RING_BYTES": str(2 * size), "SSE_SEND_TIMEOUT": "0.5"}
    server = await asyncio.to_thread(site.serve, "uvicorn", **limits)
    memory = psutil.Process(server.child.pid).memory_info
    admin = await asyncio.to_thread(server.sign_in)
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(("127.0.0.1", server.port))
    async with Client(server, "/sse/ws/?topic=notifications", compression=None, sock=plain) as stuck:
        await stuck.frame(event="cursor")
        stuck.socket.transport.pause_reading()
        before = memory().rss
        sent = 0
        async with asyncio.timeout(DEADLINE):
            while await publish(admin, "notifications", "x" * size):
                sent += size
        assert sent > 2 * size
        assert memory().rss - before < 25e6
        stuck.socket.transport.resume_reading()
    admin.close()
