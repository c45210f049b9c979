"""Pumps, batches and gzip, on virtual time."""

import asyncio
import zlib

import pytest

from sse_app.pumps import BATCH_BYTES, Batches, Gzip
from sse_app.streams import keep_alive, throttle, until
from tests.clock import run
from tests.sources import Source, timed

PUMPS = {
    "keep_alive": lambda source: keep_alive(source, 15, b"-"),
    "throttle": lambda source: throttle(source, 0.01),
    "until": lambda source: until(source, asyncio.Event().wait()),
    "Batches": Batches,
}
each_pump = pytest.mark.parametrize("wrap", PUMPS.values(), ids=PUMPS)


def test_a_batch_is_what_came_within_its_time():
    source = Source((1, b"a"), (0.01, b"b"), (0.01, b"c"), (1, b"d"), (0.2, b"e"))
    seen = run(timed(Batches(source.items(), 100, 0.05)))
    assert [(round(at, 3), batch) for at, batch in seen] == [(1.05, b"abc"), (2.07, b"d"), (2.22, b"e")]
    assert source.ended == "end"


def test_a_full_batch_goes_out_at_once():
    source = Source((1, b"aaa"), (0.01, b"bbb"), (0.01, b"ccc"), (0, b"ddddddddd"), (0, b"e"))
    seen = run(timed(Batches(source.items(), 5, 0.05)))
    assert [(round(at, 3), batch) for at, batch in seen] == [
        (1.01, b"aaabbb"),
        (1.02, b"cccddddddddd"),
        (1.02, b"e"),
    ]


def test_a_fast_source_gives_full_batches_in_no_time():
    async def consume():
        batches = await timed(Batches(fast(1000)))
        return batches[-1][0], [len(batch) for _, batch in batches]

    async def fast(number):
        for _ in range(number):
            yield b"x" * 1000

    at, sizes = run(consume())
    full = 1000 * -(-BATCH_BYTES // 1000)
    assert sizes == [full] * (1_000_000 // full) + [1_000_000 % full]
    assert full < 65536
    assert at == 0


def test_the_source_is_at_most_one_batch_ahead():
    produced = 0

    async def endless():
        nonlocal produced
        while True:
            produced += 1
            yield b"x" * 10

    async def consume():
        stream = Batches(endless(), 100, 0.05)
        assert await anext(stream) == b"x" * 100
        await asyncio.sleep(1000)
        assert produced <= 20
        assert await anext(stream) == b"x" * 100
        await stream.aclose()

    run(consume())


@pytest.mark.parametrize("pieces", [0, 1, 12], ids=["nothing", "some", "more than a batch"])
def test_batches_end_with_their_source_and_stay_ended(pieces):
    async def consume():
        stream = Batches(Source(*[(0, b"x")] * pieces).items(), 10, 0.05)
        seen = [batch async for batch in stream]
        assert await anext(stream, "end") == "end"
        await stream.aclose()
        return b"".join(seen)

    assert run(consume()) == b"x" * pieces


@pytest.mark.parametrize("pieces", [0, 1, 12])
def test_batches_give_all_that_came_before_a_failure_and_then_fail(pieces):
    async def consume():
        stream = Batches(Source(*[(0, b"x")] * pieces, error=ValueError("broken")).items(), 10, 0.05)
        seen = []
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                while True:
                    seen.append(await anext(stream))
        return b"".join(seen)

    assert run(consume()) == b"x" * pieces


@pytest.mark.parametrize(
    ("taken", "ended"), [(0, None), (1, "closed"), (2, "cancelled")], ids=["unstarted", "at yield", "waiting"]
)
@pytest.mark.parametrize("pack", [lambda stream: stream, Gzip], ids=["plain", "gzip"])
def test_closing_batches_closes_the_source_at_once(taken, ended, pack):
    async def consume():
        source = Source((1, b"full"), (0, b"full"), (1000, b"late"))
        stream = pack(Batches(source.items(), 4, 0.05))
        for _ in range(taken):
            await anext(stream)
        await asyncio.sleep(5)  # the pump stands at its yield, or waits for what comes late
        await stream.aclose()
        await stream.aclose()
        return source.ended

    assert run(consume()) == ended


def test_a_source_of_batches_may_hold_a_timeout_across_its_yields():
    async def source():
        async with asyncio.timeout(100):
            for _ in range(3):
                await asyncio.sleep(10)
                yield b"x"

    assert [batch for _, batch in run(timed(Batches(source(), 10, 0.05)))] == [b"x"] * 3


def test_each_gzip_batch_can_be_unpacked_by_what_came_so_far():
    async def consume():
        return [packed async for packed in Gzip(Source((0, b"one"), (0, b"two" * 1000), (0, b"")).items())]

    *packed, end = run(consume())
    unpacking = zlib.decompressobj(31)
    assert [unpacking.decompress(batch) for batch in packed] == [b"one", b"two" * 1000, b""]
    assert not unpacking.eof
    assert unpacking.decompress(end) == b""
    assert unpacking.eof


def test_gzip_of_nothing_is_a_whole_gzip_file():
    async def consume():
        return [packed async for packed in Gzip(Source().items())]

    assert zlib.decompress(b"".join(run(consume())), 31) == b""


def test_gzip_of_a_source_that_fails_has_no_end():
    async def consume():
        stream = Gzip(Source((0, b"one"), error=ValueError("broken")).items())
        packed = await anext(stream)
        with pytest.raises(ValueError, match="broken"):
            await anext(stream)
        return packed

    unpacking = zlib.decompressobj(31)
    assert unpacking.decompress(run(consume())) == b"one"
    assert not unpacking.eof


@each_pump
def test_a_source_that_somebody_else_cancelled_is_a_failure_and_not_a_silence(wrap):
    async def awaits_what_is_cancelled():
        yield b"a"
        task = asyncio.create_task(asyncio.sleep(1000))
        asyncio.get_running_loop().call_later(1, task.cancel)
        await task

    async def consume():
        stream = wrap(awaits_what_is_cancelled())
        assert await anext(stream) == b"a"
        with pytest.raises(RuntimeError, match="the source was cancelled, but not by its reader"):
            await anext(stream)

    run(consume())


@each_pump
def test_a_source_that_fails_as_it_is_closed_ends_with_that_failure(wrap):
    class Source:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

        async def aclose(self):
            raise ValueError("while closing")

    async def consume():
        with pytest.raises(ValueError, match="while closing"):
            await anext(wrap(Source()))

    run(consume())
