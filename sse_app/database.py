"""The database as streams read it: a few threads for all of them, each with a connection of its own.

A connection that fails is closed, so that the next read gets a new one; a thread that has nothing
to do ends, and its connections with it.
"""

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from django.db import connections

from sse_app.conf import conf
from sse_app.readpool import ReadPool

T = TypeVar("T")


async def read(query: Callable[[], T]) -> T:
    """Run a query in one of the threads, outside any transaction, and give its result."""
    return await _pool().run(lambda: _guarded(query))


def close() -> None:
    """End the threads that have nothing to do, and close their connections with them."""
    _pool().close()


@cache
def _pool() -> ReadPool:
    return ReadPool(conf.SSE_LOG_READERS, on_exit=connections.close_all)


def _guarded(query: Callable[[], T]) -> T:
    try:
        return query()
    except Exception:
        connections.close_all()
        raise
