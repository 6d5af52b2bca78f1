import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.statistics import LatencySketch, quantile

latencies_us = st.lists(st.integers(0, 10**10), min_size=1, max_size=200)
shares = st.floats(0, 1)


def sketch_of(values: list[int]) -> LatencySketch:
    sketch = LatencySketch()
    for value in values:
        sketch.replace(None, value)
    return sketch


@given(latencies_us, shares)
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values: list[int], share: float) -> None:
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1] / 1000
    assert quantile([sketch_of(values).snapshot()], share) == pytest.approx(exact, rel=0.0101)


@given(latencies_us, latencies_us, shares)
def test_two_sketches_merged_are_the_sketch_of_all_values(left: list[int], right: list[int], share: float) -> None:
    parts = [sketch_of(left).snapshot(), sketch_of(right).snapshot()]
    assert quantile(parts, share) == quantile([sketch_of(left + right).snapshot()], share)


@given(latencies_us, latencies_us)
def test_what_is_taken_back_was_never_there(stay: list[int], leave: list[int]) -> None:
    sketch = sketch_of(stay + leave)
    for value in leave:
        sketch.replace(value, None)
    expected = sketch_of(stay)
    assert (sketch.bins, sketch.sum_us, sketch.count) == (expected.bins, expected.sum_us, expected.count)


@given(latencies_us, st.data())
def test_a_value_that_takes_the_place_of_another_is_as_if_it_had_been_there_first(
    values: list[int], data: st.DataObject
) -> None:
    after = data.draw(st.integers(0, 10**10))
    sketch = sketch_of(values)
    sketch.replace(values[0], after)
    expected = sketch_of([*values[1:], after])
    assert (sketch.bins, sketch.sum_us, sketch.count) == (expected.bins, expected.sum_us, expected.count)


@given(st.lists(st.tuples(st.integers(0, 10**10), st.booleans()), max_size=100), st.randoms(use_true_random=False))
def test_in_whatever_order_values_come_and_go_the_sketch_is_that_of_those_that_stay(
    values: list[tuple[int, bool]], chance: Random
) -> None:
    sketch, there = LatencySketch(), list[int]()
    for value, stays in values:
        sketch.replace(None, value)
        there.append(value)
        if not stays:
            gone = there.pop(chance.randrange(len(there)))
            sketch.replace(gone, None)
    expected = sketch_of(there)
    assert (sketch.snapshot(), sketch.sum_us, sketch.count) == (expected.snapshot(), sum(there), len(there))


def test_no_value_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile([LatencySketch().snapshot()], 0.5) is None


def test_what_was_never_added_cannot_be_taken_back() -> None:
    with pytest.raises(AssertionError, match="only what was added is taken back"):
        LatencySketch().replace(5, None)


def test_the_whole_range_of_latencies_needs_few_bins() -> None:
    sketch = sketch_of([round(1.001**k) for k in range(23_100)])
    assert len(sketch.bins) <= 1_160
