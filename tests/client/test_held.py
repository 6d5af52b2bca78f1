"""What a client holds of one channel: merge patches against a naive model, pieces, positions, what was left out."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from processors.client.errors import Lost
from processors.client.held import MAX_PIECES, Held, merge
from processors.client.updates import Records, Reset, State
from schemas import frames
from schemas.metrics import FederationSummary, MemoryRecord, PeerRow
from tests.client.scripted import difference

THINGS = st.booleans() | st.integers() | st.text(max_size=3)
LEAVES = st.none() | THINGS
NAMES = st.sampled_from(["a", "b", "__proto__", ""])
PATCHES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
VALUES = st.dictionaries(NAMES, st.recursive(THINGS, lambda inner: st.dictionaries(NAMES, inner, max_size=4)))


def by_the_book(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2, line by line."""
    if isinstance(patch, dict):
        if not isinstance(target, dict):
            target = {}
        for name, value in patch.items():
            if value is None:
                if name in target:
                    del target[name]
            else:
                target[name] = by_the_book(target.get(name), value)
        return target
    return patch


@given(PATCHES, PATCHES)
def test_a_merge_is_as_the_book_has_it_and_changes_neither(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merged = merge(target, patch)
    assert (target, patch) == before
    assert merged == by_the_book(target, patch)


@given(VALUES, VALUES)
def test_the_difference_of_two_values_leads_from_one_to_the_other(before: Any, after: Any) -> None:
    assert merge(before, difference(before, after)) == after


def snapshot(data: Any, channel: str = "peers", **values: Any) -> frames.Snapshot:
    told: dict[str, Any] = {"pos": "p1", "source": "live", "as_of": 1} | values
    return frames.Snapshot(channel=channel, ts=1, data=data, **told)


def delta(data: Any, channel: str = "peers", **values: Any) -> frames.Delta:
    return frames.Delta(channel=channel, ts=2, data=data, **values)


def event(data: Any, **values: Any) -> frames.Event:
    return frames.Event(channel="sync", ts=2, data=data, **values)


def test_a_snapshot_then_a_delta_make_a_state() -> None:
    held = Held("peers")
    assert held.take(snapshot({"a": 1, "b": 2})) == State("peers", {"a": 1, "b": 2}, None, "live", 1, 1)
    update = held.take(delta({"a": None, "b": 3}, source="stale", as_of=2, pos="p2"))
    assert update == State("peers", {"b": 3}, {"a": None, "b": 3}, "stale", 2, 2)
    assert held.position == "p2"


def test_a_state_of_before_stays_as_it_was() -> None:
    held = Held("peers")
    first = held.take(snapshot({"a": {"x": 1}}))
    held.take(delta({"a": {"x": 2}}))
    assert isinstance(first, State)
    assert first.value == {"a": {"x": 1}}


def test_a_delta_that_says_nothing_of_its_origin_keeps_it() -> None:
    held = Held("peers")
    held.take(snapshot({}))
    assert held.take(delta({"a": 1})) == State("peers", {"a": 1}, {"a": 1}, "live", 1, 2)


def test_a_peer_that_is_not_there_is_none() -> None:
    held = Held("peer:a")
    assert held.take(snapshot(None, "peer:a", pos=UNSET)) == State("peer:a", None, None, "live", 1, 1)


def test_pieces_are_one_state_only_with_the_last_of_them() -> None:
    held = Held("peers")
    held.take(snapshot({"old": 1}, pos="p0"))
    assert held.take(snapshot({"a": 1}, more=True, pos=UNSET)) is None
    assert held.position == "p0"
    assert held.take(snapshot({"b": 2})) == State("peers", {"a": 1, "b": 2}, None, "live", 1, 1)
    assert held.position == "p1"


def test_pieces_of_a_connection_that_was_lost_are_forgotten() -> None:
    held = Held("peers")
    held.take(snapshot({"a": 1}, more=True))
    held.drop_pieces()
    update = held.take(snapshot({"b": 2}))
    assert isinstance(update, State)
    assert update.value == {"b": 2}


def test_lists_in_pieces_are_joined_in_order() -> None:
    held = Held("sync")
    held.take(snapshot([1], "sync", more=True))
    assert held.take(snapshot([2, 3], "sync")) == Records("sync", [1, 2, 3], 1, "p1", snapshot=True)


def test_a_snapshot_that_never_ends_is_given_up() -> None:
    held = Held("peers")
    for _ in range(MAX_PIECES):
        held.take(snapshot({}, more=True))
    with pytest.raises(Lost, match=r"^a snapshot of peers has more than 1000 pieces$"):
        held.take(snapshot({}, more=True))


def test_a_snapshot_without_a_position_is_gone_on_from_with_another_snapshot() -> None:
    held = Held("sources", "p0")
    held.take(frames.Snapshot(channel="sources", ts=1, data={}))
    assert held.position is None


def test_an_event_that_only_tells_its_position_is_no_update() -> None:
    held = Held("sync")
    assert held.take(event([], pos="p2")) is None
    assert held.position == "p2"


def test_what_was_left_out_is_told_with_the_next_update_once() -> None:
    held = Held("sync")
    assert held.take(frames.Skipped(channel="sync", count=3)) is None
    held.take(frames.Skipped(channel="sync", count=4))
    assert held.take(event([1])) == Records("sync", [1], 2, None, skipped=7)
    assert held.take(event([2])) == Records("sync", [2], 2, None)


def test_after_a_reset_nothing_is_gone_on_from() -> None:
    held = Held("peers")
    held.take(snapshot({"a": 1}))
    assert held.take(frames.Reset(channel="peers", reason="gone")) == Reset("peers", "gone")
    assert held.position is None
    with pytest.raises(Lost, match=r"^a delta of peers came before its snapshot$"):
        held.take(delta({}))


def test_a_state_grows_stale_and_recovers_with_the_next_frame() -> None:
    held = Held("peers")
    assert held.grown_stale() is None
    held.take(snapshot({"a": 1}))
    assert held.grown_stale() == State("peers", {"a": 1}, {}, "live", 1, 1, stale=True)
    assert held.take(delta({})) == State("peers", {"a": 1}, {}, "live", 1, 2)


@pytest.mark.parametrize(
    ("channel", "frame", "reason"),
    [
        ("sync", snapshot({}, "sync"), "what came of sync is no list of records"),
        ("sync", delta([], "sync"), "what came of sync is no list of records"),
        ("peers", snapshot([]), "what came of peers is no state"),
        ("peers", frames.Event(channel="peers", ts=1, data={}), "what came of peers is no state"),
        ("peers", delta({}), "a delta of peers came before its snapshot"),
    ],
)
def test_what_does_not_fit_the_channel_is_refused(channel: str, frame: Any, reason: str) -> None:
    with pytest.raises(Lost, match=f"^{reason}$"):
        Held(channel).take(frame)


def test_pieces_that_do_not_fit_together_are_refused() -> None:
    held = Held("peers")
    held.take(snapshot({}, more=True))
    with pytest.raises(Lost, match=r"^the pieces of a snapshot do not fit together$"):
        held.take(snapshot([]))


def test_a_value_becomes_a_wire_type() -> None:
    group = {"source": "live", "as_of": 1}
    value = {"ts": 1, "source": "live", "as_of": 1, "peers": group, "sync": group, "total_peers": 3}
    summary = State("federation", value, None, "live", 1, 1).to(FederationSummary)
    assert (summary.total_peers, summary.avg_latency, summary.epoch) == (3, None, "")
    row = {"id": "a", "status": "online", "suspicion": 0.5, "data_shared": 0, "last_seen": 1, "learnt_from": "redis"}
    peers = State("peers", {"a": row}, None, "live", 1, 1).to(dict[str, PeerRow])
    assert (peers["a"].suspicion, peers["a"].tier) == (0.5, None)


def test_records_become_a_wire_type() -> None:
    record = {"ts": 1, "node": "n", "id": 1, "severity": "info", "message": "m", "source": "live"}
    assert Records("logs", [record], 1, None).to(MemoryRecord) == [
        MemoryRecord(ts=1, node="n", id=1, severity="info", message="m", source="live")
    ]
