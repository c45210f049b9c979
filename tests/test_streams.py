"""Shaping of async iterators, on virtual time."""

import asyncio
import random
from contextlib import aclosing

import pytest

from sse_app.streams import interval, keep_alive, lifetime, produce, rate_limit, throttle, until
from tests.clock import run
from tests.sources import Source, timed


def test_keep_alive_fills_silence_only():
    source = Source((1, "a"), (35, "b"), (1, "c"))
    seen = run(timed(keep_alive(source.items(), 15, "-")))
    assert seen == [(1, "a"), (16, "-"), (31, "-"), (36, "b"), (37, "c")]
    assert source.ended == "end"


def test_keep_alive_never_cancels_the_source():
    async def slow():
        async with asyncio.timeout(100):  # held across yields: it must stay in one task
            for item in "ab":
                await asyncio.sleep(40)
                yield item

    seen = run(timed(keep_alive(slow(), 15, "-")))
    assert [item for _, item in seen] == ["-", "-", "a", "-", "-", "b"]


def test_keep_alive_passes_on_the_failure_of_its_source():
    async def consume():
        stream = keep_alive(Source((1, "a"), error=ValueError("broken")).items(), 15, "-")
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
        stream = keep_alive(source.items(), 15, "-")
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
    assert run(timed(lifetime(source.items(), 7))) == [(2, 0), (4, 1), (6, 2)]
    assert source.ended == "cancelled"


def test_a_timeout_of_the_source_is_not_taken_for_the_end_of_its_lifetime():
    async def failing():
        yield 1
        raise TimeoutError("of its own")

    async def consume():
        stream = lifetime(failing(), 100)
        assert await anext(stream) == 1
        with pytest.raises(TimeoutError, match="of its own"):
            await anext(stream)

    run(consume())


def test_a_lifetime_over_a_keep_alive_closes_both():
    async def consume():
        source = Source((1, "a"), (1000, "b"))
        stream = lifetime(keep_alive(source.items(), 15, "-"), 40)
        seen = await timed(stream)
        await stream.aclose()
        return seen, source.ended

    assert run(consume()) == ([(1, "a"), (16, "-"), (31, "-")], "cancelled")


def test_a_lifetime_ends_a_source_that_never_waits():
    async def busy():
        while True:
            yield "now"

    async def consume():
        stream = lifetime(busy(), 5)
        for _ in range(5):
            await anext(stream)
            await asyncio.sleep(1)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(consume())


def test_keep_alive_is_at_most_one_item_ahead():
    produced = 0

    async def endless():
        nonlocal produced
        while True:
            produced += 1
            yield produced

    async def consume():
        stream = keep_alive(endless(), 15, "-")
        assert await anext(stream) == 1
        await asyncio.sleep(1000)
        assert produced == 3  # one waits to be taken, and the source stands at the next
        await stream.aclose()

    run(consume())


def test_a_spread_lifetime_is_shorter_at_random_and_never_longer():
    async def ends():
        random.seed(7)
        lives = []
        for _ in range(200):
            started = asyncio.get_running_loop().time()
            stream = lifetime(Source((1000, "never")).items(), 10, spread=0.2)
            assert [item async for item in stream] == []
            lives.append(asyncio.get_running_loop().time() - started)
        return lives

    lives = run(ends())
    assert 8 <= min(lives) < 8.2
    assert 9.8 < max(lives) <= 10 + 1e-6


def test_an_interval_counts_at_once_and_then_at_each_beat():
    assert run(timed(interval(2), 4)) == [(0, 0), (2, 1), (4, 2), (6, 3)]


def test_an_interval_is_closed_like_any_other_stream():
    async def consume():
        async with aclosing(interval(1)) as beat:
            return await anext(beat)

    assert run(consume()) == 0


def test_an_interval_starts_where_it_is_told_to():
    assert run(timed(interval(1, start=41), 2)) == [(0, 41), (1, 42)]


def test_an_interval_keeps_its_beat_while_the_reader_is_a_little_late():
    async def consume():
        loop, seen = asyncio.get_running_loop(), []
        beat = interval(1)
        for busy in (0.7, 0.2, 0.9, 0):
            seen.append((await anext(beat), loop.time()))
            await asyncio.sleep(busy)
        return seen

    assert run(consume()) == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_an_interval_makes_up_for_no_beats_that_were_missed():
    async def consume():
        loop, seen = asyncio.get_running_loop(), []
        beat = interval(1)
        for busy in (0, 1.5, 0, 7.25, 0, 0):
            seen.append((await anext(beat), loop.time()))
            await asyncio.sleep(busy)
        return seen

    # Late by half a beat, the next is there at once; late by more than a beat, a new beat begins.
    assert run(consume()) == [(0, 0), (1, 1), (2, 2.5), (3, 3), (4, 10.25), (5, 11.25)]


def test_throttle_gives_the_newest_and_drops_what_came_between():
    source = Source(*[(0.1, number) for number in range(1, 11)])
    seen = run(timed(throttle(source.items(), 0.26)))
    expected = [(0.1, 1), (0.36, 3), (0.62, 6), (0.88, 8), (1.14, 10)]
    assert [(round(at, 3), item) for at, item in seen] == expected


def test_throttle_lets_a_slow_source_pass_at_once():
    source = Source((1, "a"), (5, "b"), (5, "c"))
    assert run(timed(throttle(source.items(), 2))) == [(1, "a"), (6, "b"), (11, "c")]


def test_throttle_gives_the_last_item_even_if_the_source_has_ended():
    source = Source((0, "a"), (0.1, "b"), (0.1, "c"))
    assert [item for _, item in run(timed(throttle(source.items(), 1)))] == ["a", "c"]


def test_throttle_gives_what_it_holds_before_the_failure_of_its_source():
    async def consume():
        stream = throttle(Source((0, "a"), (0.1, "b"), error=ValueError("broken")).items(), 1)
        assert [await anext(stream), await anext(stream)] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await anext(stream)

    run(consume())


def test_throttle_lives_with_a_source_that_never_waits():
    async def busy():
        for number in range(100_000):
            yield number

    first, *_, last = [item for _, item in run(timed(throttle(busy(), 1)))]
    assert first < 10
    assert last == 99_999


def test_rate_limit_lets_a_burst_pass_and_then_so_many_a_second():
    source = Source(*[(0, number) for number in range(8)])
    seen = run(timed(rate_limit(source.items(), 10, burst=4)))
    expected = [0, 0, 0, 0, 0.1, 0.2, 0.3, 0.4]
    assert [(round(at, 6), item) for at, item in seen] == list(zip(expected, range(8), strict=True))


def test_rate_limit_saves_up_tokens_but_no_more_than_a_burst():
    source = Source((0, "a"), (0, "b"), (0.1, "c"), (60, "d"), (0, "e"), (0, "f"))
    seen = run(timed(rate_limit(source.items(), 10, burst=2)))
    expected = [(0, "a"), (0, "b"), (0.1, "c"), (60.1, "d"), (60.1, "e"), (60.2, "f")]
    assert [(round(at, 6), item) for at, item in seen] == expected


def test_rate_limit_keeps_its_rate_over_a_long_time():
    async def endless():
        while True:
            yield "x"

    seen = run(timed(rate_limit(endless(), 100, burst=50), 5_050))
    assert seen[-1][0] == pytest.approx(50)


def test_rate_limit_makes_the_source_wait():
    produced = 0

    async def endless():
        nonlocal produced
        while True:
            produced += 1
            yield produced

    async def consume():
        stream = rate_limit(endless(), 1, burst=3)
        assert [await anext(stream) for _ in range(3)] == [1, 2, 3]
        await asyncio.sleep(1000)
        assert produced == 3
        await stream.aclose()

    run(consume())


def test_until_ends_at_once_also_while_it_waits():
    async def consume():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(10, stop.set)
        source = Source((1, "a"), (1000, "b"))
        stream = until(source.items(), stop.wait())
        seen = await timed(stream)
        assert await anext(stream, "ended") == "ended"
        return seen, asyncio.get_running_loop().time(), source.ended

    assert run(consume()) == ([(1, "a")], 10, "cancelled")


def test_until_gives_nothing_after_the_stop():
    async def consume():
        stop = asyncio.get_running_loop().create_future()
        source = Source((1, "a"), (1, "b"), (1, "c"))
        stream = until(source.items(), stop)
        assert await anext(stream) == "a"
        await asyncio.sleep(5)  # "b" waits to be taken
        stop.set_result(None)
        assert await anext(stream, "ended") == "ended"
        return source.ended

    assert run(consume()) in ("closed", "cancelled")


def test_until_ends_with_its_source_and_leaves_a_task_alone():
    async def consume():
        stop = asyncio.create_task(asyncio.sleep(1000))
        seen = await timed(until(Source((1, "a"), (1, "b")).items(), stop))
        await asyncio.sleep(0)
        assert not stop.done()
        stop.cancel()
        return seen

    assert run(consume()) == [(1, "a"), (2, "b")]


def test_until_fails_where_the_stop_fails():
    async def consume():
        stop = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(3, stop.set_exception, ValueError("broken"))
        stream = until(Source((1000, "a")).items(), stop)
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await anext(stream)

    run(consume())


def test_a_stop_that_is_cancelled_is_a_stop():
    async def consume():
        stop = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(3, stop.cancel)
        return await timed(until(Source((1, "a"), (1000, "b")).items(), stop))

    assert run(consume()) == [(1, "a")]


@pytest.mark.parametrize("taken", [0, 1])
def test_closing_until_ends_the_wait_for_its_stop(taken):
    ended = []

    async def stop():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("stop")

    async def consume():
        stream = until(Source((1, "a"), (1000, "b")).items(), stop())
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        await asyncio.sleep(0)
        return ended

    assert run(consume()) == ["stop"] * taken  # a coroutine that never ran has nothing to clean up


def test_the_producer_waits_while_the_channel_is_full():
    produced = 0

    async def producer(put):
        nonlocal produced
        for number in range(100):
            await put(number)
            produced += 1

    async def consume():
        stream = produce(producer)
        assert await anext(stream) == 0
        await asyncio.sleep(1000)
        assert produced == 33  # the one that was taken, and the 32 that the channel holds
        return [0, *[item async for item in stream]]

    assert run(consume()) == list(range(100))
    assert produced == 100


def test_the_producer_stops_when_the_reader_is_gone():
    ended = []

    async def producer(put):
        try:
            while True:
                await put("x")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            await asyncio.sleep(1)  # cleaning up may take an await
            ended.append("cleaned up")

    async def consume():
        stream = produce(producer, size=4)
        await anext(stream)
        await stream.aclose()
        assert ended == ["cancelled", "cleaned up"]

    run(consume())


def test_several_tasks_may_put_into_one_channel():
    async def producer(put):
        async def count(name, seconds):
            for number in range(3):
                await asyncio.sleep(seconds)
                await put(f"{name}{number}")

        async with asyncio.TaskGroup() as group:
            group.create_task(count("a", 1))
            group.create_task(count("b", 2.5))

    assert [item for _, item in run(timed(produce(producer)))] == ["a0", "a1", "b0", "a2", "b1", "b2"]


def test_what_was_put_comes_before_the_failure_of_the_producer():
    async def producer(put):
        await put("a")
        raise ValueError("broken")

    async def consume():
        stream = produce(producer)
        assert await anext(stream) == "a"
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                await anext(stream)

    run(consume())


SHAPES = {
    "throttle": lambda source: throttle(source, 1),
    "rate_limit": lambda source: rate_limit(source, 100),
    "keep_alive": lambda source: keep_alive(source, 15, "-"),
    "until": lambda source: until(source, asyncio.Event().wait()),
    "lifetime": lambda source: lifetime(source, 10_000),
}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


class Resource:
    """A source that holds something from the moment that it is made."""

    def __init__(self):
        self.closed = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(1)
        return "item"

    async def aclose(self):
        self.closed += 1


@each_shape
@pytest.mark.parametrize("taken", [0, 1])
def test_each_shape_closes_what_it_wraps_even_if_it_was_never_started(shape, taken):
    async def consume():
        source = Resource()
        stream = shape(source)
        for _ in range(taken):
            await anext(stream)
        await stream.aclose()
        return source.closed

    assert run(consume()) >= 1


@each_shape
def test_each_shape_cancels_a_source_that_waits(shape):
    async def consume():
        source = Source((1, "a"), (1000, "b"))
        stream = shape(source.items())
        assert await anext(stream) == "a"
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(5)
        waiting.cancel()
        await asyncio.wait({waiting})
        await stream.aclose()
        return source.ended

    assert run(consume()) == "cancelled"


@each_shape
def test_each_shape_ends_with_its_source(shape):
    async def consume():
        stream = shape(Source((1, "a"), (2, "b")).items())
        seen = [item async for item in stream]
        assert await anext(stream, "ended") == "ended"
        await stream.aclose()
        return seen

    assert run(consume()) == ["a", "b"]


@each_shape
def test_each_shape_passes_on_the_failure_of_its_source(shape):
    async def consume():
        stream = shape(Source((1, "a"), error=ValueError("broken")).items())
        assert await anext(stream) == "a"
        with pytest.raises(ValueError, match="broken"):
            await anext(stream)

    run(consume())


def test_shapes_can_be_stacked_and_are_closed_as_one():
    async def consume():
        source = Resource()
        stream = source
        for shape in SHAPES.values():
            stream = shape(stream)
        assert await anext(stream) == "item"
        await stream.aclose()
        return source.closed

    assert run(consume()) >= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: interval(0), "seconds: must be positive, not 0"),
        (lambda: throttle(Resource(), -1), "seconds: must be positive, not -1"),
        (lambda: keep_alive(Resource(), 0, "-"), "seconds: must be positive, not 0"),
        (lambda: lifetime(Resource(), float("nan")), "seconds: must be positive, not nan"),
        (lambda: lifetime(Resource(), 1, spread=1), "spread: must be at least 0 and less than 1, not 1"),
        (lambda: rate_limit(Resource(), 0), "max_per_second: must be positive, not 0"),
        (lambda: rate_limit(Resource(), 1, burst=0), "burst: must be at least 1, not 0"),
        (lambda: produce(None, size=0), "size: must be at least 1, not 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_stream_begins(make, message):
    with pytest.raises(ValueError, match=message):
        make()
