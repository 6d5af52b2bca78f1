"""States of other releases, and what format 2 keeps more than format 1."""

import msgspec
import pytest

from processors.aggregators.partition import Partition
from schemas.events import Event, SyncOut
from schemas.metrics import Partial
from tests.aggregators.support import HOUR, START, commit, entry, settle


def test_state_of_a_newer_release_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="format 3 is of a newer release"):
        Partition("0", START, 1).restore("0-0", {b"totals": b"[3, 0]"})


# As the release that wrote format 1 left it, of five heartbeats, three syncs, and a session.
FORMAT_1 = {
    b"node:n": b"[1700000006000,1700000000000,1700000006000,null,1,0,0,0,null,{},{},{}]",
    b"peer:a": b'[1700000004000,"a.local","core","online",16500,"redis",false,false,760,[4,1000.0,0.0],"online",0]',
    b"rate:1699999980": b"[1,60,1,0]",
    b"rate:1700000005": b"[1,700,1,1]",
    b"sync:a": b'[[169999998,1,0,170000000,1,1],{"b":1700000005000}]',
    b"sync:b": b"[[170000000,1,0],{}]",
    b"totals": b"[1,1700000000000,5,0,1700000004000,[2,760,1,0,1700000005000,0]]",
}


def test_state_of_format_1_is_migrated_as_it_is_read_and_as_it_changes() -> None:
    partition, now = Partition("0", START, 1), START + 6_000
    partition.restore("1-0", FORMAT_1)
    told = msgspec.json.decode(partition.collect("e", 2, now).partial, type=Partial)
    mesh = told.federation
    assert (mesh.known, mesh.online, mesh.integrity_nano, mesh.latency_us) == (1, 1, 500_000_000, 16_500)
    assert (mesh.heartbeats_total, mesh.sync_events_total, mesh.sync_bytes_total) == (5, 2, 760)
    assert mesh.rates is not None
    assert (sum(mesh.rates.bytes), sum(mesh.rates.pairs)) == (760, 1)
    # What format 1 did not keep is not made up.
    assert (told.memory[0].sessions_total, mesh.talkers) == (1, ())
    partition.fold(f"{now}-0", entry(SyncOut(ts=now, sender="a", target="b", bytes=8, ok=True)), now)
    work = partition.collect("e", 3, now)
    assert work.state["sync:a"] == b'[[169999998,1,0,0,170000000,2,2,8],{"b":1700000006000},4]'
    assert work.state["totals"] == b"[2,1700000000000,5,0,1700000004000,[3,768,1,0,1700000006000,0]]"


def test_a_state_of_both_formats_is_read() -> None:
    partition = Partition("0", START, 1)
    partition.restore("1-0", FORMAT_1 | {b"sync:b": b"[[170000000,1,0,44],{},4]"})
    mesh = msgspec.json.decode(partition.collect("e", 2, START + 6_000).partial, type=Partial).federation
    assert mesh.talkers == (("b", 44),)


def test_the_top_talkers_are_those_of_the_last_five_minutes() -> None:
    sent = {f"peer-{number:02}": (number * 7) % 13 for number in range(15)}
    syncs: list[Event] = [SyncOut(ts=START, sender=name, target="x", bytes=size) for name, size in sent.items()]
    expected = sorted(((name, size) for name, size in sent.items() if size), key=lambda each: (-each[1], each[0]))[:10]
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(*syncs), START)
    state: dict[str, bytes] = {}
    assert commit(partition, state, {}, START).federation.talkers == tuple(expected)
    heir = Partition("0", START, 1)
    heir.restore(f"{START}-0", {name.encode(): value for name, value in state.items()})
    assert commit(heir, {}, {}, START).federation.talkers == tuple(expected)
    settle(heir, START + 310_000)
    assert commit(heir, {}, {}, START + 310_000).federation.talkers == ()


def test_who_sent_nothing_for_five_minutes_is_no_talker_although_nothing_else_happens() -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(SyncOut(ts=START, sender="a", target="x", bytes=8)), START)
    assert commit(partition, {}, {}, START).federation.talkers == (("a", 8),)
    assert not partition.needs_commit()
    settle(partition, START + 310_000)
    assert partition.needs_commit()
    assert commit(partition, {}, {}, START + 310_000).federation.talkers == ()
    assert not partition.needs_commit()


@pytest.mark.parametrize(
    "fields",
    [
        {b"sync:a": b"[[170000000,1,0,44,170000001],{},4]"},
        {b"sync:a": b"[[170000000,1,0,44,5],{},5]"},
        {b"sync:a": b"[[170000000,1],{}]"},
        {b"rate:1700000005": b"[1,700,1]"},
    ],
)
def test_a_state_whose_rows_are_not_whole_is_refused_before_it_is_used(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(msgspec.ValidationError):
        Partition("0", START, 1).restore("0-0", fields)


def test_what_a_clock_counted_that_was_ahead_for_a_while_costs_its_successor_nothing() -> None:
    ahead = START + 24 * HOUR
    wrong, state = Partition("0", ahead, 1), dict[str, bytes]()
    wrong.fold(f"{ahead}-0", entry(SyncOut(ts=ahead, sender="a", target="x", bytes=8)), ahead)
    commit(wrong, state, {}, ahead)
    heir = Partition("0", START, 1)
    heir.restore(f"{ahead}-0", {name.encode(): value for name, value in state.items()})
    heir.fold(f"{ahead}-1", entry(SyncOut(ts=START, sender="a", target="y", bytes=8)), START)
    rates = commit(heir, {}, {}, START).federation.rates
    assert rates is not None
    assert (rates.start, rates.syncs, rates.pairs) == (START // 1000, (1,), (1,))
