"""The soak: random faults for as long as one likes, on both logs; prints the report as Markdown.

``python -m tests.faults.soak --minutes 30 [--seed N]``. It ends with 1 if anything that must always
hold was broken, or took longer than is promised.
"""

import argparse
import contextlib
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import faults
from tests.faults.report import merged, percentile, table
from tests.faults.stage import Stage
from tests.services import RedisServer, running_postgres

# What goes with each log, so that both layers and both servers have their turn.
SEAMS = {
    "orm": {"layer": "pubsub", "servers": ("uvicorn", "daphne")},
    "redis": {"layer": "core", "servers": ("uvicorn", "uvicorn")},
}
SECONDS = (3.0, 15.0)
# Seconds until an event is there: the last bell lost at most, and of 100 in the other cases 99.
LAST_BELL, GAP, AWAY = 3.0, 0.3, 1.5
# From the last publish on, once the fault is over.
SETTLED = 3.0
LONG = {faults.redis_stopped: 30.0, faults.redis_away: 60.0, faults.bells_lost: 60.0}


class Soak:
    """Rounds on one stage, for some time."""

    def __init__(self, log, minutes, seed):
        self.log = log
        self.minutes = minutes
        self.random = random.Random(f"{seed} {log}")
        self.broken = []
        faulty = [*faults.EVERYWHERE, *faults.ON_POSTGRESQL]
        self.faults = [faults.none, *faulty, *([faults.redis_away] if log == "orm" else [])]

    def run(self, stage):
        """Begin with each fault once at its full length, then go on at random."""
        ends = time.monotonic() + 60 * self.minutes
        todo = self.random.sample(self.faults, len(self.faults))
        while time.monotonic() < ends:
            fault = todo.pop() if todo else self.random.choice(self.faults)
            left = max(SECONDS[0], ends - time.monotonic())
            seconds = LONG.get(fault) if len(stage.rounds) < len(self.faults) else None
            seconds = min(seconds or self.random.uniform(*SECONDS), left)
            say(f"{self.log}: {fault.title}, {seconds:.0f} s")
            done = stage.round(fault, seconds)
            for violation in done.violations[:20]:
                say(f"  broken: {violation}")
        self.judge(stage)

    def judge(self, stage):
        """Say what does not hold."""
        self.broken += [
            f"{each.fault}: {len(each.violations)} violations" for each in stage.rounds if each.violations
        ]
        for each in stage.rounds:
            self.limit(f"{each.fault}: until everyone had everything", SETTLED, [each.settled])
        if self.log == "orm":
            self.broken += [
                f"{reason} resets in: {each.fault}"
                for each in stage.rounds
                for reason in each.resets
                if each.fault != faults.log_trimmed.title
            ]
            away = [each for each in merged(stage.rounds) if each.fault == faults.redis_away.title]
            self.limit("p99 with Redis away", AWAY, [percentile(each.waits, 0.99) for each in away])
        self.limit("a lost last bell", LAST_BELL, stage.healing.lasts())
        gaps = stage.healing.gaps()
        self.limit("p99 of a gap", GAP, [percentile(gaps, 0.99)] if gaps else [])

    def limit(self, what, most, seconds):
        longest = max(seconds, default=0.0)
        if longest > most:
            self.broken.append(f"{what}: {longest:.2f} s, and {most} s are promised")


@contextlib.contextmanager
def stage_for(log, folder):
    """Start what a soak needs, with nothing in it."""
    for name in ("postgres", "redis", "stage"):
        (folder / name).mkdir(parents=True)
    seams = {"log": log, **SEAMS[log]}
    with (
        running_postgres(folder / "postgres") as address,
        RedisServer(folder / "redis", append_only=log == "redis") as redis,
        Stage(folder / "stage", database=f"{address}/postgres", redis=redis, **seams) as stage,
    ):
        yield stage


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--logs", nargs="+", choices=["orm", "redis"], default=["orm", "redis"])
    options = parser.parse_args()
    say(f"seed {options.seed}")
    broken = []
    machine = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    print(f"{options.minutes:g} minutes, seed {options.seed}, {machine}")
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    for log in options.logs:
        soak = Soak(log, options.minutes / len(options.logs), options.seed)
        with stage_for(log, folder / log) as stage:
            soak.run(stage)
            print(f"\n### Log: {log}\n\n{table(merged(stage.rounds))}\n\n{stage.healing}", flush=True)
        broken += [f"{log}: {each}" for each in soak.broken]
    print("\n" + ("\n".join(f"- BROKEN: {each}" for each in broken) or "Nothing was broken."))
    if broken:
        say(f"the records are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
