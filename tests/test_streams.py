"""Shaping of async iterators, on virtual time."""

import asyncio

import pytest

from sse_app.streams import KeepAlive, Lifetime
from tests.clock import run


class Source:
    """Yields its items, each after so many seconds, and notes how it ended."""

    def __init__(self, *steps, error=None):
        self.steps = steps
        self.error = error
        self.ended = None

    async def items(self):
        try:
            for seconds, item in self.steps:
                await asyncio.sleep(seconds)
                yield item
            if self.error:
                raise self.error
            self.ended = "end"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except GeneratorExit:
            self.ended = "closed"
            raise


async def timed(stream, most=100):
    loop = asyncio.get_running_loop()
    seen = []
    async for item in stream:
        seen.append((loop.time(), item))
        if len(seen) == most:
            break
    return seen


def test_keep_alive_fills_silence_only():
    source = Source((1, "a"), (35, "b"), (1, "c"))
    seen = run(timed(KeepAlive(source.items(), 15, "-")))
    assert seen == [(1, "a"), (16, "-"), (31, "-"), (36, "b"), (37, "c")]
    assert source.ended == "end"


def test_keep_alive_never_cancels_the_source():
    async def slow():
        async with asyncio.timeout(100):  # held across yields: it must stay in one task
            for item in "ab":
                await asyncio.sleep(40)
                yield item

    seen = run(timed(KeepAlive(slow(), 15, "-")))
    assert [item for _, item in seen] == ["-", "-", "a", "-", "-", "b"]


def test_keep_alive_passes_on_the_failure_of_its_source():
    async def consume():
        stream = KeepAlive(Source((1, "a"), error=ValueError("broken")).items(), 15, "-")
        assert await anext(stream) == "a"
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await anext(stream)

    run(consume())


@pytest.mark.parametrize(
    ("taken", "ended"), [(0, None), (1, "closed"), (2, "cancelled")], ids=["unstarted", "at yield", "waiting"]
)
def test_closing_keep_alive_closes_the_source_at_once(taken, ended):
    async def consume():
        source = Source((1, "a"), (1, "b"), (1000, "c"))
        stream = KeepAlive(source.items(), 15, "-")
        for _ in range(taken):
            await anext(stream)
        if taken == 1:
            await asyncio.sleep(5)  # the pump now holds "b", and the source stands at its yield
        await stream.aclose()
        await stream.aclose()
        return source.ended

    assert run(consume()) in {ended, "cancelled" if taken == 1 else ended}


def test_lifetime_ends_between_events():
    source = Source(*[(2, number) for number in range(10)])
    assert run(timed(Lifetime(source.items(), 7))) == [(2, 0), (4, 1), (6, 2)]
    assert source.ended == "cancelled"


def test_a_timeout_of_the_source_is_not_taken_for_the_end_of_its_lifetime():
    async def failing():
        yield 1
        raise TimeoutError("of its own")

    async def consume():
        stream = Lifetime(failing(), 100)
        assert await anext(stream) == 1
        with pytest.raises(TimeoutError, match="of its own"):
            await anext(stream)

    run(consume())


def test_a_lifetime_over_a_keep_alive_closes_both():
    async def consume():
        source = Source((1, "a"), (1000, "b"))
        stream = Lifetime(KeepAlive(source.items(), 15, "-"), 40)
        seen = await timed(stream)
        await stream.aclose()
        return seen, source.ended

    assert run(consume()) == ([(1, "a"), (16, "-"), (31, "-")], "cancelled")
