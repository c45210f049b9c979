"""Presence over two server processes, one of which is killed."""

import asyncio
import json

from tests.site import DEADLINE, Listener


async def presence_is(admin, readers, users):
    async with asyncio.timeout(DEADLINE):
        while True:
            answer = await asyncio.to_thread(admin.get, "/sse/topics/room.lobby/presence/")
            assert answer.status_code == 200, answer.text
            if (answer.json()["readers"], answer.json()["users"]) == (readers, users):
                return
            await asyncio.sleep(0.05)


async def test_the_readers_of_a_killed_process_vanish(site):
    site.environment |= {"SSE_PRESENCE_EXPIRY": "1.5"}
    dying, staying = await asyncio.gather(asyncio.to_thread(site.serve), asyncio.to_thread(site.serve))
    admin = await asyncio.to_thread(staying.sign_in)
    cookie = {"Cookie": f"sessionid={admin.cookies['sessionid']}"}
    room, watched = "/sse/topics/room.lobby/", "/sse/topics/presence.room.lobby/"
    async with (
        Listener(dying.port, room, headers=cookie) as one,
        Listener(dying.port, room, headers=cookie) as two,
        Listener(staying.port, room, headers=cookie) as three,
        Listener(staying.port, watched, headers=cookie) as watcher,
    ):
        for listener in (one, two, three, watcher):
            await listener.primed()
        await presence_is(admin, 3, ["admin"])
        await announced(watcher, 3)
        dying.kill()
        await presence_is(admin, 1, ["admin"])
        await announced(watcher, 1)
    admin.close()


async def announced(watcher, readers):
    """Wait for the event that tells the number."""
    while json.loads((await watcher.event()).data) != {
        "topic": "room.lobby",
        "readers": readers,
        "users": ["admin"],
    }:
        pass
