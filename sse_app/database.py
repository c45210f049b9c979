"""The database as streams read it: a few threads for all of them, each with a connection of its own.

A connection that fails is closed, so that the next read gets a new one; a thread that has nothing
to do ends, and its connections with it.
"""

import atexit
import os
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from django.db import connections

from sse_app.conf import conf
from sse_app.readpool import ReadPool

T = TypeVar("T")


async def read(query: Callable[[], T], *, urgent: bool = False) -> T:
    """Run a query in one of the threads, outside any transaction, and give its result.

    What is ``urgent`` does not queue behind the rest.
    """
    return await _pool(os.getpid()).run(lambda: _guarded(query), urgent=urgent)


def close() -> None:
    """End the threads that have nothing to do, and their connections with them; waits for a second."""
    if _pool.cache_info().currsize:  # else nothing was read, and settings need not even exist
        _pool(os.getpid()).close(wait=1.0)


@cache
def _pool(pid: int) -> ReadPool:
    """Give the pool of a process: threads do not survive a fork."""
    return ReadPool(conf.SSE_LOG_READERS, on_exit=connections.close_all)


def _guarded(query: Callable[[], T]) -> T:
    try:
        return query()
    except Exception:
        connections.close_all()
        raise


atexit.register(close)
