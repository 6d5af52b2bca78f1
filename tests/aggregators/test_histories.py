"""Whole histories against the naive model: any clocks, any split, owners that die at any commit, looked at often."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.aggregators.partition import Partition
from schemas.events import Event, Heartbeat, SyncIn, SyncOut, subject
from schemas.metrics import FederationSummary, Partial
from schemas.streams import partition_of
from tests.aggregators.support import HOUR, START, check_summary, commit, entry, settle, summary_of
from tests.aggregators.test_partition import event_at

History = list[tuple[int, Event]]

gaps = st.one_of(st.integers(0, 3_000), st.integers(0, 200_000), st.sampled_from([1_000, 10_000, 60_000, 300_000]))
# Of clocks that are right, a little off, and off by an hour either way; and exactly at the ends of windows.
delays = st.one_of(
    st.integers(-20_000, 8_000),
    st.integers(-400_000, 0),
    st.sampled_from([-HOUR, HOUR, 5_000, 5_001, -10_000, -60_000, -60_001, -300_000, -300_001]),
)
deeds = st.sampled_from(["go on", "go on", "commit", "die"])


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Event, str]]:
    """(arrival, event, what its owner does after it) in the order of the stream."""
    now, history = START, []
    for _ in range(draw(st.integers(1, 40))):
        now += draw(gaps)
        history.append((now, event_at(draw, now + draw(delays)), draw(deeds)))
    return history


class Owners:
    """The owners of one partition, one after the other: what one did not commit the next one folds again."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count
        self.state: dict[str, bytes] = {}
        self.waiting: History = []
        self.partition = Partition(name, START, count)

    def take(self, arrived: int, event: Event, deed: str) -> None:
        settle(self.partition, arrived)
        self.waiting.append((arrived, event))
        self.partition.fold(f"{arrived}-0", entry(event), arrived)
        if deed == "commit":
            self.commit(arrived)
        elif deed == "die":
            self.partition = Partition(self.name, arrived, self.count)
            self.partition.restore("0-0", {name.encode(): value for name, value in self.state.items()})
            for each, again in self.waiting:
                self.partition.fold(f"{each}-0", entry(again), arrived)

    def commit(self, now: int) -> Partial:
        self.waiting.clear()
        return commit(self.partition, self.state, {}, now)


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(1, 4), st.lists(st.integers(0, 400_000), min_size=1, max_size=4))
def test_whatever_clocks_deaths_and_split_every_value_is_the_models_at_every_look(
    history: list[tuple[int, Event, str]], count: int, looks: list[int]
) -> None:
    owners = {str(number): Owners(str(number), count) for number in range(count)}
    for arrived, event, deed in history:
        owners[partition_of(subject(event), count)].take(arrived, event, deed)
    now = history[-1][0]
    for later in looks:
        now += later
        partials = []
        for each in owners.values():
            settle(each.partition, now)
            partials.append(each.commit(now))
        check_summary(summary_of(partials, now), [(arrived, event) for arrived, event, _ in history], now)


def looked_at(event: Event, *moments: int) -> list[FederationSummary]:
    """The summaries at `moments` of a partition that took one event at START."""
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(Heartbeat(peer="a", ts=START, tier="core"), event), START)
    summaries = []
    for now in moments:
        settle(partition, now)
        summaries.append(summary_of([commit(partition, {}, {}, now)], now))
    return summaries


def test_a_sync_is_in_the_rates_until_all_of_its_second_is_a_minute_old() -> None:
    event = SyncOut(ts=START + 400, sender="a", target="b", bytes=60, ok=True)
    begin, last, over = looked_at(event, START + 1_000, START + 60_998, START + 60_999)
    assert (begin.sync_rate, last.sync_rate, over.sync_rate) == (1 / 60, 1 / 60, 0)
    assert (last.sync_success_rate, over.sync_success_rate) == (100, None)


def test_a_pair_is_active_until_all_of_its_second_is_ten_seconds_old() -> None:
    last, over = looked_at(SyncOut(ts=START, sender="a", target="b", ok=True), START + 10_998, START + 10_999)
    assert (last.active_syncs, over.active_syncs) == (1, 0)


def test_a_failure_counts_in_the_integrity_until_all_of_its_ten_seconds_are_five_minutes_old() -> None:
    bucket_end = START // 10_000 * 10_000 + 10_000
    ends = bucket_end - 1 + 300_000
    last, over = looked_at(SyncIn(ts=START, peer="a", ok=False), ends - 1, ends)
    assert (last.data_integrity, over.data_integrity) == (0, 100)


@pytest.mark.parametrize(("age_ms", "late"), [(299_999, 0), (300_000, 1), (HOUR, 1), (-5_000, 0), (-HOUR, 0)])
def test_a_sync_is_late_from_five_minutes_on(age_ms: int, late: int) -> None:
    [summary] = looked_at(SyncOut(ts=START - age_ms, sender="a", target="b", bytes=7), START)
    assert (summary.late_total, summary.sync_events_total, summary.sync_bytes_total) == (late, 1, 7)


@pytest.mark.parametrize(("ahead_ms", "replaced"), [(5_000, 0), (5_001, 1), (HOUR, 1)])
def test_a_time_more_than_five_seconds_ahead_is_replaced_and_counted(ahead_ms: int, replaced: int) -> None:
    event = SyncOut(ts=START + ahead_ms, sender="a", target="b", ok=True)
    at_once, later = looked_at(event, START, START + 5_000)
    assert (at_once.future_total, later.future_total) == (replaced, replaced)
    # Not in the window before its time has come.
    assert (at_once.sync_rate, later.sync_rate) == (replaced / 60, 1 / 60)
