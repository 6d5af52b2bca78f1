"""Statistics that can be added, taken back, and merged.

Everything is a sum of integers: a floating-point sum would depend on the order of its terms, and drift as values come
and go, so that two ways of splitting the same peers would not give the same mean.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["LatencySketch", "quantile"]

_ACCURACY: Final = 0.01
_LOG_GAMMA: Final = math.log((1 + _ACCURACY) / (1 - _ACCURACY))
_ZERO_BIN: Final = -1


class LatencySketch:
    """Counts of latencies in bins of one percent, whose quantiles are within one percent of the true value.

    The bins of DDSketch (Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
    relative-error guarantees", VLDB 2019). A peer's latency is a gauge: the old value leaves when the new one comes,
    which the libraries' sketches cannot do, but counts can. At most 1,160 bins between 1 us and 10^4 s.
    """

    def __init__(self) -> None:
        # Values in each bin; a bin without any is not kept.
        self.bins: dict[int, int] = {}
        # Sum of the values, us, and how many they are.
        self.sum_us = 0
        self.count = 0

    def replace(self, before_us: int | None, after_us: int | None) -> None:
        """Take back a value that was added before, and add another, microseconds, not negative; None is no value."""
        before = None if before_us is None else _bin_of(before_us)
        after = None if after_us is None else _bin_of(after_us)
        self.sum_us += (after_us or 0) - (before_us or 0)
        if before == after:
            return
        if before is not None:
            self._change(before, -1)
        if after is not None:
            self._change(after, 1)

    def _change(self, index: int, by: int) -> None:
        count = self.bins.get(index, 0) + by
        assert count >= 0, "only what was added is taken back"
        if count:
            self.bins[index] = count
        else:
            del self.bins[index]
        self.count += by

    def snapshot(self) -> tuple[tuple[int, int], ...]:
        """The bins in order, as pairs (bin, count)."""
        return tuple(sorted(self.bins.items()))


def _bin_of(latency_us: int) -> int:
    return math.ceil(math.log(latency_us) / _LOG_GAMMA) if latency_us > 0 else _ZERO_BIN


def quantile(sketches: Iterable[Iterable[tuple[int, int]]], share: float) -> float | None:
    """The least value, ms, that `share` (0 to 1) of all values of the sketches do not exceed; None if there are none.

    The nearest rank: of 20 values, p99 is the largest.
    """
    bins: dict[int, int] = {}
    for sketch in sketches:
        for index, count in sketch:
            bins[index] = bins.get(index, 0) + count
    return _quantile(bins, share)


def _quantile(bins: Mapping[int, int], share: float) -> float | None:
    rank = max(1, math.ceil(share * sum(bins.values())))
    seen = 0
    for index in sorted(bins):
        seen += bins[index]
        if seen >= rank:
            if index == _ZERO_BIN:
                return 0.0
            # The middle of the bin in relative terms.
            return 2 * math.exp(index * _LOG_GAMMA) / (math.exp(_LOG_GAMMA) + 1) / 1000
    return None
