"""Back-off: trying again after a failure, later each time, never in step with others."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger("sse_app")

FIRST_DELAY = 0.05  # seconds
LONGEST_DELAY = 1.0  # seconds


async def insist(attempt: Callable[[], Awaitable[T]], what: str) -> T:
    """Await ``attempt()`` until it succeeds; the waits double up to a second, with jitter.

    The first failure is logged with its traceback, and so is the recovery.
    """
    delay = FIRST_DELAY
    failures = 0
    while True:
        try:
            result = await attempt()
        except Exception:
            if not failures:
                logger.warning("%s failed; trying again", what, exc_info=True)
            failures += 1
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, LONGEST_DELAY)
        else:
            if failures:
                logger.info("%s works again after %d failures", what, failures)
            return result
