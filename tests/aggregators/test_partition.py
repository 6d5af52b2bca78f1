"""Partitions and their merger against the naive model, for any events, any split, any restore."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.aggregators import sync
from processors.aggregators.partition import MAX_DIRTY, Partition
from processors.aggregators.sync import MAX_PAIRS
from processors.aggregators.watch import Watch
from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, Event, Heartbeat, PeerGone, Rejected, SyncIn, SyncOut
from schemas.metrics import DeadLetter, PeerRow, SourceState, SyncRecord
from schemas.streams import partition_of
from tests.aggregators.support import HOUR, START, check_summary, commit, entry, fold_all, settle, summary_of

peers = st.sampled_from(["a", "b", "c", "d"])
# Spread so that events meet in windows, are late, out of order, or ahead.
delays = st.one_of(st.integers(-20_000, 8_000), st.integers(-400_000, 0))
gaps = st.one_of(st.integers(0, 3_000), st.integers(0, 200_000), st.integers(0, 2 * HOUR))
places = st.sampled_from(["redis", "redis", "manifest", "other:9001"])
outcomes = st.sampled_from([True, True, False, None])


def event_at(draw: st.DrawFn, ts: int) -> Event:
    kind = draw(st.integers(0, 9))
    if kind <= 4:
        return Heartbeat(
            peer=draw(peers),
            ts=ts,
            tier=draw(st.sampled_from(["core", "trusted", "verified", "unknown", None])),
            status=draw(st.sampled_from(["online", "offline", "syncing", None, "online"])),
            latency_ms=draw(st.none() | st.integers(0, 500_000).map(lambda us: us / 1000)),
            learnt_from=draw(places),
            expires=draw(st.booleans()),
        )
    if kind == 5:
        return PeerGone(peer=draw(peers), ts=ts, learnt_from=draw(places))
    if kind == 6:
        return SyncIn(peer=draw(peers), ts=ts, ok=draw(outcomes))
    return SyncOut(ts=ts, sender=draw(peers), target=draw(peers), bytes=draw(st.integers(0, 10**6)), ok=draw(outcomes))


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, Event]]:
    """(arrival, event) in the order of the stream."""
    now, history = START, []
    for _ in range(draw(st.integers(0, 40))):
        now += draw(gaps)
        history.append((now, event_at(draw, now + draw(delays))))
    return history


@settings(max_examples=100, deadline=None)
@given(histories(), st.one_of(st.integers(0, 400_000), st.integers(0, 30 * HOUR)))
def test_every_value_is_what_the_naive_model_says(history: list[tuple[int, Event]], later: int) -> None:
    now = (history[-1][0] if history else START) + later
    check_summary(fold_all(history, now), history, now)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 400_000), st.integers(2, 5))
def test_any_split_over_partitions_gives_the_same_summary(
    history: list[tuple[int, Event]], later: int, count: int
) -> None:
    now = (history[-1][0] if history else START) + later
    whole, split = fold_all(history, now), fold_all(history, now, count)
    assert msgspec.structs.replace(split, partials={}) == msgspec.structs.replace(whole, partials={})


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(0, 400_000), st.sets(st.integers(0, 40)))
def test_restores_at_any_points_give_the_same_state_as_one_run(
    history: list[tuple[int, Event]], later: int, restarts: set[int]
) -> None:
    now = (history[-1][0] if history else START) + later
    outcomes = []
    for points in (set(), restarts):
        partition = Partition("0", START, 1)
        state: dict[str, bytes] = {}
        roster: dict[str, bytes] = {}
        for index, (arrived, event) in enumerate(history):
            settle(partition, arrived)
            partition.fold(f"{arrived}-0", entry(event), arrived)
            commit(partition, state, roster, arrived)
            if index in points:
                partition = Partition("0", arrived, 1)
                partition.restore(f"{arrived}-0", {k.encode(): v for k, v in state.items()})
        settle(partition, now)
        partial = commit(partition, state, roster, now)
        rows = {name: msgspec.json.decode(row, type=PeerRow) for name, row in roster.items()}
        outcomes.append((partial, {name: (r.status, r.data_shared, r.last_seen) for name, r in rows.items()}))
    assert outcomes[0] == outcomes[1]


@settings(max_examples=40, deadline=None)
@given(histories())
def test_state_that_is_read_in_slices_that_overlap_counts_once(history: list[tuple[int, Event]]) -> None:
    now = history[-1][0] if history else START
    first = Partition("0", START, 1)
    state: dict[str, bytes] = {}
    for arrived, event in history:
        first.fold(f"{arrived}-0", entry(event), now)
        commit(first, state, {}, now)
    second = Partition("0", now, 1)
    for _ in range(2):
        second.restore(f"{now}-0", {name.encode(): value for name, value in state.items()})
    assert commit(second, {}, {}, now).federation == commit(first, {}, {}, now).federation


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(0, 400_000))
def test_an_owner_that_catches_up_comes_to_the_same_as_one_on_time(
    history: list[tuple[int, Event]], later: int
) -> None:
    now = (history[-1][0] if history else START) + later
    late = Partition("0", START, 1)
    for arrived, event in history:
        late.fold(f"{arrived}-0", entry(event), now)
    settle(late, now)
    partial = commit(late, {}, {}, now)
    assert summary_of([partial], now) == fold_all(history, now)


def test_the_committed_roster_is_what_the_changes_say() -> None:
    partition = Partition("0", START, 1)
    roster: dict[str, PeerRow | None] = {}
    events: list[Event] = [
        Heartbeat(peer="a", ts=START, hostname="A", tier="core", latency_ms=12.5, expires=True),
        SyncOut(ts=START, sender="a", target="b", bytes=10, ok=True),
        PeerGone(peer="a", ts=START + 2_000),
    ]
    for step, event in enumerate(events):
        partition.fold(f"{START + step}-0", entry(event), START + step)
        work = partition.collect("e", step + 1, START + step)
        assert work.changes is not None
        roster |= msgspec.json.decode(work.changes, type=dict[str, PeerRow | None])
        assert {name: codec.encode(row) for name, row in roster.items()} == work.roster
    assert roster["a"] == PeerRow(
        id="a", hostname="A", tier="core", status="offline", suspicion=8.0, latency_ms=12.5, data_shared=10,
        last_seen=START, learnt_from="redis",
    )  # fmt: skip
    settle(partition, START + HOUR)
    assert partition.needs_commit()
    assert partition.collect("e", 4, START + HOUR).roster == {"a": None}


def test_a_quiet_partition_has_nothing_to_commit() -> None:
    partition = Partition("0", START, 1)
    partition.collect("e", 1, START)
    partition.pass_time(START + 10 * HOUR)
    assert not partition.needs_commit()
    assert partition.next_deadline() is None


def test_a_peer_goes_offline_without_any_event() -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(Heartbeat(peer="a", ts=START)), START)
    partition.collect("e", 1, START)
    settle(partition, START + 119_999)
    partition.collect("e", 2, START + 119_999)
    settle(partition, START + 120_001)
    assert partition.needs_commit()
    row = partition.collect("e", 3, START + 120_001).roster["a"]
    assert row is not None
    assert codec.decode_peer(row).status == "offline"


def test_a_batch_of_the_largest_size_fits_whenever_there_is_room() -> None:
    partition = Partition("0", START, 1)
    ts = START
    for round_number in range(8):
        if not partition.has_room():
            work = partition.collect("e", 1, ts)
            assert max(len(work.state), len(work.roster)) <= MAX_DIRTY
        beats = [Heartbeat(peer=f"{round_number}-{k}", ts=ts) for k in range(MAX_BATCH_EVENTS)]
        partition.fold(f"{ts}-0", entry(*beats), ts)
        work = partition.collect("e", 1, ts)
        assert max(len(work.state), len(work.roster)) <= MAX_DIRTY
        syncs = [SyncOut(ts=ts, sender=b.peer, target="t", ok=True, bytes=1) for b in beats]
        partition.fold(f"{ts}-1", entry(*syncs), ts)


def test_ten_thousand_peers_falling_silent_at_once_are_told_in_bounded_commits() -> None:
    partition = Partition("0", START, 1)
    roster: dict[str, bytes] = {}
    for chunk in range(40):
        beats = [Heartbeat(peer=f"{chunk}-{k}", ts=START) for k in range(MAX_BATCH_EVENTS)]
        partition.fold(f"{START}-{chunk}", entry(*beats), START)
        commit(partition, {}, roster, START)
    later = START + 200_000
    while (deadline := partition.next_deadline()) is not None and deadline <= later:
        partition.pass_time(later)
        work = partition.collect("e", 1, later)
        assert max(len(work.state), len(work.roster)) <= MAX_DIRTY
        roster |= {k: v for k, v in work.roster.items() if v is not None}
    assert {codec.decode_peer(row).status for row in roster.values()} == {"offline"}
    assert len(roster) == 10_000


def test_a_sync_that_names_unknown_peers_counts_but_makes_no_peer() -> None:
    summary = fold_all([(START, SyncOut(ts=START, sender="x", target="y", bytes=7, ok=True))], START)
    assert (summary.sync_events_total, summary.sync_bytes_total, summary.active_syncs) == (1, 7, 1)
    assert summary.total_peers == 0
    assert summary.network_health is None
    assert summary.data_integrity is None


def test_a_sync_before_the_first_heartbeat_counts_in_the_integrity() -> None:
    failed = (START, SyncOut(ts=START, sender="a", target="y", bytes=7, ok=False))
    heard = (START + 1, Heartbeat(peer="a", ts=START + 1, tier="core"))
    assert fold_all([failed, heard], START + 2).data_integrity == 0
    assert fold_all([heard, failed], START + 2).data_integrity == 0


def test_a_peer_of_more_targets_than_the_bound_counts_in_totals_and_says_so() -> None:
    syncs = [(START, SyncOut(ts=START, sender="hub", target=f"t{number}", ok=True)) for number in range(MAX_PAIRS + 7)]
    summary = fold_all([*syncs], START)
    assert (summary.active_syncs, summary.overflow_total) == (MAX_PAIRS, 7)
    assert summary.sync_events_total == MAX_PAIRS + 7


def test_a_sync_that_finds_no_room_is_left_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "MAX_WINDOWS", 0)
    summary = fold_all([(START, SyncOut(ts=START, sender="a", target="b", bytes=7, ok=True))], START)
    assert (summary.sync_events_total, summary.overflow_total) == (1, 1)


def test_a_sync_becomes_one_entry_of_the_feed() -> None:
    partition = Partition("sim", START, 1)
    partition.fold(
        f"{START}-0", entry(SyncOut(ts=START, sender="sim-a", target="sim-b", action="memory_sync", bytes=9)), START
    )
    [(kind, body)] = partition.collect("e", 1, START).feed
    assert kind == "sync"
    assert msgspec.json.decode(body, type=list[SyncRecord]) == [
        SyncRecord(ts=START, sender="sim-a", target="sim-b", action="memory_sync", bytes=9, source="simulated", ok=None)
    ]


def test_rejected_input_and_unreadable_entries_become_dead_letters() -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(Rejected(ts=5, collector="peers", reason="no", excerpt="x")), START)
    partition.fold(f"{START}-1", {b"v": b"1", b"d": b'[{"t":"peer_gone"},1]'}, START)
    partition.fold(f"{START}-2", {b"d": b"\xff"}, START)
    letters = [msgspec.json.decode(body, type=DeadLetter) for body in partition.collect("e", 1, START).dead]
    assert [(letter.rejected_by, letter.reason, letter.excerpt) for letter in letters] == [
        ("peers", "no", "x"),
        ("aggregator", "object missing required field `peer`", '{"t":"peer_gone"}'),
        ("aggregator", "expected `object`, got `int`", "1"),
        ("aggregator", "field v is missing", "\ufffd"),
    ]


@pytest.mark.parametrize(
    ("fields", "whole"),
    [
        ({b"d": b'{"t":"peer_gone"}'}, True),
        ({b"d": b"\xff"}, False),
        ({b"d": "\u00e4".encode() * 513}, False),
        ({b"v": b"2", b"d": b"{}", **{str(k).encode(): b"" for k in range(40)}}, False),
        (entry(Rejected(ts=5, collector="sync_events", reason="no", excerpt="x", whole=True)), True),
        (entry(Rejected(ts=5, collector="sync_events", reason="no", excerpt="x")), False),
    ],
    ids=["all of it", "no text", "cut off", "another version's", "a collector's", "used by a collector"],
)
def test_a_letter_says_whether_it_holds_all_of_the_input(fields: dict[bytes, bytes], *, whole: bool) -> None:
    partition = Partition("7", START, 16)
    partition.fold(f"{START}-0", fields, START)
    [letter] = [msgspec.json.decode(body, type=DeadLetter) for body in partition.collect("e", 1, START).dead]
    assert (letter.whole, letter.partition) == (whole, "7")


def test_an_event_of_another_partition_is_rejected_and_makes_no_second_peer() -> None:
    partition = Partition("0", START, 16)
    home = partition_of("stray", 16)
    assert home != "0"
    partition.fold(f"{START}-0", entry(Heartbeat(peer="stray", ts=START)), START)
    work = partition.collect("e", 1, START)
    assert work.roster == {}
    [letter] = [msgspec.json.decode(body, type=DeadLetter) for body in work.dead]
    assert letter.reason == f"belongs into partition {home}"
    assert "stray" in letter.excerpt


def test_an_entry_whose_id_is_of_the_far_future_arrived_now() -> None:
    partition = Partition("0", START, 1)
    partition.fold("99999999999999-0", entry(SyncOut(ts=START, sender="a", target="b", ok=True)), START)
    assert commit(partition, {}, {}, START).federation.late_total == 0


def test_a_commit_tells_a_bounded_number_of_events() -> None:
    partition = Partition("0", START, 1)
    syncs = [SyncOut(ts=START, sender="a", target="b", ok=True)] * MAX_BATCH_EVENTS
    folded = 0
    while partition.has_room():
        partition.fold(f"{START}-{folded}", entry(*syncs), START)
        folded += 1
    assert folded == 4
    [(_, body)] = partition.collect("e", 1, START).feed
    assert len(msgspec.json.decode(body)) == MAX_DIRTY


def test_a_heartbeat_dated_before_the_last_is_news_all_the_same() -> None:
    first = Heartbeat(peer="a", ts=START, status="online", latency_ms=15)
    found_later = Heartbeat(peer="a", ts=START - 480, status="offline", latency_ms=99)
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(first, found_later), START)
    row = partition.collect("e", 1, START).roster["a"]
    assert row is not None
    shown = codec.decode_peer(row)
    assert (shown.status, shown.latency_ms, shown.last_seen) == ("offline", 99, START)


def test_a_sender_whose_clock_is_ahead_has_active_syncs() -> None:
    history = [
        (at, SyncOut(ts=at + 3_000, sender="a", target="b", ok=True)) for at in range(START, START + 30_000, 1_000)
    ]
    assert fold_all([*history], START + 29_500).active_syncs == 1


def test_an_entry_of_a_newer_version_is_parked_as_it_came() -> None:
    partition = Partition("0", START, 1)
    newer = {b"v": b"2", b"t": b"events", b"d": b"{}", b"new": b"field"}
    partition.fold(f"{START}-0", newer, START)
    work = partition.collect("e", 1, START)
    assert (work.parked, work.dead, work.position) == ([newer], [], f"{START}-0")


def test_a_parked_entry_stays_where_it_is_while_its_version_is_newer() -> None:
    partition = Partition("0", START, 1)
    partition.unpark(f"{START}-0", {b"v": b"2", b"d": b"{}"}, START)
    assert partition.collect("e", 1, START).unparked == []


def test_a_parked_entry_counts_once_its_version_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "VERSION", 2)
    partition = Partition("0", START, 1)
    partition.restore(f"{START}-7", {})
    partition.unpark(f"{START}-0", entry(Heartbeat(peer="a", ts=START)) | {b"v": b"2"}, START)
    work = partition.collect("e", 1, START)
    assert (work.unparked, work.position, list(work.roster)) == ([f"{START}-0"], f"{START}-7", ["a"])


def test_a_newer_entry_that_is_too_large_to_be_parked_is_a_dead_letter() -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", {b"v": b"2", **{str(k).encode(): b"" for k in range(5_000)}}, START)
    work = partition.collect("e", 1, START)
    assert work.parked == []
    assert b"schema version 2 is newer than this release understands, and it is too large" in work.dead[0]


def test_what_nobody_watched_declares_no_peer_offline() -> None:
    watch = Watch()
    partition = Partition("0", START, 1, watch)
    beats = [Heartbeat(peer="a", ts=START + second * 1_000) for second in range(20)]
    heard_until = START + 19_000
    partition.fold(f"{heard_until}-1", {b"v": b"1", b"d": codec.encode(beats)}, heard_until)
    live = SourceState(node="n", collector="peers", group="peers", state="live", since=START)
    watch.hear(heard_until, live)
    # Its timeout is five seconds; but the collector ended, and nobody heard anything for an hour.
    hour_later = heard_until + 3_600_000
    partition.pass_time(hour_later)
    assert online(partition, hour_later) == 1
    deadline = partition.next_deadline()
    assert deadline is not None
    assert deadline >= hour_later + 1_000
    # It is back, and the peer is as silent as it was: only what is heard from now on counts.
    watch.hear(hour_later, live)
    partition.pass_time(hour_later)
    assert online(partition, hour_later) == 1
    watch.hear(hour_later + 4_000, live)
    watch.hear(hour_later + 9_000, live)
    partition.pass_time(hour_later + 9_000)
    assert online(partition, hour_later + 9_000) == 0


def online(partition: Partition, now: int) -> int:
    """How many peers are online."""
    fields = {b"v": b"1", b"d": partition.collect("e", 1, now).partial}
    return codec.decode_partial(fields).federation.online
