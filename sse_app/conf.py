"""Settings: every one of them, with its type, its default and the reason for it."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.conf import settings

from sse_app.positions import LONGEST_POSITION, MAX_CURSOR_LENGTH
from sse_app.topics import TooManyTopics, TopicRule, TopicRules


class Settings:
    """Reads Django's settings anew at each access, so that ``override_settings`` works."""

    @property
    def SSE_TOPICS(self) -> Mapping[str, Mapping[str, Any]]:
        """Topic patterns and their options; no topic exists that is not declared here."""
        return getattr(settings, "SSE_TOPICS", {})

    @property
    def SSE_TOPIC_POLICY(self) -> str:
        """Dotted path of the policy that says who may subscribe and publish; this one denies."""
        return getattr(settings, "SSE_TOPIC_POLICY", "sse_app.permissions.TopicPolicy")

    @property
    def SSE_NOTIFICATIONS_TOPIC(self) -> str | None:
        """Topic of the notifications that are for everyone; with None there are none of those."""
        return getattr(settings, "SSE_NOTIFICATIONS_TOPIC", "notifications")

    @property
    def SSE_EVENT_LOG(self) -> str:
        """Dotted path of the event log, or "orm", "redis" or "memory"; the ORM is atomic with your data."""
        return getattr(settings, "SSE_EVENT_LOG", "orm")

    @property
    def SSE_CHANNEL_LAYER(self) -> str | None:
        """Alias of the channel layer that carries doorbells; None relies on the tick alone."""
        return getattr(settings, "SSE_CHANNEL_LAYER", "default")

    @property
    def SSE_MAX_TOPICS(self) -> int:
        """Topics of one stream; the cursor of 20 ordinary names stays below 1 KiB."""
        return getattr(settings, "SSE_MAX_TOPICS", 20)

    @property
    def SSE_MAX_EVENT_BYTES(self) -> int:
        """Bytes of one event's data; clients and brokers choke on more than 64 KiB."""
        return getattr(settings, "SSE_MAX_EVENT_BYTES", 64 * 1024)

    @property
    def SSE_MAX_MESSAGE_BYTES(self) -> int:
        """Bytes of one message that a WebSocket client sends; a few photos, and no more."""
        return getattr(settings, "SSE_MAX_MESSAGE_BYTES", 4 * 2**20)

    @property
    def SSE_SEND_TIMEOUT(self) -> float:
        """Seconds that one send to a WebSocket may hang before it is closed; uvicorn's ping waits 20."""
        return getattr(settings, "SSE_SEND_TIMEOUT", 30.0)

    @property
    def SSE_KEEP_ALIVE(self) -> float:
        """Seconds of silence before a comment is sent; the HTML standard advises 15."""
        return getattr(settings, "SSE_KEEP_ALIVE", 15.0)

    @property
    def SSE_RETRY(self) -> float:
        """Seconds a client waits before it reconnects, spread by a quarter; Chromium's own is 3."""
        return getattr(settings, "SSE_RETRY", 3.0)

    @property
    def SSE_RING_ENTRIES(self) -> int:
        """Events of one topic kept in memory by each process; slower readers use the log."""
        return getattr(settings, "SSE_RING_ENTRIES", 256)

    @property
    def SSE_RING_BYTES(self) -> int:
        """Bytes that all topics together keep in memory in each process."""
        return getattr(settings, "SSE_RING_BYTES", 64 * 2**20)

    @property
    def SSE_TICK(self) -> tuple[float, float] | None:
        """Shortest and longest time in seconds between two looks at the log; None for no look."""
        return getattr(settings, "SSE_TICK", (1.2, 1.6))

    @property
    def SSE_LOG_READERS(self) -> int:
        """Threads, and so database connections, that read the log in each process."""
        return getattr(settings, "SSE_LOG_READERS", 4)

    @property
    def SSE_MAX_OPENING(self) -> int:
        """Streams that may be asking who their user is at once, each with a database connection."""
        return getattr(settings, "SSE_MAX_OPENING", 8)

    @property
    def SSE_MEMORY_LOG_ENTRIES(self) -> int:
        """Events of one topic that the memory log keeps."""
        return getattr(settings, "SSE_MEMORY_LOG_ENTRIES", 1000)

    @property
    def SSE_REDIS(self) -> str | tuple[str, int] | Mapping[str, Any]:
        """Where the Redis log is, in any form that channels-redis takes as a host, or a cluster."""
        return getattr(settings, "SSE_REDIS", "redis://localhost:6379/0")

    @property
    def SSE_REDIS_PREFIX(self) -> str:
        """What the Redis log's keys begin with; sites that share a Redis need one each."""
        return getattr(settings, "SSE_REDIS_PREFIX", "sse")

    @property
    def SSE_REDIS_LOG_ENTRIES(self) -> int:
        """Events of one topic that the Redis log keeps, unless the topic's ``keep`` says otherwise."""
        return getattr(settings, "SSE_REDIS_LOG_ENTRIES", 10_000)

    @property
    def SSE_IDEMPOTENCY_WINDOW(self) -> float:
        """Seconds for which an idempotency key is known; a day outlasts most queues' retries."""
        return getattr(settings, "SSE_IDEMPOTENCY_WINDOW", 86400.0)

    @property
    def SSE_PRESENCE_EXPIRY(self) -> float:
        """Seconds after which the readers of a process that was killed do not count any more."""
        return getattr(settings, "SSE_PRESENCE_EXPIRY", 30.0)

    @property
    def SSE_CONTENT_ENCODING(self) -> str:
        """Content-Encoding of a stream; "identity" keeps Django's GZipMiddleware off, "" sends none."""
        return getattr(settings, "SSE_CONTENT_ENCODING", "identity")


conf = Settings()


@cache
def topic_rules() -> TopicRules:
    """Give the declared topics. Raises ValueError where the setting is wrong."""
    return TopicRules(conf.SSE_TOPICS)


def stream_rules(topics: Sequence[str]) -> dict[str, TopicRule]:
    """Give the rules of one stream's topics. Raises IllegalTopic, UnknownTopic or TooManyTopics."""
    most = conf.SSE_MAX_TOPICS
    if len(topics) > most:
        raise TooManyTopics(f"{len(topics)} topics are more than the {most} of SSE_MAX_TOPICS")
    if sum(len(topic) + LONGEST_POSITION for topic in topics) > MAX_CURSOR_LENGTH:
        raise TooManyTopics(f"a cursor of these {len(topics)} topics would be too long to be read back")
    return {topic: topic_rules().rule(topic) for topic in topics}
