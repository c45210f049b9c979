"""Virtual time: a loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    _now = 0.0

    def time(self):
        return self._now

    def _run_once(self):
        due = [handle.when() for handle in self._scheduled if not handle.cancelled()]
        if due and not self._ready:
            self._now = max(self._now, min(due))
        super()._run_once()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on virtual time; no thread and no socket may be in play."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=False) as runner:
        return runner.run(coroutine)
