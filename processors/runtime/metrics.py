"""Metrics: what a process tells of itself and of what it sees, in the terms of Prometheus.

Things are counted where they happen, in plain numbers; only who asks pays for putting them together. docs/monitoring.md
is held against the families by a test.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["BOUNDS_S", "Family", "Histogram", "Reader", "Sample", "counter", "gauge", "histogram"]

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends (inclusive) of the buckets of every histogram, seconds; one more has the rest."""


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        # Of each bucket, those below it not included.
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class Sample(NamedTuple):
    """One value of a family."""

    family: "Family"
    # Of the labels, in their order.
    labels: tuple[str, ...]
    value: float | Histogram


class Family(NamedTuple):
    """Values of one name that differ by their labels."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    about: str
    labels: tuple[str, ...]

    def of(self, value: float | Histogram, *labels: str) -> Sample:
        """One of its values."""
        assert len(labels) == len(self.labels), self.name
        return Sample(self, labels, value)


Reader: TypeAlias = Callable[[], Iterator[Sample]]
"""Gives what some part of the process has to tell, whenever it is asked."""


def gauge(name: str, about: str, *labels: str) -> Family:
    """A family of values that go up and down; `name` is without the project's prefix."""
    return Family(f"ark_pulse_{name}", "gauge", about, labels)


def counter(name: str, about: str, *labels: str) -> Family:
    """A family of values that only grow while the process, or what they are a total of, lives."""
    assert name.endswith("_total"), name
    return Family(f"ark_pulse_{name}", "counter", about, labels)


def histogram(name: str, about: str, *labels: str) -> Family:
    """A family of durations."""
    assert name.endswith("_seconds"), name
    return Family(f"ark_pulse_{name}", "histogram", about, labels)
