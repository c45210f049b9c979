"""Scenarios: tests that tell one story of the world, on virtual time."""

import asyncio
import random

from sse_app.hub import HubOptions
from tests.clock import run
from tests.simulation.world import World

NO_TICK = HubOptions(tick=None)


def world(**options):
    """Run an async test on virtual time, in a world of its own; the oracle watches it too."""

    def decorate(function):
        def test():
            random.seed(0)  # for the jitter of ticks and retries
            run(_play(function, options))

        test.__name__ = function.__name__
        test.__doc__ = function.__doc__
        return test

    return decorate


async def settle(seconds=0.1):
    await asyncio.sleep(seconds)


async def _play(function, options):
    its = World(**options)
    try:
        await function(its)
        its.check()
    finally:
        await its.close()
