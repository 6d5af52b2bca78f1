"""One aggregators process against two on the same events.

Two cores are all there is, and the server needs a part of one: two workers cannot be twice as fast here.
"""

import os
import statistics
from typing import Final

from tests.benchmarks.aggregation import BATCHES, fold
from tests.benchmarks.rig import Stretch
from tests.benchmarks.tables import table

__all__ = ["measure"]

_RUNS: Final = 3


def _row(peers: int, stretches: list[Stretch], ratio: float) -> list[object]:
    took_s = statistics.median(stretch.took_s for stretch in stretches)
    workers = (statistics.median(column) for column in zip(*(s.workers_s for s in stretches), strict=True))
    server = statistics.median(stretch.server_s for stretch in stretches)
    cores = os.cpu_count() or 1
    share = statistics.median(100 * stretch.server_s / (cores * stretch.took_s) for stretch in stretches)
    return [
        f"{peers:,}", len(stretches[0].workers_s), f"{BATCHES.events / took_s / 1_000:.0f} k", f"{ratio:.2f}",
        " + ".join(f"{seconds:.1f}" for seconds in workers), f"{server:.1f}", f"{share:.0f} % of {cores}",
    ]  # fmt: skip


def measure() -> str:
    """The table."""
    rows = []
    for peers in (1_000, 100_000):
        runs = [(fold(peers, 1, BATCHES)[1], fold(peers, 2, BATCHES)[1]) for _ in range(_RUNS)]
        alone, both = ([run[side] for run in runs] for side in (0, 1))
        ratio = statistics.median(one.took_s / two.took_s for one, two in runs)
        rows += [_row(peers, alone, 1.0), _row(peers, both, ratio)]
    header = [
        "peers",
        "aggregators",
        "events/s",
        "to one",
        "CPU s of each",
        "server CPU s",
        "its share of the cores",
    ]
    return table(header, rows)
