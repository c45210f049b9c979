"""The read pool: a few threads that read the log for all streams of a process.

Replay must never take a thread and a database connection for each client that comes back. A thread
that has had nothing to do for a while ends, and closes what it holds.
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Job = tuple["Future[Any]", Callable[[], Any], bool]  # the last: urgent
# None tells the thread to end.
Inbox: TypeAlias = "queue.SimpleQueue[Job | None]"


class ReadPool:
    """At most ``size`` threads, started when needed; one that idled ``idle`` seconds ends.

    ``on_exit`` runs in each thread before it ends. The thread that worked last gets the next job,
    so that a low load keeps one thread alive and not all of them. Of several threads the last one is
    kept for what is urgent.
    """

    def __init__(self, size: int, *, idle: float = 10.0, on_exit: Callable[[], None] = lambda: None) -> None:
        self._size = size
        self._idle = idle
        self._on_exit = on_exit
        self._lock = threading.Lock()
        self._urgent: deque[Job] = deque()
        self._patient: deque[Job] = deque()
        self._patient_running = 0
        self._most_patient = max(1, size - 1)
        self._resting: dict[Inbox, threading.Thread] = {}
        self._threads = 0

    async def run(self, call: Callable[[], T], *, urgent: bool = False) -> T:
        """Call it in one of the threads, before all others if urgent; give what it returns or raises."""
        future: Future[T] = Future()
        self._submit((future, call, urgent))
        return await asyncio.wrap_future(future)

    def close(self, wait: float = 0.0) -> None:
        """End the threads at rest, and wait so many seconds for each; a later call starts new ones."""
        with self._lock:
            resting, self._resting = self._resting, {}
            self._threads -= len(resting)
        for inbox, thread in resting.items():
            inbox.put(None)
            thread.join(wait)

    def _submit(self, job: Job) -> None:
        urgent = job[2]
        with self._lock:
            busy = not self._resting and self._threads >= self._size
            if busy or not (urgent or self._patient_running < self._most_patient):
                (self._urgent if urgent else self._patient).append(job)
                return
            self._patient_running += not urgent
            if self._resting:
                self._resting.popitem()[0].put(job)
            else:
                threading.Thread(target=self._work, args=(job,), name="sse-log", daemon=True).start()
                self._threads += 1

    def _work(self, job: Job | None) -> None:
        inbox: Inbox = queue.SimpleQueue()
        try:
            while job is not None:
                _do(job)
                job = self._next(job, inbox)
        finally:
            self._on_exit()

    def _next(self, done: Job, inbox: Inbox) -> Job | None:
        with self._lock:
            self._patient_running -= not done[2]
            if self._urgent:
                return self._urgent.popleft()
            if self._patient and self._patient_running < self._most_patient:
                self._patient_running += 1
                return self._patient.popleft()
            self._resting[inbox] = threading.current_thread()
        try:
            return inbox.get(timeout=self._idle)
        except queue.Empty:
            return self._leave(inbox)

    def _leave(self, inbox: Inbox) -> Job | None:
        with self._lock:
            if self._resting.pop(inbox, None) is not None:
                self._threads -= 1
                return None
        return inbox.get()  # a job came in the same moment


def _do(job: Job) -> None:
    future, call, _ = job
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
