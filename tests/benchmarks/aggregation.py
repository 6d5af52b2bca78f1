"""Events a second from the streams to committed state and partials, beside a bare read-and-decode loop.

The loop reads and decodes the same entries just before, with a blocking client, and does nothing with them. What is
measured of the aggregator begins when all partitions are held: see `rig`.
"""

import statistics
import time
from typing import Final, NamedTuple

from schemas.events import MAX_BATCH_EVENTS
from tests.benchmarks.events import make_events, shares, totals_of
from tests.benchmarks.rig import Stretch, running_rig
from tests.benchmarks.tables import quantile, table

__all__ = ["BATCHES", "HEADER", "Form", "compare", "fold", "measure"]

_RUNS: Final = 3


class Form(NamedTuple):
    """How events are put onto the streams."""

    # How many there are, and how many an entry holds.
    events: int
    an_entry: int
    # How many entries the bare loop reads at once: what serves it best.
    at_once: int


BATCHES: Final = Form(400_000, MAX_BATCH_EVENTS, 200)
"""Full batches, as collectors under load write them."""


def fold(peers: int, workers: int, form: Form) -> tuple[float, Stretch]:
    """One run of so many aggregators on a server of its own: seconds of the bare loop, and what the aggregators took.

    Raises AssertionError: if not every event was counted once.
    """
    events = make_events(peers, form.events, int(time.time() * 1_000))
    with running_rig(workers) as rig:
        rig.stage(shares(events), form.an_entry)
        bare_s = rig.read_bare(form.at_once)
        stretch = rig.fold_staged()
        assert rig.totals() == totals_of(events), f"{rig.totals()} is not {totals_of(events)}"
    return bare_s, stretch


def _median(stretches: list[Stretch], form: Form) -> list[object]:
    """Cells of a table: events/s, commits/s, milliseconds between the commits of a partition."""
    took_s = statistics.median(stretch.took_s for stretch in stretches)
    commits = statistics.median(stretch.commits / stretch.took_s for stretch in stretches)
    spacings = [spacing for stretch in stretches for spacing in stretch.spacings_ms] or [0]
    p50, p99 = (quantile(spacings, share) for share in (0.5, 0.99))
    return [f"{form.events / took_s / 1_000:.0f} k", f"{commits:.0f}", f"{p50:.0f} / {p99:.0f}"]


def compare(peers: int, form: Form, asked: str) -> list[object]:
    """A row: the bare loop and one aggregator, medians of the runs."""
    runs = [fold(peers, 1, form) for _ in range(_RUNS)]
    stretches = [stretch for _, stretch in runs]
    bare = form.events / statistics.median(bare_s for bare_s, _ in runs)
    ratio = statistics.median(bare_s / stretch.took_s for bare_s, stretch in runs)
    cpu = (statistics.median(column) for column in zip(*((s.workers_s[0], s.server_s) for s in stretches), strict=True))
    return [
        f"{peers:,}", f"{bare / 1_000:.0f} k", *_median(stretches, form), f"{ratio:.2f}", asked,
        *(f"{seconds:.1f}" for seconds in cpu),
    ]  # fmt: skip


HEADER: Final = (
    "peers", "bare loop, events/s", "one aggregator, events/s", "commits/s", "of a partition every, ms p50 / p99",
    "ratio", "asked", "its CPU s", "server CPU s",
)  # fmt: skip
"""What the cells of `compare` are."""


def measure() -> str:
    """The table."""
    rows = [compare(1_000, BATCHES, ">= 0.15"), compare(100_000, BATCHES, ">= 50 k/s")]
    return table(HEADER, rows)
