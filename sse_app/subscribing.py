"""Subscribing: what one reader of some topics gets, in and outside HTTP.

What is promised
    From its first event on, a subscription gives every event of its durable topics in the order of
    the log, each once: those after its cursor, or, where it came without one, those after the heads
    that this process knew, which may be a tick old. If a position can't be continued, one ``reset``
    says for which topic, why, and how many events were missed; then it goes on.

What a slow reader sees
    On a durable topic: the same events, later. On a latest topic: the newest value. On an ephemeral
    topic: ``lagged`` with the number of events it missed, once per episode.

What a new reader sees first
    Over HTTP, a topic's snapshot, if it has one, and again after each reset of that topic. It is made
    after the position was taken from which the stream goes on, so that no change falls between. Until
    it is complete the client is told no cursor: one that is cut off in the middle gets it again.

What closing does
    ``aclose()`` leaves all topics at once. It needs no ``await`` to take effect: ``close()`` does it.

Example::

    async with subscribe(["orders"]) as events:
        async for event in events:
            print(event.topic, event.data)
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from asgiref.sync import sync_to_async

from sse_app.conf import topic_rules
from sse_app.eventlog import get_event_log
from sse_app.positions import GENESIS, Cursor, encode_cursor
from sse_app.subscription import Subscription
from sse_app.topics import TopicKind

# A moment before everything that a log can have.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def subscribe(
    topics: str | Iterable[str], *, cursor: str | None = None, since: datetime | None = None
) -> AsyncIterator[Subscription]:
    """Read topics from anywhere: a task, a command, a consumer. See the module's example.

    ``cursor`` is the ``id`` of the last message of an earlier subscription; ``since`` a moment from
    which on the kept events come first.
    """
    subscription = Subscription([topics] if isinstance(topics, str) else topics, cursor=cursor, since=since)
    try:
        yield subscription
    finally:
        subscription.close()


def current_cursor(*topics: str) -> str:
    """Give the cursor of this moment, so that a page misses nothing between being made and connecting.

    Take it before you read what the page shows. It sees what the current transaction sees. Raises
    IllegalTopic or UnknownTopic.
    """
    rules = {topic: topic_rules().rule(topic) for topic in topics}
    logged = [topic for topic, rule in rules.items() if rule.kind is not TopicKind.EPHEMERAL]
    return _cursor(topics, dict(get_event_log().heads_now(logged)), logged)


async def acurrent_cursor(*topics: str) -> str:
    """Do what ``current_cursor`` does, from asynchronous code."""
    return await sync_to_async(current_cursor)(*topics)


async def acursor_before(topic: str, newest: int) -> str:
    """Give the cursor of a reader who has had all of a topic but the ``newest`` events, to show these first.

    Where fewer are kept, it gives those. Raises IllegalTopic or UnknownTopic.
    """
    topic_rules().rule(topic)
    log = get_event_log()
    head = (await log.read(topic, 0, 0)).head
    page = await log.read(topic, max(0, head.seq - newest + 1), newest)
    return encode_cursor({topic: page.before})


def _cursor(topics: Sequence[str], heads: Cursor, logged: Sequence[str]) -> str:
    return encode_cursor({topic: heads.get(topic, GENESIS) if topic in logged else None for topic in topics})
