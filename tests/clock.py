"""Virtual time: a loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import heapq
import selectors
from collections.abc import Coroutine
from typing import Any


class Nowhere(selectors.SelectSelector):
    """A selector without sockets; with no timer either, nothing could ever happen again."""

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("every task waits for something that nobody will do")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """No thread and no socket may be in play: nothing from outside wakes this loop."""

    _now = 0.0
    _turns = 0

    def __init__(self, most_turns=1_000_000):
        super().__init__(Nowhere())
        self._most_turns = most_turns  # so many at one moment are a task that never waits

    def time(self):
        return self._now

    def call_soon_threadsafe(self, callback, *args, context=None):
        return self.call_soon(callback, *args, context=context)

    def _make_self_pipe(self):
        """Spare two sockets: no thread calls."""

    def _close_self_pipe(self):
        """Nothing has been made."""

    def _run_once(self):
        timers = self._scheduled
        while timers and timers[0]._cancelled:
            heapq.heappop(timers)._scheduled = False
            self._timer_cancelled_count -= 1
        self._turns += 1
        if timers and not self._ready and timers[0]._when > self._now:
            self._now, self._turns = timers[0]._when, 0
        if self._turns > self._most_turns:
            self._turns = 0
            raise AssertionError(f"time stands still at {self._now}: something goes on and on")
        super()._run_once()


def run(coroutine: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """Run a coroutine on virtual time; no thread and no socket may be in play."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(**options), debug=False) as runner:
        return runner.run(coroutine)
