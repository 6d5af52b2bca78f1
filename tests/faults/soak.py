"""`make soak`: kills under load for as long as you like, and the page under load for ten minutes.

`python -m tests.faults.soak --kills 200 --seed 7`.
"""

import argparse
import statistics
import sys
from collections import Counter
from itertools import product
from typing import Any

from tests.faults.kills import FAULTS, JOURNALS, SERVERS, VICTIMS, Report, run_kills
from tests.faults.page import MOST_GROWTH, run_page
from tests.faults.victims import TOPOLOGIES

__all__ = ["main"]


def main() -> int:
    """Run on each kind of bus that was asked for, and report what held."""
    asked = _parser().parse_args()
    for server, topology in product(asked.server, asked.topology if asked.kills else ()):
        report = run_kills(asked.seed, asked.kills, asked.victims, server, topology, asked.journal)
        print(f"seed {report.seed}, {server} {topology}, journal {asked.journal}")
        _print(report)
    return _watch_page(60 * asked.page) if asked.page else 0


def _watch_page(seconds: float) -> int:
    report = run_page(seconds)
    holds = report.growth <= MOST_GROWTH
    print(f"the page, {seconds / 60:g} minutes: heap {report.heaps[0]:.1f} -> {report.heaps[-1]:.1f} MiB", end=", ")
    print(f"nodes {report.nodes[0]} -> {report.nodes[-1]}, last third to second third {report.growth:.3f}", flush=True)
    return 0 if holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--kills", type=int, default=50, help="how many processes to kill on each bus (50; 0: none)")
    minutes = "how many minutes to keep the page open (10; 0: not at all)"
    parser.add_argument("--page", type=float, default=10, metavar="MINUTES", help=minutes)
    parser.add_argument("--seed", type=int, default=1, help="repeats a run (1)")
    what = f"what to do: {', '.join(FAULTS)} (all kills)"
    parser.add_argument("--victims", choices=FAULTS, default=VICTIMS, help=what, **several)
    parser.add_argument(
        "--server", choices=SERVERS, default=SERVERS, help="what bus and source run on (both)", **several
    )
    parser.add_argument("--topology", choices=TOPOLOGIES, default=TOPOLOGIES, help="what the bus is (both)", **several)
    parser.add_argument("--journal", choices=JOURNALS, default="delete", help="of ARK's databases (delete)")
    return parser


def _print(report: Report) -> None:
    worst, median = max(report.recovered_s), statistics.median(report.recovered_s)
    print(f"{len(report.kills)} kills, {dict(Counter(report.kills))}")
    print(f"written: {', '.join(f'{count} {name}' for name, count in report.written.items())}")
    print("after each kill totals, values and peers are the oracle's; each sync, session and dead letter is told once")
    print(f"right again after {median:.1f} s (median), {worst:.1f} s (worst), load and the supervisor's delay included")
    print(f"commits of former owners that were refused: {report.fenced}")
    print(f"processes that ended by themselves: {report.ended}")
    print(f"resident memory {report.memory[0]:.0f} -> {report.memory[1]:.0f} MiB")
    print(f"descriptors {report.descriptors[0]} -> {report.descriptors[1]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
