"""The simulation finds each of the mistakes in ``mutants``, and nothing in the app as it is."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mutants import MUTANTS
from tests.simulation.running import ROOT, VIOLATED, start

# Enough schedules to find every mutant; a few dozen suffice for most.
SEEDS = 600
# Two at once, as there are two cores at least.
PROCESSES = 2

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Exit status and output of the simulation, by mutant; each runs in a copy of the app."""

    def simulate(mutant):
        root = tmp_path_factory.mktemp("mutant")
        shutil.copytree(ROOT / "sse_app", root / "sse_app", ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            mutant.apply(root)
        process = start(0, SEEDS, app=root)
        output, _ = process.communicate()
        return process.returncode, output

    with ThreadPoolExecutor(PROCESSES) as pool:
        yield {mutant: pool.submit(simulate, mutant) for mutant in [None, *MUTANTS]}


def test_the_app_as_it_is_passes(outcomes):
    assert outcomes[None].result() == (0, "")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(outcomes, mutant):
    status, output = outcomes[mutant].result()
    assert status == VIOLATED, output or f"nobody noticed: {mutant.why}"
    assert output.startswith(("Violation: ", "AssertionError: "))
