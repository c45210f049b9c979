"""Jobs: a source that runs once, for readers who come, go, and come back to where they were.

The source runs in a task of its own, from its first reader on. Whether it goes on without a reader is
what ``linger`` says: not at all, for some seconds, as a reload or a lost connection takes, or to its end.
A job lives in one process and ends with it. Example::

    jobs = Jobs()


    async def answer(request):
        reading = jobs.resume(last_event_id(request)) or jobs.start(tokens(), linger=30)

        async def events():
            async with aclosing(reading):
                async for id, token in reading:
                    yield ServerSentEvent(token, id=id)

        return EventSourceResponse(events())
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Generic, TypeVar

from sse_app.pumps import End, aclose, outcome, pour

T = TypeVar("T")

logger = logging.getLogger("sse_app")


class TooManyJobs(Exception):
    """The process has as many jobs as it may have."""


class Jobs(Generic[T]):
    """The jobs of one process, by name.

    ``keep``: how many of a job's newest items are kept, None for all; a reader who is further behind
    goes on with the oldest that is kept. ``remember``: seconds for which a job is kept that has ended, or
    was never read. ``most``: how many there may be. Raises ValueError unless ``remember`` is
    positive.
    """

    def __init__(self, *, keep: int | None = None, remember: float = 60.0, most: int = 1000) -> None:
        if not remember > 0:
            raise ValueError(f"remember: must be positive, not {remember!r}")
        self._keep = keep
        self._remember = remember
        self._most = most
        self._jobs: dict[str, _Job[T]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def start(self, source: AsyncIterable[T], *, linger: float | None, after: int = 0) -> "Reading[T]":
        """Make a job of a source, and give its first reader.

        ``linger``: seconds that it goes on without a reader; 0 stops it with its last one, None lets it
        run to its end. Its items are numbered from the one after ``after``. Raises TooManyJobs.
        """
        if len(self._jobs) >= self._most:
            raise TooManyJobs(f"there are {self._most} jobs already")
        job = _Job(aiter(source), self._keep, linger, self._remember, self._forget)
        job.count = after
        self._jobs[job.name] = job
        return Reading(job, after)

    def resume(self, id: str | None) -> "Reading[T] | None":
        """Give a reader who goes on after the item of that id; None if there is no such job."""
        name, _, number = (id or "").rpartition(".")
        job = self._jobs.get(name)
        if job is None or not (number.isascii() and number.isdigit() and len(number) < 20):
            return None
        return Reading(job, min(int(number), job.count))

    def _forget(self, name: str) -> None:
        self._jobs.pop(name, None)


class _Job(Generic[T]):
    """One run of a source, and what it has given."""

    def __init__(
        self,
        source: AsyncIterator[T],
        keep: int | None,
        linger: float | None,
        remember: float,
        forget: Callable[[str], None],
    ) -> None:
        self.name = secrets.token_urlsafe(9)
        self.count = 0  # the number of the newest item
        self.items: deque[T] = deque(maxlen=keep)
        self.end: End | None = None
        self.news = asyncio.Event()
        self._source = source
        self._linger = linger
        self._remember = remember
        self._forget = forget
        self._readers = 0
        self._pump: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rest()

    def enter(self) -> None:
        """Count a reader in; the first one starts the job."""
        self._readers += 1
        self._wake_up()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    def leave(self) -> None:
        """Count a reader out."""
        self._readers -= 1
        if not self._readers:
            self._rest()

    def _rest(self) -> None:
        """Wait for a reader for as long as is due, and give up."""
        self._wake_up()
        running = self._pump is not None and self.end is None
        seconds = self._linger if running else self._remember
        if seconds == 0:
            self._give_up()
        elif seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _wake_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _give_up(self) -> None:
        self._forget(self.name)
        self.end = self.end or End(RuntimeError("the job was stopped: it had no reader"))
        if self._pump is None:
            self._pump = asyncio.create_task(aclose(self._source))
        else:
            self._pump.cancel()

    async def _run(self) -> None:
        error = await outcome(pour(self._source, self._put))
        self.end = End(error)
        self.news.set()
        if not self._readers:
            if error is not None:
                logger.error("a job failed that nobody read", exc_info=error)
            self._rest()

    async def _put(self, item: T) -> None:
        self.items.append(item)
        self.count += 1
        self.news.set()
        self.news = asyncio.Event()
        await asyncio.sleep(0)  # a source that never waits would let nobody read


class Reading(AsyncIterator[tuple[str, T]]):
    """The items of a job for one reader, each with its id. Close it: only then has the reader gone."""

    def __init__(self, job: _Job[T], after: int) -> None:
        self._job = job
        self._after = after
        self._inside = False
        self._closed = False

    @property
    def done(self) -> bool:
        """Whether the job has ended as it should, and the reader has had all of it."""
        end = self._job.end
        return end is not None and end.error is None and self._after >= self._job.count

    async def __anext__(self) -> tuple[str, T]:
        job = self._job
        if self._closed:
            raise StopAsyncIteration
        if not self._inside:
            self._inside = True
            job.enter()
        while self._after >= job.count:
            if job.end is not None:
                await self.aclose()
                raise job.end.error or StopAsyncIteration
            await job.news.wait()
        oldest = job.count - len(job.items)
        self._after = max(self._after, oldest) + 1
        return f"{job.name}.{self._after}", job.items[self._after - oldest - 1]

    async def aclose(self) -> None:
        """Leave the job, which may stop it."""
        if self._inside and not self._closed:
            self._job.leave()
        self._closed = True
