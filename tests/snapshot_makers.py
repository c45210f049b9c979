"""Functions that make snapshots, one of each kind; and what a test sees of them on the wire."""

import asyncio
import json

from asgiref.sync import sync_to_async

from sse_app import ServerSentEvent


class Maker:
    """What the functions below do; a test may set it."""

    calls = []
    parts = [{"order": 1}, ServerSentEvent("two", event="order"), ServerSentEvent(b"three")]
    midway = None
    error = None
    tasks = []

    @classmethod
    def begin(cls, monkeypatch):
        """Undo after the test what it sets."""
        for name, value in (("calls", []), ("tasks", []), ("midway", None), ("error", None)):
            monkeypatch.setattr(cls, name, value)
        monkeypatch.setattr(cls, "parts", cls.parts)


def make(user, scope, topic):
    Maker.calls.append((user, scope, topic))
    yield from Maker.parts[:1]
    if Maker.midway is not None:
        Maker.midway()
    if Maker.error is not None:
        raise Maker.error
    yield from Maker.parts[1:]


def plain(user, scope, topic):
    return list(make(user, scope, topic))


def generator(user, scope, topic):
    yield from make(user, scope, topic)


async def coroutine(user, scope, topic):
    return await sync_to_async(plain)(user, scope, topic)


async def async_generator(user, scope, topic):
    for part in await coroutine(user, scope, topic):
        await asyncio.sleep(0)
        yield part


async def slow(user, scope, topic):
    Maker.tasks.append(asyncio.current_task())
    try:
        for part in Maker.parts:
            yield part
            if Maker.midway is not None:
                await Maker.midway()
    finally:
        Maker.tasks.append(asyncio.current_task())


KINDS = ["plain", "generator", "coroutine", "async_generator"]
SHOWN = [(None, '{"order":1}'), ("order", "two"), (None, "three")]


async def blocks(stream, count):
    """Give the next so many blocks, those with the cursor too: name, data and id."""
    await stream.until(lambda: len(stream.events) >= count)
    taken, stream.events = stream.events[:count], stream.events[count:]
    return [(event.event, event.data, event.id) for event in taken]


def shown(ids=None):
    return [(event, data, ids) for event, data in SHOWN]


def reset(reason, missed=None, topic="orders"):
    told = {"topics": [{"topic": topic, "reason": reason, "missed": missed}]}
    return ("reset", json.dumps(told, separators=(",", ":")), None)
