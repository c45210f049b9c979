"""Running schedules by their seeds: in this process, or in several at once."""

import gc
import logging
import os
import random
import secrets
import subprocess
import sys
import time
from pathlib import Path

import django
from django.conf import settings

from tests.clock import run
from tests.simulation.schedule import play
from tests.simulation.world import TOPICS

ROOT = Path(__file__).parents[2]
VIOLATED = 3  # the exit status of a process that has found a violation
# What a fresh process is given at once.
CHUNK = 500


def set_up():
    """Make this process one of simulation: Django's settings, no log lines, little garbage collection."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.setdefault("DJANGO_DEBUG", "1")
    django.setup()
    settings.SSE_TOPICS = TOPICS
    logging.disable(logging.CRITICAL)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def run_seed(seed, say=None):
    """Run one schedule; the same seed is always the same schedule. Raises Violation."""
    random.seed(seed)
    run(play(seed, say), most_turns=20_000)


def run_seeds(seeds):
    """Run schedules until one finds a violation; give its seed and the error."""
    for seed in seeds:
        try:
            run_seed(seed)
        except AssertionError as error:
            return seed, error
    return None


def fresh_seed():
    """Draw the first of a row of seeds, which ``SIMULATION_SEED`` can set."""
    return int(os.environ.get("SIMULATION_SEED") or secrets.randbelow(2**40))


def start(first, count, app=ROOT):
    """Start a process that runs a row of seeds and ends at the first violation; ``app`` holds sse_app."""
    paths = [str(app), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for name in ("PYTHONDEVMODE", "PYTHONASYNCIODEBUG"):  # both are slow
        environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.simulation", f"{first}-{first + count - 1}"],
        cwd=app,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_fresh(minutes, say=print):
    """Run fresh schedules on all cores for so long; count those processes that found a violation."""
    began, end = time.monotonic(), time.monotonic() + 60 * minutes
    next_seed, running, done, violated = fresh_seed(), [], 0, 0
    while running or time.monotonic() < end:
        while len(running) < (os.cpu_count() or 1) and time.monotonic() < end:
            running.append(start(next_seed, CHUNK))
            next_seed += CHUNK
        process = running.pop(0)
        output, _ = process.communicate()
        done += CHUNK
        if process.returncode:
            violated += 1
            say(output)
        say(f"{done} schedules, {done / (time.monotonic() - began):.0f} a second, {violated} violations")
    return violated
