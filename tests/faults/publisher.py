"""A publisher: it publishes in every way there is, and records what it intended and what was acknowledged.

``python -m tests.faults.publisher --folder DIR --name P1 --rate 10 --seed 7``. It rests while the flag
``pause`` is up. An id that was neither acknowledged nor rolled back may or may not have been published.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path
from unittest import mock

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from django.db import close_old_connections, transaction  # noqa: E402
from django.test.utils import override_settings  # noqa: E402

from sse_app import publish, publish_many  # noqa: E402
from tests.faults.records import Flag, Recorder  # noqa: E402
from tests.faults.topics import GAP, ORDINARY, QUIET, TRIMMED, WEIGHTS  # noqa: E402

# More than a doorbell carries: the readers' processes have to fetch it.
LARGE = 20_000
HUGE = 60_000
# How often a publisher insists.
TRIES = 10
# After these a lost bell must have been made good.
TICKS_SECONDS = 3.0


class RolledBack(Exception):
    """Ends a transaction on purpose."""


class Publisher:
    """Publishes under ids of its own, each of them once."""

    def __init__(self, name, folder, seed):
        self.name = f"{name}.{os.getpid()}"
        self.out = Recorder(folder / f"publisher-{self.name}.jsonl")
        self.random = random.Random(seed)
        self.count = 0

    def draft(self, topic, *, size=0):
        """Give an event that is like no other, and record that it is meant to be published."""
        self.count += 1
        id = f"{self.name}-{self.count}"
        self.out.write("intent", id=id, topic=topic)
        return topic, {"id": id, "at": time.time(), **({"pad": "x" * size} if size else {})}

    def topic(self):
        return self.random.choices(list(WEIGHTS), WEIGHTS.values())[0]

    def durable_topic(self):
        return self.random.choice(ORDINARY)

    def topics(self, count):
        """Give some topics in the order in which they may be locked."""
        return sorted(self.topic() for _ in range(count))

    def acknowledge(self, drafts, published):
        positions = [one.position and [*one.position] for one in published]
        self.out.write("ack", ids=ids(drafts), topics=[topic for topic, _ in drafts], positions=positions)

    def plain(self, topic=None, *, size=0):
        """Publish one event; give its payload."""
        draft = self.draft(topic or self.topic(), size=size)
        self.attempt([draft], lambda: [publish(*draft, event="plain")])
        return draft[1]

    def insisting(self):
        """Publish one event, again and again if that fails; its key must keep it from being there twice."""
        draft = self.draft(self.durable_topic())
        key = draft[1]["id"]

        def work():
            for _ in range(TRIES):
                draft[1]["at"] = time.time()  # what it waited for the log is not the readers' affair
                try:
                    return [publish(*draft, idempotency_key=key)]
                except Exception:
                    close_old_connections()
                    time.sleep(0.2)
            return [publish(*draft, idempotency_key=key)]

        self.attempt([draft], work)

    def large(self):
        self.plain(size=LARGE)

    def batch(self):
        drafts = [self.draft(topic) for topic in self.topics(self.random.randint(2, 6))]
        self.attempt(drafts, lambda: publish_many(drafts))

    def in_transaction(self):
        """Publish some in one transaction, which is held open for a moment."""
        drafts = [self.draft(topic) for topic in self.topics(self.random.randint(1, 3))]

        def work():
            with transaction.atomic():
                published = [publish(*draft) for draft in drafts]
                time.sleep(self.random.uniform(0, 0.01))
            return published

        self.attempt(drafts, work)

    def rolled_back(self):
        drafts = [self.draft(topic) for topic in self.topics(2)]
        self.out.write("undone", ids=ids(drafts))  # whatever becomes of it: it never commits
        try:
            with transaction.atomic():
                for draft in drafts:
                    publish(*draft)
                raise RolledBack
        except RolledBack:
            return
        except Exception as error:
            self.fail(drafts, error)

    def with_savepoint(self):
        """Publish one that is rolled back to a savepoint, in a transaction that commits another."""
        (first, second) = (self.draft(topic) for topic in self.topics(2))
        self.out.write("undone", ids=ids([first]))

        def work():
            with transaction.atomic():
                try:
                    with transaction.atomic():
                        publish(*first)
                        raise RolledBack
                except RolledBack:
                    return [publish(*second)]

        self.attempt([second], work)

    def attempt(self, drafts, work):
        try:
            published = work()
        except Exception as error:
            self.fail(drafts, error)
        else:
            self.acknowledge(drafts, published)

    def fail(self, drafts, error):
        self.out.write("failed", ids=ids(drafts), error=f"{type(error).__name__}: {error}"[:200])
        close_old_connections()  # as the end of a request does

    def run(self, rate, pause):
        ways = {
            self.plain: 10,
            self.insisting: 2,
            self.large: 1,
            self.batch: 2,
            self.in_transaction: 3,
            self.rolled_back: 1,
            self.with_savepoint: 1,
        }
        while True:
            if pause:
                self.rest(pause)
            self.random.choices(list(ways), ways.values())[0]()
            time.sleep(self.random.expovariate(rate))

    def rest(self, pause):
        self.out.write("paused", name=self.name)
        while pause:
            time.sleep(0.02)
        self.out.write("resumed", name=self.name)

    def burst(self):
        """Publish more to the topics that are trimmed than any buffer on the way to a reader holds."""
        for topic in TRIMMED:
            for _ in range(150):
                self.plain(topic, size=HUGE)

    def last_words(self):
        """Publish, and die between the commit and the doorbell."""
        draft = self.draft("notifications")

        def die(*bell):
            self.out.write("ack", ids=ids([draft]), topics=[draft[0]], positions=[None])
            os._exit(9)

        with mock.patch("sse_app.outbox.send", die), transaction.atomic():
            publish(*draft)

    def lose_bells(self, seconds):
        """Lose the last doorbell of one topic, and meanwhile, on another, many that another one follows."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with override_settings(SSE_CHANNEL_LAYER=None):
                last = self.plain(QUIET)
            self.out.write("last bell lost", id=last["id"], at=last["at"])
            healed = time.monotonic() + TICKS_SECONDS
            while time.monotonic() < healed:
                with override_settings(SSE_CHANNEL_LAYER=None):
                    first = self.plain(GAP)
                time.sleep(0.03)
                second = self.plain(GAP)
                self.out.write("bell lost", ids=[first["id"], second["id"]], at=second["at"])
                time.sleep(0.3)


def ids(drafts):
    return [data["id"] for _, data in drafts]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--once", choices=["burst", "last_words", "lose_bells"])
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    publisher = Publisher(options.name, options.folder, options.seed)
    if options.once:
        getattr(publisher, options.once)(*([options.seconds] if options.seconds else []))
    else:
        publisher.run(options.rate, Flag(options.folder, "pause"))


if __name__ == "__main__":
    sys.exit(main())
