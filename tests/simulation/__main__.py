"""Run the simulation: ``python -m tests.simulation 4711``, ``0-7999``, or ``--minutes 60``.

One seed is played with all that happens told; a row of seeds ends at the first violation; minutes
are filled with fresh seeds, on all cores.
"""

import argparse
import sys

from tests.simulation.running import VIOLATED, run_fresh, run_seed, run_seeds, set_up


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seeds", nargs="?", help="a seed, or the first and the last one: 0-7999")
    parser.add_argument("--minutes", type=float, help="run fresh seeds for so long")
    options = parser.parse_args()
    if options.minutes is not None:
        return VIOLATED if run_fresh(options.minutes, say=lambda line: print(line, flush=True)) else 0
    if options.seeds is None:
        parser.error("which seeds?")
    set_up()
    first, _, last = options.seeds.partition("-")
    if not last:
        run_seed(int(first), say=print)
        return 0
    violation = run_seeds(range(int(first), int(last) + 1))
    if violation is None:
        return 0
    seed, error = violation
    print(f"{type(error).__name__}: {error}\nIt happens again with: python -m tests.simulation {seed}")
    return VIOLATED


if __name__ == "__main__":
    sys.exit(main())
