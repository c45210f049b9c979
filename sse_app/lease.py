"""The lease: the thread and the database connections of a request, and how they are given back early.

Django's ASGI handler gives each request a thread of its own until the response has ended, and
connections belong to threads. A stream would keep both for hours.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

from sse_app.conf import conf

_turnstiles: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


@asynccontextmanager
async def lease() -> AsyncIterator[None]:
    """Use the request's thread and connections for a moment, ``SSE_MAX_OPENING`` requests at a time.

    Without a limit, a thousand clients that come back at once would need a thousand connections to
    ask who they are.
    """
    loop = asyncio.get_running_loop()
    turnstile = _turnstiles.get(loop)
    if turnstile is None:
        turnstile = _turnstiles[loop] = asyncio.Semaphore(conf.SSE_MAX_OPENING)
    async with turnstile:
        try:
            yield
        finally:
            await release()


@asynccontextmanager
async def short_lease() -> AsyncIterator[None]:
    """Do what ``lease`` does outside a Django request, as on a WebSocket, which lives for hours.

    What is synchronous runs in a thread of its own, and not in the one that all of a process shares.
    """
    async with ThreadSensitiveContext(), lease():
        yield


async def release() -> None:
    """Give the thread and the connections back; what runs in a thread later gets a new one.

    Connections inside a transaction are left alone.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    executors = getattr(SyncToAsync, "context_to_thread_executor", {})
    if context is None or context not in executors:
        return
    await sync_to_async(_close_connections)()
    executor = executors.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)


def abandoned() -> bool:
    """Whether the server has cancelled the request, of which Django 5.2 and 6.0 tell nobody.

    They leave the streaming task behind; what shows is that the request's context has been left.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    return context is not None and getattr(context, "token", context) is None


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
