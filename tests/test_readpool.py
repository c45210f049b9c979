"""The read pool: few threads, in turn, and none when there is nothing to do."""

import asyncio
import threading

import pytest

from sse_app import database
from sse_app.readpool import ReadPool
from tests.asgi import poll


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "sse-log"]


@pytest.fixture
async def no_workers():
    database.close()  # what other tests have read with
    await poll(lambda: not workers())
    yield
    await poll(lambda: not workers())


async def test_a_call_returns_or_raises_as_if_it_were_made_here(no_workers):
    pool = ReadPool(2, idle=0.05)
    assert await pool.run(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 / 0)


async def test_many_calls_use_few_threads_and_all_are_done(no_workers):
    pool = ReadPool(3, idle=0.05)
    gate = threading.Event()
    calls = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(50)]
    await asyncio.sleep(0)
    assert len(workers()) == 2
    assert await pool.run(lambda: "one thread is kept for what is urgent", urgent=True)
    gate.set()
    assert await asyncio.gather(*calls) == [True] * 50
    assert len(workers()) <= 3


async def test_one_call_after_another_uses_one_thread(no_workers):
    pool = ReadPool(4, idle=0.5)
    gate = threading.Event()
    calls = [asyncio.ensure_future(pool.run(gate.wait)) for _ in range(4)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    idents = set()
    for _ in range(20):
        await poll(lambda: len(pool._resting) == pool._threads)  # it has come to rest
        idents.add(await pool.run(threading.get_ident))
    assert len(idents) == 1


async def test_an_idle_thread_ends_and_closes_what_it_holds(no_workers):
    closed = []
    pool = ReadPool(2, idle=0.01, on_exit=lambda: closed.append(threading.get_ident()))
    ident = await pool.run(threading.get_ident)
    await poll(lambda: closed == [ident])
    assert await pool.run(lambda: "again") == "again"


async def test_a_call_whose_caller_has_gone_is_not_made(no_workers):
    pool = ReadPool(1, idle=0.05)
    gate, made = threading.Event(), []
    first = asyncio.ensure_future(pool.run(gate.wait))
    second = asyncio.ensure_future(pool.run(lambda: made.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    gate.set()
    await first
    await pool.run(lambda: made.append("third"))
    assert made == ["third"]


async def test_closing_ends_the_threads_at_rest_and_a_later_call_starts_anew(no_workers):
    pool = ReadPool(2, idle=1000)
    assert await pool.run(lambda: 1) == 1
    await poll(lambda: pool._resting)
    pool.close()
    await poll(lambda: not workers())
    assert await pool.run(lambda: 2) == 2
    await poll(lambda: pool._resting)
    pool.close()


async def test_an_urgent_call_goes_before_those_that_wait(no_workers):
    pool = ReadPool(1, idle=0.05)
    gate, made = threading.Event(), []
    first = asyncio.ensure_future(pool.run(gate.wait))
    await asyncio.sleep(0)
    calls = [asyncio.ensure_future(pool.run(lambda n=n: made.append(n))) for n in range(5)]
    await asyncio.sleep(0)
    urgent = asyncio.ensure_future(pool.run(lambda: made.append("urgent"), urgent=True))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, urgent, *calls)
    assert made == ["urgent", 0, 1, 2, 3, 4]
