"""Failure detector: how surprising a peer's silence is.

The phi-accrual detector of Hayashibara, Défago, Yared and Katayama, "The phi Accrual Failure Detector" (SRDS 2004):
phi = -log10 P(a heartbeat is still to come after so long a silence), with the intervals taken as normally distributed.
Only their mean and variance are kept, exponentially weighted (Finch, "Incremental calculation of weighted mean and
variance", 2009), so that a peer costs three numbers. Silences are in milliseconds.
"""

import math
from typing import Final

from msgspec import Struct

__all__ = ["LEVELS", "OFFLINE_PHI", "Intervals", "observe", "reached", "suspicion", "timeout_ms"]

OFFLINE_PHI: Final = 8.0
"""A peer whose suspicion reaches this is offline: one false alarm in 10^8 intervals, were they normal."""

LEVELS: Final = (1.0, 3.0, OFFLINE_PHI)
"""Suspicions at which a silent peer's row is written anew, so that a page sees it grow."""

_UNKNOWN_TIMEOUT_MS: Final = 120_000.0
_FLOOR_MS: Final = 5_000.0
_CEILING_MS: Final = 300_000.0
_LEAST_INTERVALS: Final = 3
# Several writes within half a second are one heartbeat in several parts.
_SAME_HEARTBEAT_MS: Final = 500
_WEIGHT: Final = 0.1
# Regular heartbeats would otherwise have no variance, and the first late one would be a failure. With a quarter of the
# mean one missed heartbeat is always forgiven: the timeout is at least 2.4 intervals.
_LEAST_DEVIATION: Final = 0.25
# Standard normal quantiles z with P(Z > z) = 10^-phi, for each of LEVELS.
_QUANTILES: Final = (1.2815515655, 3.0902323062, 5.6120012442)
# Where nothing is known: the mean that gives the timeout, its deviation, and nothing is stretched.
_UNKNOWN_MEAN_MS: Final = _UNKNOWN_TIMEOUT_MS / (1 + _LEAST_DEVIATION * _QUANTILES[-1])
_UNKNOWN_SHAPE: Final = _UNKNOWN_MEAN_MS, _UNKNOWN_MEAN_MS * _LEAST_DEVIATION, 1.0
_SQRT_2: Final = math.sqrt(2)
_MOST_PHI: Final = 100.0


class Intervals(Struct, array_like=True, frozen=True, gc=False):
    """What is known of the intervals between a peer's heartbeats."""

    # How many intervals were seen.
    count: int = 0
    # Weighted mean, ms, and variance, ms squared.
    mean_ms: float = 0.0
    variance: float = 0.0


def observe(intervals: Intervals, interval_ms: int) -> Intervals:
    """`intervals` with one more, `interval_ms` long. One that is shorter than half a second changes nothing."""
    if interval_ms < _SAME_HEARTBEAT_MS:
        return intervals
    if intervals.count == 0:
        return Intervals(1, float(interval_ms), 0.0)
    # The first few weigh alike, or the very first would rule for long.
    weight = max(_WEIGHT, 1 / (intervals.count + 1))
    difference = interval_ms - intervals.mean_ms
    step = weight * difference
    variance = (1 - weight) * (intervals.variance + difference * step)
    return Intervals(intervals.count + 1, intervals.mean_ms + step, variance)


def timeout_ms(intervals: Intervals) -> float:
    """The silence after which a peer is offline: 120 s where nothing is known, else within 5 s and 300 s."""
    if intervals.count < _LEAST_INTERVALS:
        return _UNKNOWN_TIMEOUT_MS
    mean, deviation = _normal(intervals)
    return min(max(mean + _QUANTILES[-1] * deviation, _FLOOR_MS), _CEILING_MS)


def reached(intervals: Intervals, silence_ms: float) -> tuple[int, float]:
    """How many of LEVELS so long a silence has reached, and the silence, ms, that reaches the next, or inf."""
    mean, deviation, stretch = _shape(intervals)
    level = 0
    for quantile in _QUANTILES:
        silence_to_next = (mean + quantile * deviation) * stretch
        if silence_ms < silence_to_next:
            return level, silence_to_next
        level += 1
    return level, math.inf


def suspicion(intervals: Intervals, silence_ms: float) -> float:
    """Phi after so long a silence, 0 to 100; OFFLINE_PHI exactly at the timeout, also where floor or ceiling set it."""
    mean, deviation, stretch = _shape(intervals)
    tail = 0.5 * math.erfc((silence_ms / stretch - mean) / (deviation * _SQRT_2))
    return min(-math.log10(tail), _MOST_PHI) + 0.0 if tail > 0 else _MOST_PHI


def _shape(intervals: Intervals) -> tuple[float, float, float]:
    """Mean and standard deviation to reckon with, and by how much floor or ceiling stretches the time.

    It is asked at every heartbeat.
    """
    if intervals.count < _LEAST_INTERVALS:
        return _UNKNOWN_SHAPE
    mean, deviation = _normal(intervals)
    natural = mean + _QUANTILES[-1] * deviation
    if _FLOOR_MS <= natural <= _CEILING_MS:
        return mean, deviation, 1.0
    return mean, deviation, (_FLOOR_MS if natural < _FLOOR_MS else _CEILING_MS) / natural


def _normal(intervals: Intervals) -> tuple[float, float]:
    """Mean and standard deviation of intervals that are known."""
    return intervals.mean_ms, max(math.sqrt(intervals.variance), intervals.mean_ms * _LEAST_DEVIATION)
