"""Peers that several places tell of: our own Redis, and another service."""

import pytest

from processors.aggregators.partition import Partition
from schemas import codec
from schemas.events import Event, Heartbeat, PeerGone
from schemas.metrics import PeerRow
from tests.aggregators.support import START, entry, fold_all


def beat(ts: int, learnt_from: str) -> Event:
    return Heartbeat(peer="a", ts=ts, learnt_from=learnt_from)


def gone(ts: int, learnt_from: str) -> Event:
    return PeerGone(peer="a", ts=ts, learnt_from=learnt_from)


def row_after(*events: Event) -> PeerRow:
    """The row of the peer `a` after events that came as they happened."""
    partition = Partition("0", START, 1)
    for event in events:
        partition.fold(f"{event.ts}-0", entry(event), event.ts)
    row = partition.collect("e", 1, events[-1].ts).roster["a"]
    assert row is not None
    return codec.decode_peer(row)


@pytest.mark.parametrize("here", ["redis", "manifest"])
def test_a_peer_of_our_own_redis_is_not_gone_because_another_service_lists_it_no_more(here: str) -> None:
    row = row_after(beat(START, "other"), beat(START + 1, here), gone(START + 2, "other"))
    assert (row.status, row.learnt_from) == ("online", here)


def test_a_peer_of_another_service_is_not_gone_because_its_key_here_expired() -> None:
    heard_there = beat(START + 120_000, "other")
    row = row_after(beat(START, "redis"), heard_there, gone(START + 120_001, "redis"))
    assert (row.status, row.learnt_from) == ("online", "other")


@pytest.mark.parametrize(("last", "place"), [("redis", "manifest"), ("manifest", "redis"), ("other", "other")])
def test_a_peer_is_gone_from_where_it_was_last_heard_of(last: str, place: str) -> None:
    assert row_after(beat(START, last), gone(START + 1, place)).status == "offline"


def test_what_another_service_has_from_our_own_redis_is_counted_once() -> None:
    history = [
        (ts, beat(ts, place))
        for at in range(0, 60_000, 20_000)
        for place, ts in [("redis", START + at), ("other", START + at + 3_000)]
    ]
    assert fold_all([*history], START + 60_000).heartbeats_total == 3
    assert row_after(*(event for _, event in history)).learnt_from == "redis"


def test_another_service_tells_of_a_peer_that_our_own_redis_lost_or_has_not_told_of_for_two_minutes() -> None:
    assert row_after(beat(START, "redis"), gone(START + 1, "redis"), beat(START + 2, "other")).status == "online"
    silent = [beat(START, "redis"), beat(START + 119_999, "other")]
    assert row_after(*silent).learnt_from == "redis"
    assert row_after(*silent, beat(START + 120_000, "other")).learnt_from == "other"
