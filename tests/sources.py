"""Sources for the tests of shaping, and what is seen of them on virtual time."""

import asyncio


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
