import math
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.failure_detector import (
    LEVELS,
    Intervals,
    observe,
    reached,
    suspicion,
    timeout_ms,
)

intervals_ms = st.lists(st.integers(0, 3_600_000), max_size=40)


def learnt(lengths: list[int]) -> Intervals:
    return reduce(observe, lengths, Intervals())


def test_where_nothing_is_known_a_peer_may_be_silent_for_two_minutes() -> None:
    assert timeout_ms(Intervals()) == 120_000
    assert timeout_ms(learnt([1_000, 1_000])) == 120_000


def test_a_fast_regular_peer_is_missed_at_the_floor() -> None:
    assert timeout_ms(learnt([1_000] * 20)) == 5_000


def test_a_slow_regular_peer_may_miss_one_heartbeat_but_not_two() -> None:
    assert 60_000 < timeout_ms(learnt([30_000] * 20)) < 90_000


def test_no_peer_may_be_silent_longer_than_the_ceiling() -> None:
    assert timeout_ms(learnt([600_000] * 20)) == 300_000


def test_an_irregular_peer_is_given_more_time_than_a_regular_one_of_the_same_mean() -> None:
    assert timeout_ms(learnt([5_000, 35_000] * 20)) > timeout_ms(learnt([20_000] * 40))


def test_several_writes_in_half_a_second_are_one_heartbeat() -> None:
    assert learnt([30_000, 3, 2, 30_000, 1, 30_000]) == learnt([30_000, 30_000, 30_000])


def test_phi_is_the_logarithm_of_the_normal_tail() -> None:
    known = learnt([10_000] * 10)
    deviation = 2_500
    expected = -math.log10(0.5 * math.erfc((15_000 - 10_000) / (deviation * math.sqrt(2))))
    assert suspicion(known, 15_000) == pytest.approx(expected)


@given(intervals_ms)
def test_suspicion_reaches_each_level_exactly_when_it_is_said_to(lengths: list[int]) -> None:
    known = learnt(lengths)
    silence = 0.0
    for count, level in enumerate(LEVELS):
        reached_before, silence = reached(known, silence)
        assert reached_before == count
        assert suspicion(known, silence) == pytest.approx(level, abs=1e-6)
    assert silence == pytest.approx(timeout_ms(known))
    assert reached(known, silence) == (len(LEVELS), math.inf)


@given(intervals_ms, st.lists(st.integers(0, 10**9), min_size=2, max_size=10))
def test_suspicion_only_grows_with_silence(lengths: list[int], silences: list[int]) -> None:
    known = learnt(lengths)
    values = [suspicion(known, silence) for silence in sorted(silences)]
    assert values == sorted(values)
    assert all(0 <= value <= 100 for value in values)


@given(st.lists(st.integers(500, 3_600_000), min_size=1, max_size=9))
def test_mean_and_variance_of_the_first_few_are_the_plain_ones(lengths: list[int]) -> None:
    known = learnt(lengths)
    mean = sum(lengths) / len(lengths)
    assert known.mean_ms == pytest.approx(mean)
    assert known.variance == pytest.approx(sum((x - mean) ** 2 for x in lengths) / len(lengths), rel=1e-9, abs=1e-3)


@given(st.lists(st.integers(500, 3_600_000), min_size=1, max_size=60))
def test_mean_and_variance_are_those_of_all_intervals_by_their_weights(lengths: list[int]) -> None:
    weights: list[float] = []
    for count in range(1, len(lengths) + 1):
        newest = max(0.1, 1 / count)
        weights = [(1 - newest) * weight for weight in weights] + [newest]
    mean = sum(weight * x for weight, x in zip(weights, lengths, strict=True))
    variance = sum(weight * (x - mean) ** 2 for weight, x in zip(weights, lengths, strict=True))
    known = learnt(lengths)
    assert known.count == len(lengths)
    assert sum(weights) == pytest.approx(1)
    assert known.mean_ms == pytest.approx(mean)
    assert known.variance == pytest.approx(variance, rel=1e-6, abs=1e-3)


@given(intervals_ms)
def test_a_timeout_is_between_floor_and_ceiling_or_that_where_nothing_is_known(lengths: list[int]) -> None:
    known = learnt(lengths)
    silence = timeout_ms(known)
    assert 5_000 <= silence <= 300_000 if known.count >= 3 else silence == 120_000
    assert suspicion(known, silence) == pytest.approx(8, abs=1e-6)
    assert suspicion(known, silence - 1) < 8


def missed(lengths: list[int]) -> list[int]:
    """The numbers of those heartbeats before which their peer was taken for offline."""
    return [number for number, length in enumerate(lengths) if length >= timeout_ms(learnt(lengths[:number]))]


@given(st.integers(1_000, 90_000), st.lists(st.floats(0.8, 1.25), min_size=10, max_size=40))
def test_heartbeats_that_come_about_regularly_are_never_missed(interval_ms: int, jitter: list[float]) -> None:
    assert missed([round(interval_ms * factor) for factor in jitter]) == []


def test_heartbeats_that_come_in_bursts_are_never_missed() -> None:
    assert missed([30_000, 700, 10, 900] * 20) == []


def test_heartbeats_that_grow_slower_and_slower_are_never_missed() -> None:
    assert missed([round(1_000 * 1.05**number) for number in range(110)]) == []


def test_a_peer_that_grew_much_faster_is_at_last_missed_as_fast_as_if_it_had_always_been() -> None:
    assert timeout_ms(learnt([60_000] * 20 + [1_000] * 120)) == 5_000
