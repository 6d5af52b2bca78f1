"""One aggregator against Bytewax's sliding window of 60 s, offset 1 s, for each peer, on the same events.

Bytewax has them in memory, decoded or as the JSON of full batches, and need not commit anything, to its favour; the
faster of the two is the peer. Its rate is taken over the first of the events, for it does not depend on how many there
are; ours over all of them, in the same turn.
"""

import statistics
import subprocess
from pathlib import Path
from typing import Final

from tests.benchmarks.aggregation import BATCHES, fold
from tests.benchmarks.environments import ROOT, python_of
from tests.benchmarks.tables import table

__all__ = ["measure"]

_REQUIREMENTS: Final = Path(__file__).with_name("bytewax-requirements.txt")
_PEERS: Final = 1_000
_FIRST: Final = 60_000
_RUNS: Final = 3


def _rate(python: Path, form: str) -> float:
    """Bytewax's events a second."""
    flow = [str(python), "-m", "tests.benchmarks.bytewax_flow", form, str(_PEERS), str(BATCHES.events), str(_FIRST)]
    done = subprocess.run(flow, check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return _FIRST / float(done.stdout)


def measure() -> str:
    """The table."""
    python = python_of("bytewax", _REQUIREMENTS)
    ours, decoded, text = zip(
        *(
            (BATCHES.events / fold(_PEERS, 1, BATCHES)[1].took_s, _rate(python, "decoded"), _rate(python, "json"))
            for _ in range(_RUNS)
        ),
        strict=True,
    )
    rows: list[list[object]] = [["one aggregator, read to committed", f"{statistics.median(ours):,.0f}", ""]]
    for name, rates in (("decoded events", decoded), ("JSON", text)):
        ratio = statistics.median(mine / rate for mine, rate in zip(ours, rates, strict=True))
        rows.append([f"Bytewax, {name} in memory", f"{statistics.median(rates):,.0f}", f"{ratio:.1f}"])
    return table([f"{_PEERS:,} peers", "events/s", "ours to it (asked of the faster: >= 10)"], rows)
