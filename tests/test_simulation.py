"""Ten thousand schedules of faults keep every promise; ``python -m tests.simulation`` runs more."""

import pytest

from tests.simulation.running import fresh_seed, start

FIXED = 8000
FRESH = 2000
# A machine of two cores is the smallest we have.
PROCESSES = 2


def run(first, count):
    """Run a row of seeds in all processes at once; give what the failing ones say."""
    size = count // PROCESSES
    running = [start(first + number * size, size) for number in range(PROCESSES)]
    said = [process.communicate()[0] for process in running]
    return "\n".join(text for text, process in zip(said, running, strict=True) if process.returncode)


@pytest.mark.timeout(600)
def test_fixed_schedules_keep_every_promise():
    assert run(0, FIXED) == ""


@pytest.mark.timeout(600)
def test_fresh_schedules_keep_every_promise():
    first = fresh_seed()
    failures = run(first, FRESH)
    assert failures == "", f"in this row of seeds: SIMULATION_SEED={first}"
