from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.windows import BUCKET_MS, RATE_WINDOW_MS, RATIO_WINDOW_MS, SecondSums, SyncWindow, is_over

times = st.integers(1_700_000_000_000, 1_700_000_900_000)


@given(times, times, st.sampled_from([(1_000, 60_000), (10_000, 300_000)]))
def test_a_bucket_is_over_when_none_of_its_moments_is_in_the_window(ts: int, now: int, form: tuple[int, int]) -> None:
    bucket_ms, length_ms = form
    bucket = ts // bucket_ms
    moments = (bucket * bucket_ms, bucket * bucket_ms + bucket_ms - 1)
    assert is_over(bucket, bucket_ms, length_ms, now) == all(moment <= now - length_ms for moment in moments)


syncs = st.tuples(times, st.sampled_from([(0, 0), (1, 0), (1, 1)]), st.integers(0, 2**53))


def window_of(each: list[tuple[int, tuple[int, int], int]]) -> SyncWindow:
    window = SyncWindow()
    for ts, (finished, succeeded), sent in each:
        window.add(ts, finished, succeeded, sent)
    return window


def sums_of(window: SyncWindow) -> tuple[int, int, int]:
    return window.finished, window.succeeded, window.sent


@given(st.lists(syncs, max_size=60), times)
def test_a_sync_window_holds_what_a_plain_list_of_its_buckets_would(
    told: list[tuple[int, tuple[int, int], int]], now: int
) -> None:
    window = window_of(told)
    window.expire(now)
    kept = [each for each in told if not is_over(each[0] // BUCKET_MS, BUCKET_MS, RATIO_WINDOW_MS, now)]
    expected = tuple(sum(column) for column in zip(*((*outcome, sent) for _, outcome, sent in kept), strict=True))
    assert sums_of(window) == (expected or (0, 0, 0))
    assert sums_of(SyncWindow(window.snapshot())) == sums_of(window)


@given(st.lists(syncs, min_size=1, max_size=60))
def test_the_deadline_of_a_sync_window_is_when_its_oldest_bucket_leaves(
    told: list[tuple[int, tuple[int, int], int]],
) -> None:
    window = window_of(told)
    before = window.snapshot()
    deadline = window.next_deadline()
    assert deadline is not None
    window.expire(deadline - 1)
    assert window.snapshot() == before
    window.expire(deadline)
    assert window.snapshot() == before[4:]


@given(st.lists(syncs, min_size=1, max_size=60))
def test_adding_says_when_the_deadline_has_become_another(told: list[tuple[int, tuple[int, int], int]]) -> None:
    window = SyncWindow()
    for ts, (finished, succeeded), sent in told:
        before = window.next_deadline()
        assert window.add(ts, finished, succeeded, sent) == (window.next_deadline() != before)


def test_an_event_never_leaves_early_and_at_most_one_bucket_late() -> None:
    ts = 1_700_000_000_400
    sums = SecondSums(1)
    sums.row(ts)[0] += 1
    assert sums.expire(ts + RATE_WINDOW_MS - 1) == []
    assert sums.expire(ts + RATE_WINDOW_MS + 999) == [ts // 1000]


def test_moments_of_one_second_share_a_row() -> None:
    sums = SecondSums(2)
    sums.row(1_500)[0] += 1
    sums.row(1_999)[1] += 15
    sums.row(2_000)[0] += 1
    assert sums.rows == {1: [1, 15], 2: [1, 0]}
