"""The witness: it copies the log as it grows, so that the truth is known after a log was cut or undone.

``python -m tests.faults.witness --folder DIR``. It reads as a tail does, but of itself knows no bells.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path

import django
import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from sse_app.eventlog import get_event_log  # noqa: E402
from sse_app.positions import GENESIS  # noqa: E402
from tests.faults.records import Recorder  # noqa: E402
from tests.faults.topics import LOGGED  # noqa: E402

PAGE = 200
PAUSE_SECONDS = 0.1
# While nothing changes, the heads are recorded this often, so that one can wait for what they were.
HEADS_SECONDS = 0.2


class Witness:
    """Follows all logged topics."""

    def __init__(self, out):
        self.log = get_event_log()
        self.out = out
        self.heads = dict.fromkeys(LOGGED, GENESIS)
        self.recorded_at = 0.0

    async def run(self):
        while True:
            began = time.time()
            try:
                heads = await self.log.heads(LOGGED)
                for topic in LOGGED:
                    if heads.get(topic, GENESIS) != self.heads[topic]:
                        await self.follow(topic)
            except Exception as error:
                self.out.write("blind", error=f"{type(error).__name__}: {error}"[:200])
            else:
                self.record_heads(began)
            await asyncio.sleep(PAUSE_SECONDS)

    def record_heads(self, began):
        if began - self.recorded_at >= HEADS_SECONDS:
            self.recorded_at = began
            self.out.write("heads", since=began, heads={topic: [*at] for topic, at in self.heads.items()})

    async def follow(self, topic):
        """Copy what is new; all of it again where what was copied is no longer there."""
        page = await self.log.read(topic, self.heads[topic].seq, PAGE)
        answer = page.after(self.heads[topic])
        if answer.reason is None:
            entries = answer.entries
        else:
            page = await self.log.read(topic, 0, PAGE)
            entries = page.entries
        while entries:
            self.copy(topic, entries)
            page = await self.log.read(topic, entries[-1].position.seq, PAGE)
            entries = page.after(entries[-1].position).entries
        self.heads[topic] = page.head

    def copy(self, topic, entries):
        for entry in entries:
            seq, tag = entry.position
            id = orjson.loads(entry.data).get("id")
            self.out.write("entry", topic=topic, seq=seq, tag=tag, prev=entry.prev, id=id)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(Witness(Recorder(options.folder / "witness.jsonl")).run())


if __name__ == "__main__":
    main()
