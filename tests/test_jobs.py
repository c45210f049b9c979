"""Jobs and their readers, on virtual time."""

import asyncio
import logging
from contextlib import aclosing

import pytest

from sse_app.jobs import Jobs, TooManyJobs
from tests.clock import run
from tests.sources import Source


def seconds(count, error=None):
    """A source that gives a number each second."""
    return Source(*[(1, number) for number in range(1, count + 1)], error=error)


async def taken(reading, most):
    return [await anext(reading) for _ in range(most)]


def items(pairs):
    return [item for _, item in pairs]


def test_a_job_gives_each_item_an_id_to_come_back_with():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(3).items(), linger=0)
        return [pair async for pair in reading]

    pairs = run(consume())
    assert items(pairs) == [1, 2, 3]
    names = {id.rpartition(".")[0] for id, _ in pairs}
    assert len(names) == 1
    assert [id.rpartition(".")[2] for id, _ in pairs] == ["1", "2", "3"]


def test_a_job_begins_with_its_first_reader():
    async def consume():
        source = seconds(3)
        jobs = Jobs()
        reading = jobs.start(source.items(), linger=None)
        await asyncio.sleep(30)
        started = asyncio.get_running_loop().time()
        await anext(reading)
        return asyncio.get_running_loop().time() - started

    assert run(consume()) == 1


def test_a_reader_who_comes_back_in_time_misses_nothing_of_what_went_on():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(10).items(), linger=30)
        pairs = await taken(reading, 2)
        await reading.aclose()
        await asyncio.sleep(5)
        loop = asyncio.get_running_loop()
        back, began = jobs.resume(pairs[-1][0]), loop.time()
        missed = await taken(back, 5)
        assert loop.time() == began  # they had been made meanwhile
        return pairs + missed + [pair async for pair in back]

    pairs = run(consume())
    assert items(pairs) == list(range(1, 11))
    assert len({id for id, _ in pairs}) == 10


@pytest.mark.parametrize(
    ("linger", "made", "ended"),
    [(0, 2, False), (3.5, 5, False), (None, 10, True)],
    ids=["it stops with its reader", "it goes on for a while", "it goes on to its end"],
)
def test_whether_a_job_goes_on_without_a_reader_is_its_linger(linger, made, ended):
    numbers = []
    source = seconds(10)

    async def noted():
        async with aclosing(source.items()) as items:
            async for number in items:
                numbers.append(number)
                yield number

    async def consume():
        jobs = Jobs()
        reading = jobs.start(noted(), linger=linger)
        await taken(reading, 2)
        await reading.aclose()
        await asyncio.sleep(20)

    run(consume())
    assert numbers == list(range(1, made + 1))
    assert (source.ended == "end") is ended


def test_a_job_that_was_stopped_is_forgotten():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(10).items(), linger=3)
        (last, _), *_ = await taken(reading, 1)
        await reading.aclose()
        await asyncio.sleep(2.5)
        assert jobs.resume(last) is not None
        await asyncio.sleep(1)
        assert jobs.resume(last) is None
        assert len(jobs) == 0

    run(consume())


def test_a_reader_who_comes_in_time_stops_the_clock():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(10).items(), linger=3)
        (last, _), *_ = await taken(reading, 1)
        for _ in range(3):
            await reading.aclose()
            await asyncio.sleep(2)
            reading = jobs.resume(last)
            last, number = await anext(reading)
        return number

    assert run(consume()) == 4


def test_two_readers_read_one_run():
    async def consume():
        jobs = Jobs()
        source = seconds(5)
        one = jobs.start(source.items(), linger=0)
        (id, _), *_ = await taken(one, 1)
        other = jobs.resume(id)
        await anext(other)
        await one.aclose()
        rest = [number async for _, number in other]
        return rest, source.ended

    assert run(consume()) == ([3, 4, 5], "end")


def test_of_a_job_that_keeps_few_a_late_reader_gets_the_newest():
    async def consume():
        jobs = Jobs(keep=1)
        reading = jobs.start(seconds(10).items(), linger=None)
        (id, _), *_ = await taken(reading, 1)
        await reading.aclose()
        await asyncio.sleep(5.5)
        return await taken(jobs.resume(id), 2)

    (one, first), (other, second) = run(consume())
    assert (first, second) == (6, 7)
    assert (one.rpartition(".")[2], other.rpartition(".")[2]) == ("6", "7")


def test_a_job_can_go_on_from_a_number():
    async def consume():
        jobs = Jobs()
        return [pair async for pair in jobs.start(seconds(2).items(), linger=0, after=40)]

    assert [id.rpartition(".")[2] for id, _ in run(consume())] == ["41", "42"]


def test_one_who_has_had_all_of_a_job_is_done():
    async def consume():
        jobs = Jobs(remember=60)
        reading = jobs.start(seconds(2).items(), linger=0)
        pairs = [pair async for pair in reading]
        assert jobs.resume(pairs[0][0]).done is False
        assert jobs.resume(pairs[1][0]).done is True
        await asyncio.sleep(61)
        assert jobs.resume(pairs[1][0]) is None

    run(consume())


def test_a_failure_reaches_every_reader_after_what_came_before_it():
    async def consume():
        jobs = Jobs()
        one = jobs.start(seconds(1, error=ValueError("broken")).items(), linger=None)
        (id, _), *_ = await taken(one, 1)
        with pytest.raises(ValueError, match="broken"):
            await anext(one)
        back = jobs.resume(id)
        assert back.done is False
        with pytest.raises(ValueError, match="broken"):
            await anext(back)

    run(consume())


def test_a_failure_that_nobody_reads_is_logged(caplog):
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(2, error=ValueError("broken")).items(), linger=None)
        await anext(reading)
        await reading.aclose()
        await asyncio.sleep(5)

    with caplog.at_level(logging.ERROR, "sse_app"):
        run(consume())
    assert [record.message for record in caplog.records] == ["a job failed that nobody read"]


def test_one_who_was_about_to_read_a_job_that_is_stopped_is_told():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(10).items(), linger=3)
        (id, _), *_ = await taken(reading, 1)
        await reading.aclose()
        late = jobs.resume(id)
        await asyncio.sleep(5)
        assert await taken(late, 2)  # what it had made by then
        with pytest.raises(RuntimeError, match="the job was stopped: it had no reader"):
            await taken(late, 3)

    run(consume())


def test_a_job_that_is_never_read_is_closed_and_forgotten():
    closed = []

    class Resource:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise AssertionError("it was not to be read")

        async def aclose(self):
            closed.append(True)

    async def consume():
        jobs = Jobs(remember=10)
        jobs.start(Resource(), linger=None)
        await asyncio.sleep(11)
        return len(jobs)

    assert run(consume()) == 0
    assert closed == [True]


def test_a_source_that_never_waits_lets_its_readers_read():
    async def busy():
        for number in range(1000):
            yield number

    async def consume():
        jobs = Jobs(keep=10)
        return [number async for _, number in jobs.start(busy(), linger=0)]

    assert run(consume()) == list(range(1000))


def test_there_are_only_so_many_jobs():
    async def consume():
        jobs = Jobs(most=2)
        for _ in range(2):
            jobs.start(seconds(1).items(), linger=0)
        with pytest.raises(TooManyJobs, match="there are 2 jobs already"):
            jobs.start(seconds(1).items(), linger=0)

    run(consume())


@pytest.mark.parametrize("number", ["", "x", "-1", "1e3", "¹", "9" * 20, "1.1"])
def test_what_is_no_id_of_a_job_is_none(number):
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(3).items(), linger=0)
        (id, _), *_ = await taken(reading, 1)
        name = id.rpartition(".")[0]
        assert jobs.resume(f"{name}.{number}") is None
        assert jobs.resume(None) is None
        assert jobs.resume("") is None
        assert jobs.resume("unknown.1") is None
        ahead = jobs.resume(f"{name}.999")  # nobody can be ahead of the job
        assert (await anext(ahead))[1] == 2

    run(consume())


def test_a_reader_may_be_closed_twice_and_then_gives_nothing():
    async def consume():
        jobs = Jobs()
        reading = jobs.start(seconds(3).items(), linger=0)
        await anext(reading)
        await reading.aclose()
        await reading.aclose()
        assert await anext(reading, "ended") == "ended"

    run(consume())


def test_to_remember_takes_a_time():
    with pytest.raises(ValueError, match="remember: must be positive, not 0"):
        Jobs(remember=0)
