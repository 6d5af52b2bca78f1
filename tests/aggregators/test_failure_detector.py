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
