"""The Redis log: each topic is a stream, and what must be one step is one script.

Appends on commit. A topic has the keys ``sse:{topic}:head`` (a hash: the head, which outlives the
entries) and ``sse:{topic}:entries`` (a stream with the ids ``seq-0``), and one that expires for each
attempt to append and each idempotency key. The braces put all of them into one slot of a Redis
Cluster. No script draws random numbers or asks for the time: tags and times are the caller's, so
that a client that repeats a script because its answer was lost gets the first answer again.
"""

import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from sse_app import database
from sse_app.conf import conf, topic_rules
from sse_app.entries import Entry, Page
from sse_app.eventlog.base import Draft, EventLog, Receipt, new_tag
from sse_app.eventlog.lua import APPEND, FIRST_SINCE, HEAD, READ
from sse_app.positions import GENESIS, Position
from sse_app.topics import TopicRule, UnknownTopic

# How long an attempt is remembered whose answer may have been lost; a client repeats it within seconds.
ATTEMPT_SECONDS = 60.0
# A Redis that hangs fails an append or a read after these, in seconds, and once more for the retry.
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
# What one command may carry.
MAX_BATCH = 50_000


class RedisEventLog(EventLog):
    """Heads and entries in a Redis from 6.2 on; reads in the few threads of ``database``."""

    roster = "sse_app.roster.redis.RedisRoster"

    @cached_property
    def client(self) -> Any:
        """The client; it connects on first use, and threads may share it."""
        return connect(conf.SSE_REDIS)

    def append_many(self, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> list[Receipt]:
        """Append events in one script."""
        return self.append_batches({topic: drafts}, {topic} if keep_one else ())[topic]

    def append_batches(
        self, batches: Mapping[str, Sequence[Draft]], keep_one: Collection[str]
    ) -> dict[str, list[Receipt]]:
        """Append events: one script for each topic, all of them sent at once."""
        pipeline = self.client.pipeline(transaction=False)
        for topic, drafts in batches.items():
            self._append(pipeline, topic, drafts, keep_one=topic in keep_one)
        answers = pipeline.execute()
        return {
            topic: [_receipt(topic, *pair) for pair in zip(drafts, answer, strict=True)]
            for (topic, drafts), answer in zip(batches.items(), answers, strict=True)
        }

    def _append(self, pipeline: Any, topic: str, drafts: Sequence[Draft], *, keep_one: bool) -> None:
        if len(drafts) > MAX_BATCH:
            raise ValueError(
                f"{len(drafts)} events to {topic!r} at once are more than the {MAX_BATCH} of a batch"
            )
        now = time.time()
        rule = _rule(topic)
        keep = rule.keep if rule and rule.keep is not None else conf.SSE_REDIS_LOG_ENTRIES
        oldest = now - rule.max_age if rule and rule.max_age is not None else 0.0
        keys = {key: number for number, key in enumerate(_keys(drafts), start=1)}
        arguments: list[Any] = [_ms(now), 1 if keep_one else keep, _ms(oldest)]
        arguments += [_ms(ATTEMPT_SECONDS), max(1, _ms(conf.SSE_IDEMPOTENCY_WINDOW))]
        for draft in drafts:
            number = 0 if draft.key is None else keys[draft.key]
            arguments += [new_tag(), draft.event or "", draft.data, number]
        attempt = secrets.token_hex(16)  # a tag is too short: among many publishes two are the same
        names = [self._key(topic, "attempt", attempt), *(self._key(topic, "key", key) for key in keys)]
        self._eval(pipeline, APPEND, topic, names, arguments)

    async def read(self, topic: str, from_seq: int, limit: int, *, urgent: bool = False) -> Page:
        """Read head and entries in one script."""
        return await database.read(lambda: self._read(topic, from_seq, limit), urgent=urgent)

    def _read(self, topic: str, from_seq: int, limit: int) -> Page:
        seq, tag, rows = self._eval(self.client, READ, topic, (), [max(0, from_seq), limit + 1])
        return Page(Position(int(seq), tag), [_entry(topic, *row) for row in rows])

    async def heads(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads in one round trip."""
        return await database.read(lambda: self.heads_now(topics), urgent=True)

    def heads_now(self, topics: Sequence[str]) -> Mapping[str, Position]:
        """Read the heads."""
        if not topics:
            return {}
        pipeline = self.client.pipeline(transaction=False)
        for topic in topics:
            self._eval(pipeline, HEAD, topic, (), ())
        found = {
            topic: Position(int(seq), tag)
            for topic, (seq, tag) in zip(topics, pipeline.execute(), strict=True)
        }
        return {topic: head for topic, head in found.items() if head != GENESIS}

    async def first_since(self, topic: str, moment: datetime) -> int:
        """Look for the entry in one script."""
        return await database.read(lambda: self._first_since(topic, moment))

    def _first_since(self, topic: str, moment: datetime) -> int:
        return int(self._eval(self.client, FIRST_SINCE, topic, (), [_ms(moment.timestamp())]))

    async def check(self) -> None:
        """Ask whether Redis answers."""
        await database.read(lambda: self._read("check", 0, 0))

    def topics(self) -> list[str]:
        """Look through the keys."""
        found = re.compile(re.escape(conf.SSE_REDIS_PREFIX) + r":\{([^}]*)\}:(?:head|entries)")
        keys = self.client.scan_iter(match=f"{_glob(conf.SSE_REDIS_PREFIX)}:{{*}}:*", count=1000)
        return sorted({match[1] for key in keys if (match := found.fullmatch(key))})

    def trim(self, topic: str, *, keep: int | None, before: datetime | None) -> int:
        """Remove the oldest entries."""
        entries = self._key(topic, "entries")
        removed = 0
        if keep is not None:
            removed += self.client.xtrim(entries, maxlen=keep, approximate=False)
        if before is not None:
            first = self._first_since(topic, before)
            removed += self.client.xtrim(entries, minid=f"{first}-0", approximate=False)
        return removed

    def _eval(
        self, client: Any, script: str, topic: str, names: Sequence[str], arguments: Sequence[Any]
    ) -> Any:
        # Whole each time: a Redis that was restarted, or took over, does not know a script by its hash.
        keys = [self._key(topic, "head"), self._key(topic, "entries"), *names]
        # Not ``eval``: a cluster's pipeline has it blocked, though it carries it well.
        return client.execute_command("EVAL", script, len(keys), *keys, *arguments)

    def _key(self, topic: str, *parts: str) -> str:
        return ":".join((conf.SSE_REDIS_PREFIX, f"{{{topic}}}", *parts))


def connect(host: Any) -> Any:
    """Give a client for a host in any form that channels-redis takes, or ``{"cluster": url}``.

    A URL (``redis://``, ``rediss://`` for TLS, ``unix://``), a pair of host and port, or a dict of
    redis-py's options with ``address``, with ``host`` and ``port``, or with ``sentinels`` and
    ``master_name``.
    """
    options = dict(host) if isinstance(host, Mapping) else {}
    if isinstance(host, str):
        options = {"address": host}
    elif isinstance(host, tuple | list):
        options = {"host": host[0], "port": host[1]}
    wanted = {
        "decode_responses": True,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": ANSWER_SECONDS,
        # Its own would take a minute and more, and differ between a URL and a pair of host and port.
        "retry": Retry(NoBackoff(), 1),
        **options,
    }
    if url := wanted.pop("cluster", None):
        return RedisCluster.from_url(url, **wanted)
    if url := wanted.pop("address", None):
        return Redis.from_url(url, **wanted)
    if master := wanted.pop("master_name", None):
        kwargs = wanted.pop("sentinel_kwargs", {"socket_timeout": CONNECT_SECONDS})
        sentinels: Any = Sentinel(wanted.pop("sentinels"), sentinel_kwargs=kwargs)  # type: ignore[no-untyped-call]
        return sentinels.master_for(master, **wanted)
    return Redis(**wanted)


def _rule(topic: str) -> TopicRule | None:
    try:
        return topic_rules().rule(topic)
    except (ValueError, UnknownTopic):
        return None


def _keys(drafts: Sequence[Draft]) -> list[str]:
    return list(dict.fromkeys(draft.key for draft in drafts if draft.key is not None))


def _receipt(topic: str, draft: Draft, answer: Sequence[str]) -> Receipt:
    seq, tag, prev, appended = answer
    position = Position(int(seq), tag)
    entry = Entry(topic, position, prev, draft.event, draft.data) if appended == "1" else None
    return Receipt(position, prev, entry)


def _entry(topic: str, id: str, row: Sequence[str]) -> Entry:
    fields = dict(zip(row[::2], row[1::2], strict=True))
    position = Position(int(id.partition("-")[0]), fields["tag"])
    created_at = datetime.fromtimestamp(int(fields["at"]) / 1000, UTC)
    return Entry(topic, position, fields["prev"], fields["event"] or None, fields["data"], created_at)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _glob(text: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
