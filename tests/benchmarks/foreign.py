"""Events a second of foreign producers, which put one event into an entry, beside a bare read-and-decode loop."""

from typing import Final

from tests.benchmarks.aggregation import HEADER, Form, compare
from tests.benchmarks.tables import table

__all__ = ["measure"]

_SINGLE: Final = Form(200_000, 1, 1_000)


def measure() -> str:
    """The table."""
    return table(HEADER, [compare(1_000, _SINGLE, ">= 0.40")])
