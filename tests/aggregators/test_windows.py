from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.windows import BUCKET_MS, RATE_WINDOW_MS, RATIO_WINDOW_MS, RatioWindow, SecondSums, is_over

times = st.integers(1_700_000_000_000, 1_700_000_900_000)


@given(times, times, st.sampled_from([(1_000, 60_000), (10_000, 300_000)]))
def test_a_bucket_is_over_when_none_of_its_moments_is_in_the_window(ts: int, now: int, form: tuple[int, int]) -> None:
    bucket_ms, length_ms = form
    bucket = ts // bucket_ms
    moments = (bucket * bucket_ms, bucket * bucket_ms + bucket_ms - 1)
    assert is_over(bucket, bucket_ms, length_ms, now) == all(moment <= now - length_ms for moment in moments)


@given(st.lists(st.tuples(times, st.booleans()), max_size=60), times)
def test_a_ratio_window_holds_what_a_plain_list_of_its_buckets_would(syncs: list[tuple[int, bool]], now: int) -> None:
    window = RatioWindow()
    for ts, succeeded in syncs:
        window.add(ts, succeeded=succeeded)
    window.expire(now)
    kept = [ok for ts, ok in syncs if not is_over(ts // BUCKET_MS, BUCKET_MS, RATIO_WINDOW_MS, now)]
    assert window.sums() == (len(kept), sum(kept))
    assert RatioWindow(window.snapshot()).sums() == window.sums()


@given(st.lists(st.tuples(times, st.booleans()), min_size=1, max_size=60))
def test_the_deadline_of_a_ratio_window_is_the_first_moment_at_which_it_changes(syncs: list[tuple[int, bool]]) -> None:
    window = RatioWindow()
    for ts, succeeded in syncs:
        window.add(ts, succeeded=succeeded)
    before = window.sums()
    deadline = window.next_deadline()
    assert deadline is not None
    window.expire(deadline - 1)
    assert window.sums() == before
    window.expire(deadline)
    assert window.sums() < before


def test_an_event_never_leaves_early_and_at_most_one_bucket_late() -> None:
    ts = 1_700_000_000_400
    sums = SecondSums(1)
    sums.add(ts, (1,))
    assert sums.expire(ts + RATE_WINDOW_MS - 1) == []
    assert sums.expire(ts + RATE_WINDOW_MS + 999) == [ts // 1000]


def test_seconds_add_up_column_by_column() -> None:
    sums = SecondSums(2)
    assert sums.add(1_500, (1, 10)) == 1
    assert sums.add(1_999, (1, 5)) == 1
    sums.add(2_000, (1, 1))
    assert sums.rows == {1: [2, 15], 2: [1, 1]}
