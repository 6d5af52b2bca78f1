"""Measures, and prints tables for RESULTS.md: `python -m tests.benchmarks [name ...]`.

Run it on a quiet machine. Each figure is of several runs; what has a peer is a ratio within one run.
"""

import argparse
import platform
import sys
from collections.abc import Callable
from typing import Final

from tests.benchmarks import (
    aggregation,
    bytewax,
    capacity,
    coalescing,
    commits,
    fanout,
    foreign,
    freshness,
    growth,
    herd,
    idle,
    idle_clients,
    load,
    memory,
    page,
    slow,
    sources,
    workers,
)

_ALL: Final[dict[str, Callable[[], str]]] = {
    "freshness": freshness.measure,
    "load": load.measure,
    "memory": memory.measure,
    "sources": sources.measure,
    "aggregation": aggregation.measure,
    "foreign": foreign.measure,
    "workers": workers.measure,
    "bytewax": bytewax.measure,
    "growth": growth.measure,
    "capacity": capacity.measure,
    "idle": idle.measure,
    "commits": commits.measure,
    "fanout": fanout.measure,
    "coalescing": coalescing.measure,
    "slow": slow.measure,
    "herd": herd.measure,
    "idle_clients": idle_clients.measure,
    "page": page.measure,
}


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*_ALL, []], help="which to run; all if none is named")
    names = parser.parse_args().names or list(_ALL)
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}\n")
    for name in names:
        print(f"## {name}\n\n{_ALL[name]()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
