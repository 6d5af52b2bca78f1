"""`make soak`: kills under load for as long as you like. `python -m tests.faults.soak --kills 200 --seed 7`."""

import argparse
import statistics
import sys
from collections import Counter

from tests.faults.kills import VICTIMS, run_kills

__all__ = ["main"]


def main() -> int:
    """Run, and report what held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many processes to kill (50)")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (1)")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS, help="what to kill (all)")
    asked = parser.parse_args()
    report = run_kills(asked.seed, asked.kills, tuple(asked.victims))
    print(f"seed {report.seed}: {len(report.kills)} kills, {dict(Counter(report.kills))}")
    print(f"{report.syncs} syncs written, every total and the feed equal to the oracle after each kill")
    worst, median = max(report.recovered_s), statistics.median(report.recovered_s)
    print(f"right again after {median:.1f} s (median), {worst:.1f} s (worst), the load included")
    print(f"resident memory {report.memory[0]:.0f} -> {report.memory[1]:.0f} MiB")
    print(f"descriptors {report.descriptors[0]} -> {report.descriptors[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
