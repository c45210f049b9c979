"""Streams: shaping any async iterator, by wrapping it in another one.

Each function gives an async iterator that closes what it wraps: ``await stream.aclose()`` closes the
whole chain, at once, in the loop, also where it was never started. Times are in seconds. Example::

    readings = throttle(sensor.readings(), 0.25)
    return EventSourceResponse(lifetime(readings, 3600, spread=0.1))
"""

import random
from collections.abc import AsyncIterable, Awaitable
from typing import TypeVar

from sse_app.pumps import Stream
from sse_app.shapes import Interval, KeptAlive, Lifetime, Produced, Producer, RateLimited, Throttled, Until

T = TypeVar("T")

CHANNEL = 32


def interval(seconds: float, *, start: int = 0) -> Interval:
    """Count from ``start``, one number every ``seconds``, the first at once.

    The beat doesn't drift, and no number is left out: a reader that is late gets the next one at once.
    One that is late by a whole beat or more begins a new beat, so that there are no bursts.
    Raises ValueError unless ``seconds`` is positive.
    """
    return Interval(_positive("seconds", seconds), start)


def throttle(source: AsyncIterable[T], seconds: float) -> Stream[T]:
    """Give at most one item every ``seconds``, the newest; those before it are dropped.

    The first item goes out at once and the last one is never dropped. The source is not held up.
    Raises ValueError unless ``seconds`` is positive.
    """
    return Throttled(source, _positive("seconds", seconds))


def rate_limit(source: AsyncIterable[T], max_per_second: float, burst: int = 1) -> Stream[T]:
    """Give at most ``max_per_second`` items on average and ``burst`` at once: a token bucket.

    Nothing is dropped: the source waits, and so does whatever feeds it. Raises ValueError unless
    ``max_per_second`` is positive and ``burst`` at least 1.
    """
    if not burst >= 1:
        raise ValueError(f"burst: must be at least 1, not {burst!r}")
    return RateLimited(source, _positive("max_per_second", max_per_second), burst)


def keep_alive(source: AsyncIterable[T], seconds: float, filler: T) -> Stream[T]:
    """Give the source's items, and ``filler`` whenever ``seconds`` have passed without one.

    The source is never cancelled for a filler, and is at most one item ahead. Raises ValueError unless
    ``seconds`` is positive.
    """
    return KeptAlive(source, _positive("seconds", seconds), filler)


def until(source: AsyncIterable[T], stop: Awaitable[object]) -> Stream[T]:
    """Give the source's items until ``stop`` is done, as in ``until(source, event.wait())``.

    It ends at once, also while it waits for an item. If ``stop`` fails, so does the stream. A future or
    task that was given is left alone when the stream is closed; a coroutine is closed with it.
    """
    return Until(source, stop)


def lifetime(source: AsyncIterable[T], seconds: float, *, spread: float = 0.0) -> Stream[T]:
    """Give the source's items for at most ``seconds``, and end between two of them.

    ``spread``: the share of that time by which it may be shorter, at random, so that streams which
    began together don't end together. Raises ValueError unless ``seconds`` is positive and ``spread``
    at least 0 and less than 1.
    """
    if not 0 <= spread < 1:
        raise ValueError(f"spread: must be at least 0 and less than 1, not {spread!r}")
    return Lifetime(source, _positive("seconds", seconds) * random.uniform(1 - spread, 1))


def produce(producer: Producer[T], size: int = CHANNEL) -> Stream[T]:
    """Give what ``producer`` puts, as in ``await put(item)``: a channel that holds ``size`` items.

    ``put`` waits while the channel is full. The stream ends when the producer returns, after what it has
    put, and fails if it fails; when the reader is gone the producer is cancelled. Raises ValueError
    unless ``size`` is at least 1.
    """
    if not size >= 1:
        raise ValueError(f"size: must be at least 1, not {size!r}")
    return Produced(producer, size)


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name}: must be positive, not {value!r}")
    return value
