"""`make soak`: kills under load for as long as you like. `python -m tests.faults.soak --kills 200 --seed 7`."""

import argparse
import statistics
import sys
from collections import Counter

from tests.faults.kills import JOURNALS, SERVERS, VICTIMS, run_kills

__all__ = ["main"]


def main() -> int:
    """Run, and report what held."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many processes to kill (50)")
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (1)")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS, help="what to kill (all)")
    parser.add_argument("--server", choices=SERVERS, default="valkey", help="what bus and source run on (valkey)")
    parser.add_argument("--journal", choices=JOURNALS, default="delete", help="of ARK's databases (delete)")
    asked = parser.parse_args()
    report = run_kills(asked.seed, asked.kills, asked.victims, asked.server, asked.journal)
    kinds = dict(Counter(report.kills))
    print(f"seed {report.seed}, {asked.server}, journal {asked.journal}: {len(report.kills)} kills, {kinds}")
    print(f"written: {', '.join(f'{count} {name}' for name, count in report.written.items())}")
    print("after each kill totals, values and peers are the oracle's; each sync, session and dead letter is told once")
    worst, median = max(report.recovered_s), statistics.median(report.recovered_s)
    print(f"right again after {median:.1f} s (median), {worst:.1f} s (worst), load and the supervisor's delay included")
    print(f"resident memory {report.memory[0]:.0f} -> {report.memory[1]:.0f} MiB")
    print(f"descriptors {report.descriptors[0]} -> {report.descriptors[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
