"""The demo's chat: rooms for those who signed in, history on join, and event streams that read along."""

import json

import pytest

from project import chat
from project.asgi import application
from sse_app import apublish, apublish_many
from sse_app.hub import hubs
from tests.accounts import signed_in
from tests.asgi import fetch, poll, request
from tests.sockets import talk

pytestmark = pytest.mark.django_db(transaction=True)

LOBBY = "/ws/chat/lobby/"


def said(number):
    data = {"user": "ada", "text": f"number {number}", "timestamp": "2026-01-31T12:00:00Z"}
    return ("room.lobby", data, "chat")


async def test_what_one_member_writes_all_members_and_every_event_stream_of_the_room_get():
    ada, bob = await signed_in("ada"), await signed_in("bob")
    async with (
        talk(application, LOBBY, headers=ada) as first,
        talk(application, LOBBY, headers=bob) as second,
        talk(application, "/ws/chat/support/", headers=bob) as elsewhere,
        request(application, "/sse/topics/room.lobby/", headers=bob) as stream,
    ):
        for client in (first, second, elsewhere):
            await client.frame(type="cursor")
        await stream.primed()
        first.write({"type": "message", "text": "Hello <b>all</b>"})
        for client in (first, second):
            frame = await client.frame(type="message")
            assert (frame["user"], frame["text"]) == ("ada", "Hello <b>all</b>")
            assert frame["timestamp"].endswith("Z")
        event = await stream.event("chat")
        assert json.loads(event.data)["text"] == "Hello <b>all</b>"
        assert frame["id"].startswith(f"{event.id}&presence.room.lobby=")
        assert {frame["type"] for frame in elsewhere.frames} <= {"presence"}


async def test_who_joins_gets_the_newest_messages_and_who_comes_back_what_was_missed():
    headers = await signed_in()
    await apublish_many([said(number) for number in range(chat.HISTORY + 10)])
    async with talk(application, LOBBY, headers=headers) as client:
        frames = [await client.frame(type="message") for _ in range(chat.HISTORY)]
        assert [frame["text"] for frame in frames] == [f"number {n}" for n in range(10, chat.HISTORY + 10)]
        last = frames[-1]["id"]
    await apublish_many([said(100), said(101)])
    async with talk(application, f"{LOBBY}?last_event_id={last}", headers=headers) as client:
        assert [(await client.frame(type="message"))["text"] for _ in range(2)] == [
            "number 100",
            "number 101",
        ]


async def test_the_user_is_the_one_who_signed_in_whatever_a_member_claims():
    async with talk(application, LOBBY, headers=await signed_in("ada")) as client:
        client.write({"type": "message", "text": "hi", "user": "admin"})
        assert (await client.frame(type="message"))["user"] == "ada"


async def test_members_see_who_else_is_there():
    ada, bob = await signed_in("ada"), await signed_in("bob")
    async with talk(application, LOBBY, headers=ada) as first:
        frame = await first.frame(type="presence")
        assert (frame["readers"], frame["users"]) == (1, ["ada"])
        async with talk(application, LOBBY, headers=bob) as second:
            await first.frame(type="presence", readers=2, users=["ada", "bob"])
            await second.frame(type="presence", readers=2, users=["ada", "bob"])
        await first.frame(type="presence", readers=1, users=["ada"])
    address = "/sse/topics/room.lobby/presence/"
    assert (await fetch(application, address, headers=bob)).status == 200
    assert (await fetch(application, address)).status == 401


@pytest.mark.parametrize(
    "data", ["1", "[]", "{}", '{"readers": -1, "users": [1, "\\ud800"]}', f'{{"readers": 1{"0" * 40}}}']
)
async def test_a_presence_that_is_none_harms_nobody(data):
    async with talk(application, LOBBY, headers=await signed_in()) as client:
        await client.frame(type="cursor")
        await apublish("presence.room.lobby", data, event="presence")
        client.write({"type": "message", "text": "still here"})
        assert (await client.frame(type="message", text="still here"))["user"] == "reader"


async def test_strangers_stay_outside():
    async with talk(application, LOBBY) as client:
        assert await client.closed() == (4401, "you may not read 'room.lobby'; sign in first")
    assert client.frames == [
        {"type": "error", "code": 4401, "error": "you may not read 'room.lobby'; sign in first"}
    ]


@pytest.mark.parametrize(
    ("room", "close"),
    [
        ("a.b", (4404, "no topic 'room.a.b' is declared")),
        (
            "a%20b",
            (4400, "illegal topic 'room.a b': 1 to 100 of the characters A-Z a-z 0-9 . _ - are allowed, "),
        ),
        ("", (4404, "no WebSocket is served at /ws/chat//")),
    ],
)
async def test_a_room_that_can_t_be_is_refused(room, close):
    async with talk(application, f"/ws/chat/{room}/", headers=await signed_in()) as client:
        code, reason = await client.closed()
    assert (code, reason[: len(close[1])]) == close


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("hello", 'a message must be JSON text such as {"type": "hello"}'),
        ({"type": "shout", "text": "hello"}, 'write {"type": "message", "text": "…"}'),
        ({"type": "message"}, 'write {"type": "message", "text": "…"}'),
        ({"type": "message", "text": 1}, 'write {"type": "message", "text": "…"}'),
        ({"type": "message", "text": "  "}, 'write {"type": "message", "text": "…"}'),
        ({"type": "message", "text": "x" * 2001}, "text: 2001 characters are more than 2000"),
        (
            '{"type": "message", "text": "\\ud800"}',
            "data: not JSON: str is not valid UTF-8: surrogates not allowed",
        ),
        (b"\0", 'a message must be JSON text such as {"type": "hello"}'),
    ],
)
async def test_what_can_t_be_said_is_answered_and_the_member_stays(message, error):
    async with talk(application, LOBBY, headers=await signed_in()) as client:
        client.write(message)
        assert await client.frame(type="error") == {"type": "error", "error": error}
        client.write({"type": "message", "text": "still here"})
        assert (await client.frame(type="message"))["text"] == "still here"


@pytest.mark.parametrize(
    "data",
    ["plain", '{"text": 1}', "[1]", '{"text": "\\ud800"}', "[" * 10_000, '{"user": ["x"], "text": null}'],
)
@pytest.mark.parametrize("event", [None, "chat", "other"])
async def test_whatever_else_is_published_to_a_room_no_member_falls_out(data, event):
    async with talk(application, LOBBY, headers=await signed_in()) as client:
        await client.frame(type="cursor")
        await apublish("room.lobby", data, event=event)
        frame = await client.frame(type="message")
        assert frame["text"] is None or isinstance(frame["text"], str)
        await apublish(*said(1)[:2], event="chat")
        assert (await client.frame(type="message"))["text"] == "number 1"


async def test_a_message_over_4_mib_closes_with_1009():
    async with talk(application, LOBBY, headers=await signed_in()) as client:
        client.write("x" * (4 * 2**20 + 1))
        assert await client.closed() == (1009, "a message may have 4194304 bytes at most")


async def test_a_member_that_does_not_read_holds_up_nobody_and_one_message():
    headers = await signed_in()
    async with (
        talk(application, LOBBY, headers=headers) as stuck,
        talk(application, LOBBY, headers=headers) as other,
    ):
        await stuck.frame(type="cursor")
        stuck.stall()
        await apublish_many([said(number) for number in range(500)])
        for number in range(500):
            assert (await other.frame(type="message"))["text"] == f"number {number}"
        await poll(lambda: stuck.waiting_to_send == 1)
        stuck.resume()
        for number in range(500):
            assert (await stuck.frame(type="message"))["text"] == f"number {number}"
    assert not any(tail.readers for hub in hubs() for tail in hub.tails.values())


async def test_the_page_is_shown_to_everyone_and_the_rooms_to_members():
    page = await fetch(application, "/demo/chat/")
    assert (page.status, b'href="/admin/login/?next=/demo/chat/"' in page.content) == (200, True)
    page = await fetch(application, "/demo/chat/", headers=await signed_in("ada"))
    assert b'data-user="ada"' in page.content
    assert (await fetch(application, "/demo/chat/", method="POST")).status in (403, 405)
