"""WebSockets: bounded messages, sends that hang, both sides' end; on virtual time."""

import asyncio

import pytest

from project import websocket
from sse_app.websocket import MAX_REASON, Gone, Goodbye, WebSocket, conversation, together
from tests import clock
from tests.sockets import talk


def on_virtual_time(test):
    def run():
        clock.run(test())

    run.__name__ = test.__name__
    return run


@on_virtual_time
async def test_a_conversation_that_returns_closes_normally():
    @conversation()
    async def app(socket):
        await socket.send('"hello"')

    async with talk(app) as client:
        assert await client.closed() == (1000, "")
    assert client.frames == ["hello"]


@on_virtual_time
async def test_a_goodbye_is_said_before_it_is_closed():
    @conversation(lambda goodbye: f'"{goodbye.code}: {goodbye}"')
    async def app(socket):
        raise Goodbye(4403, "not you")

    async with talk(app) as client:
        assert await client.closed() == (4403, "not you")
    assert client.accepted
    assert client.frames == ["4403: not you"]


@on_virtual_time
async def test_a_reason_too_long_for_its_frame_is_cut_between_characters():
    @conversation()
    async def app(socket):
        raise Goodbye(4400, "ä" * 100)

    async with talk(app) as client:
        code, reason = await client.closed()
    assert (code, reason) == (4400, "ä" * (MAX_REASON // 2))


@on_virtual_time
async def test_a_failure_closes_with_1011_and_keeps_its_secret():
    @conversation()
    async def app(socket):
        raise KeyError("password")

    async with talk(app) as client:
        assert await client.closed() == (1011, "internal error")


@pytest.mark.parametrize("kind", [str, bytes])
def test_a_message_of_the_limit_is_taken_and_one_more_byte_closes_with_1009(settings, kind):
    settings.SSE_MAX_MESSAGE_BYTES = 10
    taken = []

    @conversation()
    async def app(socket):
        while True:
            taken.append(await socket.receive())

    async def test():
        async with talk(app) as client:
            client.write("0123456789" if kind is str else b"0123456789")
            client.write("ääääää" if kind is str else b"01234567890")
            assert await client.closed() == (1009, "a message may have 10 bytes at most")

    clock.run(test())
    assert taken == ["0123456789" if kind is str else b"0123456789"]


def test_the_limit_is_4_mib_unless_set():
    @conversation()
    async def app(socket):
        assert len(await socket.receive()) == 4 * 2**20
        await socket.receive()

    async def test():
        async with talk(app) as client:
            client.write("x" * 4 * 2**20)
            client.write("x" * (4 * 2**20 + 1))
            assert await client.closed() == (1009, "a message may have 4194304 bytes at most")

    clock.run(test())


def test_a_client_that_does_not_read_is_closed_after_the_send_timeout(settings):
    settings.SSE_SEND_TIMEOUT = 7.0
    sent = []

    @conversation()
    async def app(socket):
        while True:
            await socket.send('"more"')
            sent.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)

    async def test():
        async with talk(app) as client:
            await client.until(lambda: len(client.frames) == 2)
            client.stall()
            await asyncio.wait({client.task})
            return asyncio.get_running_loop().time()

    # Two went out, the third hung for seven seconds, and the close for one.
    assert clock.run(test()) == pytest.approx(2 + 7 + 1)
    assert len(sent) == 2


def test_one_that_begins_to_read_in_time_is_told_why(settings):
    settings.SSE_SEND_TIMEOUT = 7.0

    @conversation()
    async def app(socket):
        await socket.receive()
        await socket.send('"one"')

    async def test():
        async with talk(app) as client:
            await client.until(lambda: client.accepted)
            client.stall()
            client.write("now")
            asyncio.get_running_loop().call_later(7.5, client.resume)
            assert await client.closed() == (4408, "nothing was read for 7 seconds")

    clock.run(test())


@on_virtual_time
async def test_when_the_client_goes_every_part_of_the_conversation_ends():
    ended = []

    async def forever(name):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def receive(socket):
        while True:
            await socket.receive()

    @conversation()
    async def app(socket):
        await together(forever("a"), receive(socket), forever("b"))

    async with talk(app) as client:
        await client.until(lambda: client.accepted)
        client.leave()
        assert await client.closed() is None
    assert sorted(ended) == ["a", "b"]


@on_virtual_time
async def test_the_parts_end_with_a_server_that_cancels():
    ended = []

    async def forever(socket):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    @conversation()
    async def app(socket):
        await together(forever(socket), socket.receive())

    async with talk(app) as client:
        await client.until(lambda: client.accepted)
        await asyncio.sleep(0)
        client.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.task
        assert ended == ["forever"]
        client.task = asyncio.create_task(asyncio.sleep(0))


@on_virtual_time
async def test_a_client_that_left_before_it_was_accepted_is_not_talked_to():
    async def receive():
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message):
        raise AssertionError(message)

    @conversation()
    async def app(socket):
        raise AssertionError("talked to nobody")

    await app({"type": "websocket"}, receive, send)


@on_virtual_time
async def test_a_server_that_says_the_client_is_gone_ends_it_quietly():
    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        if message["type"] != "websocket.accept":
            raise OSError("gone")

    @conversation()
    async def app(socket):
        await socket.send("x")

    await app({"type": "websocket"}, receive, send)


@on_virtual_time
async def test_nothing_is_sent_after_the_close():
    async with talk(conversation()(lambda socket: socket.close(1000, "bye"))) as client:
        assert await client.closed() == (1000, "bye")
    socket = WebSocket({}, None, None)
    with pytest.raises(Gone):
        await socket.send("late")


@on_virtual_time
async def test_the_demo_sends_a_heartbeat_every_five_seconds():
    async with talk(websocket.echo) as client:
        await client.until(lambda: len(client.frames) == 3, seconds=60)
        assert asyncio.get_running_loop().time() == pytest.approx(10)
    assert [frame.keys() for frame in client.frames] == [{"type", "timestamp"}] * 3
    assert {frame["type"] for frame in client.frames} == {"heartbeat"}


@on_virtual_time
async def test_the_demo_sends_typed_messages_back_and_closes_when_asked():
    async with talk(websocket.echo) as client:
        client.write({"type": "hello", "number": 1})
        assert await client.frame(type="echo") == {"type": "echo", "message": {"type": "hello", "number": 1}}
        for bad in ("hello", "[1]", '{"type": 1}', "[" * 100_000, '{"text": "no type"}', b"\0\1"):
            client.write(bad)
            frame = await client.frame(type="error")
            assert frame["error"] == 'a message must be JSON text such as {"type": "hello"}'
        client.write('{"type": "\\ud800"}')
        assert (await client.frame(type="error"))["error"].startswith("data: not JSON")
        client.write({"type": "close"})
        assert await client.closed() == (1000, "closed as you asked")
