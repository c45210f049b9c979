"""The roster of the Redis log: a hash for each topic, with a field for each process.

The keys share one slot of a Redis Cluster: ``sse:{presence}:seen`` (when each process was last heard
of), ``…:changed`` (when each topic has changed), ``…:roll:<topic>`` and ``…:of:<process>``. Times are
those of the callers.
"""

import json
import time
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

from sse_app.conf import conf
from sse_app.eventlog.redis import connect
from sse_app.roster.base import Presence, Roll, Roster

# Clocks of hosts differ a little.
OVERLAP_SECONDS = 2.0


class RedisRoster(Roster):
    """Hashes that are written in one round trip."""

    @cached_property
    def client(self) -> Any:
        """The client; it connects on first use, and threads may share it."""
        return connect(conf.SSE_REDIS)

    def write(self, process: str, rolls: Mapping[str, Roll]) -> None:
        """Write fields, and remove those of nobody."""
        now = time.time()
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zadd(_key("seen"), {process: now})
        for topic, roll in rolls.items():
            if roll.readers:
                pipeline.hset(_key("roll", topic), process, json.dumps(roll))
                pipeline.sadd(_key("of", process), topic)
            else:
                pipeline.hdel(_key("roll", topic), process)
                pipeline.srem(_key("of", process), topic)
            pipeline.zadd(_key("changed"), {topic: now})
        pipeline.execute()

    def refresh(self, process: str) -> bool:
        """Say that the process lives."""
        known = self.client.zscore(_key("seen"), process) is not None
        self.client.zadd(_key("seen"), {process: time.time()})
        return known

    def leader(self) -> str | None:
        """Choose the first that has readers."""
        live = sorted(self._live())
        pipeline = self.client.pipeline(transaction=False)
        for process in live:
            pipeline.scard(_key("of", process))
        return next(
            (process for process, topics in zip(live, pipeline.execute(), strict=True) if topics), None
        )

    def news(self, since: float | None) -> tuple[float, Collection[str]]:
        """Look up what has changed; remove what expired processes have said."""
        now = time.time()
        changed = self.client.zrangebyscore(_key("changed"), 0 if since is None else since, "+inf")
        topics = {*changed, *self._expire(now - conf.SSE_PRESENCE_EXPIRY)}
        self.client.zremrangebyscore(_key("changed"), 0, now - 3 * conf.SSE_PRESENCE_EXPIRY)
        return now - OVERLAP_SECONDS, topics

    def _expire(self, before: float) -> set[str]:
        expired = set()
        for process in self.client.zrangebyscore(_key("seen"), 0, f"({before}"):
            topics = self.client.smembers(_key("of", process))
            pipeline = self.client.pipeline(transaction=False)
            for topic in topics:
                pipeline.hdel(_key("roll", topic), process)
            pipeline.delete(_key("of", process))
            pipeline.zrem(_key("seen"), process)
            pipeline.execute()
            expired |= topics
        return expired

    def read(self, topics: Collection[str]) -> dict[str, Presence]:
        """Add up the fields of processes that live."""
        live = set(self._live())
        pipeline = self.client.pipeline(transaction=False)
        for topic in topics:
            pipeline.hgetall(_key("roll", topic))
        return {
            topic: Presence.of(topic, [_roll(text) for process, text in fields.items() if process in live])
            for topic, fields in zip(topics, pipeline.execute() if topics else (), strict=True)
        }

    def _live(self) -> list[str]:
        cutoff = time.time() - conf.SSE_PRESENCE_EXPIRY
        live: list[str] = self.client.zrangebyscore(_key("seen"), cutoff, "+inf")
        return live


def _key(*parts: str) -> str:
    return ":".join((conf.SSE_REDIS_PREFIX, "{presence}", *parts))


def _roll(text: str) -> Roll:
    readers, users = json.loads(text)
    return Roll(readers, tuple(users))
