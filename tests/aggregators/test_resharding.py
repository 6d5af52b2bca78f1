"""Another number of partitions shows what that number from the beginning would have shown."""

from collections.abc import Iterable, Mapping

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.aggregators.merge_memory import merge_memory
from processors.aggregators.partition import Partition
from processors.aggregators.resharding import reshard
from processors.runtime.errors import PulseError
from schemas import codec, streams
from schemas.events import Event, Heartbeat, NodeSeen, ReasoningSession, Rejected, SyncIn, SyncOut, subject
from schemas.metrics import FederationSummary, MemorySummary, Partial
from schemas.snapshots import Piece, PieceOfHash, PieceOfStream, pieces_of_hash
from schemas.streams import partition_of
from tests.aggregators.support import START, commit, entry, settle, summary_of
from tests.aggregators.test_partition import histories

PLACES = {"sync_events": lambda text: text.partition(" ")[0]}
NOW = START + 1_000_000


class Bus:
    """What a bus holds, without a server: hashes and streams by key."""

    def __init__(self, count: int, pieces: Iterable[Piece] = ()) -> None:
        self.count = count
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.streams: dict[str, list[tuple[bytes, dict[bytes, bytes]]]] = {}
        for piece in pieces:
            key = piece.key.decode()
            if isinstance(piece, PieceOfHash):
                assert not self.hashes.get(key, {}).keys() & piece.fields.keys(), "nothing is given twice"
                self.hashes.setdefault(key, {}).update(piece.fields)
            else:
                self.streams.setdefault(key, []).extend(piece.entries)

    def pieces(self) -> list[Piece]:
        hashes = [piece for key, fields in self.hashes.items() for piece in pieces_of_hash(key.encode(), fields)]
        return [*hashes, *(PieceOfStream(key.encode(), b"9-9", entries) for key, entries in self.streams.items())]

    def resharded(self, count: int, taken: int = NOW) -> "Bus":
        return Bus(count, reshard(self.pieces(), self.count, count, taken, PLACES))

    def publish(self, arrived: int, event: Event) -> None:
        stream = self.streams.setdefault(streams.events_key(partition_of(subject(event), self.count)), [])
        stream.append((f"{arrived}-{len(stream)}".encode(), entry(event)))

    def aggregate(self, now: int) -> tuple[list[Partial], list[bytes]]:
        """Consume what waits, as aggregators would that start now; returns the partials and the dead letters."""
        partials: list[Partial] = []
        dead: list[bytes] = []
        for name in streams.live_partitions(self.count):
            state = self.hashes.setdefault(streams.state_key(name), {})
            meta = self.hashes.setdefault(streams.meta_key(name), {b"pos": b"0-0"})
            partition = Partition(name, START, self.count)
            partition.restore(meta[b"pos"].decode(), state)
            for text, fields in self.streams.pop(streams.events_key(name), []):
                arrived = int(text.partition(b"-")[0])
                settle(partition, arrived)
                partition.fold(text.decode(), fields, arrived)
            settle(partition, now)
            meta[b"pos"] = partition.position.encode()
            dead += partition._dead
            held = {field.decode(): value for field, value in state.items()}
            roster = {f.decode(): v for f, v in self.hashes.get(streams.peers_key(name), {}).items()}
            partials.append(commit(partition, held, roster, now))
            self.hashes[streams.state_key(name)] = {field.encode(): value for field, value in held.items()}
            self.hashes[streams.peers_key(name)] = {field.encode(): value for field, value in roster.items()}
        return partials, dead

    def roster(self) -> dict[bytes, bytes]:
        rows = (self.hashes.get(streams.peers_key(name), {}) for name in streams.live_partitions(self.count))
        return {peer: row for share in rows for peer, row in share.items()}


def told(partials: list[Partial], now: int) -> tuple[FederationSummary, MemorySummary]:
    """Both summaries, without the names of the partitions that they were made of."""
    federation = msgspec.structs.replace(summary_of(partials, now), partials={})
    memory = merge_memory({partial.partition: partial for partial in partials}, {}, "e", 1, now)
    return federation, msgspec.structs.replace(memory, partials={})


@settings(max_examples=60, deadline=None)
@given(histories(), histories(), st.sampled_from([1, 3, 16]), st.sampled_from([1, 5, 16]), st.booleans())
def test_what_is_shown_is_what_that_number_from_the_beginning_would_have_shown(
    history: list[tuple[int, Event]], later: list[tuple[int, Event]], before: int, after: int, consumed: bool
) -> None:
    offset = max([START, *(arrived for arrived, _ in history)]) - START
    moved, direct = Bus(before), Bus(after)
    for arrived, event in history:
        moved.publish(arrived, event)
        direct.publish(arrived, event)
    now = START + offset
    if consumed:
        assert told(moved.aggregate(now)[0], now) == told(direct.aggregate(now)[0], now)
    moved = moved.resharded(after, taken=now)
    assert moved.count == after
    for arrived, event in later:
        postponed = msgspec.structs.replace(event, ts=event.ts + offset)
        moved.publish(arrived + offset, postponed)
        direct.publish(arrived + offset, postponed)
    end = max([now, *(arrived + offset for arrived, _ in later)])
    assert told(moved.aggregate(end)[0], end) == told(direct.aggregate(end)[0], end)
    assert moved.roster() == direct.roster()


def fed(before: int, *events: Event) -> Bus:
    """A bus of `before` partitions on which `events` wait."""
    bus = Bus(before)
    for number, event in enumerate(events):
        bus.publish(START + number, event)
    return bus


def test_nodes_and_their_memory_move_with_them() -> None:
    events: list[Event] = []
    for number in range(20):
        node = f"node-{number}"
        events += [
            NodeSeen(node=node, ts=START, group="reasoning", since=START),
            ReasoningSession(node=node, ts=START, id=number, confidence=0.9, agent="a"),
        ]
    bus, direct = fed(16, *events), fed(3, *events)
    assert told(bus.aggregate(NOW)[0], NOW) == told(direct.aggregate(NOW)[0], NOW)
    memory = told(bus.resharded(3).aggregate(NOW)[0], NOW)[1]
    assert memory == told(direct.aggregate(NOW)[0], NOW)[1]
    assert memory.sessions_total == 20


def test_a_peer_that_never_was_heard_of_keeps_its_syncs() -> None:
    bus = fed(16, *(SyncIn(peer=f"p{number}", ts=START, ok=False) for number in range(10)))
    bus.aggregate(START + 100)
    bus = bus.resharded(5)
    for number in range(10):
        bus.publish(START + 200, Heartbeat(peer=f"p{number}", ts=START + 200, tier="core"))
    assert told(bus.aggregate(START + 300)[0], START + 300)[0].data_integrity == 0


def test_what_could_not_be_read_is_rejected_once_and_for_the_same_reason() -> None:
    bodies = [b"no json", b'[{"t":"heartbeat"},5,{"t":"heartbeat","peer":"a","ts":1}]', b"[" * 100_000]

    def with_rubbish() -> Bus:
        bus = Bus(16)
        for number in range(16):
            entries = [(b"%d-%d" % (START, n), {b"v": b"1", b"t": b"x", b"d": body}) for n, body in enumerate(bodies)]
            bus.streams[streams.events_key(str(number))] = entries
        return bus

    def letters(bus: Bus) -> list[tuple[str, str]]:
        found = [msgspec.json.decode(letter) for letter in bus.aggregate(NOW)[1]]
        return sorted((letter["reason"], letter["excerpt"]) for letter in found if "belongs" not in letter["reason"])

    assert letters(with_rubbish().resharded(5)) == letters(with_rubbish())


def test_rejected_input_that_was_not_consumed_is_told_once() -> None:
    bus = fed(16, *(Rejected(ts=START, collector=f"c{number}", reason="no") for number in range(40)))
    _, dead = bus.resharded(5).aggregate(NOW)
    assert len({msgspec.json.decode(letter)["rejected_by"] for letter in dead}) == len(dead) == 40


def test_the_events_of_a_peer_keep_their_order_and_their_times() -> None:
    bus = Bus(4)
    for number in range(200):
        bus.publish(START + number // 7, SyncOut(ts=START + number, sender=f"p{number % 9}", target="q"))
    moved = bus.resharded(3)
    for name in streams.live_partitions(3):
        entries = moved.streams[streams.events_key(name)]
        ids = [tuple(map(int, text.split(b"-"))) for text, _ in entries]
        events = [event for _, fields in entries for event in codec.decode_events(fields).events]
        assert ids == sorted(set(ids))
        assert [ms for ms, _ in ids] == [START + (event.ts - START) // 7 for event in events]
        for peer in {subject(event) for event in events}:
            times = [event.ts for event in events if subject(event) == peer]
            assert times == sorted(times)
        assert {partition_of(subject(event), 3) for event in events} == {name}


@pytest.mark.parametrize("text", [b"18446744073709551615-18446744073709551615", b"5-18446744073709551615"])
def test_an_id_that_leaves_none_after_it_is_not_kept(text: bytes) -> None:
    bus = Bus(2)
    for name in ("0", "1"):
        bus.streams[streams.events_key(name)] = [(text, entry(Rejected(ts=1, collector="c", reason=name)))]
    entries = [each for name in ("0",) for each in bus.resharded(1).streams[streams.events_key(name)]]
    ids = [tuple(map(int, each.split(b"-"))) for each, _ in entries]
    assert len(set(ids)) == 2
    assert max(ids) < (NOW + 2, 0)


def test_what_was_consumed_is_not_moved() -> None:
    bus = fed(1, *(Heartbeat(peer="a", ts=START + number) for number in range(10)))
    bus.hashes[streams.meta_key("0")] = {b"pos": f"{START + 6}-6".encode()}
    assert sum(map(len, bus.resharded(2).streams.values())) == 3


def test_what_was_not_gathered_is_gathered_from_partition_0() -> None:
    bus = Bus(2)
    for name in ("0", "1"):
        bus.streams[streams.feed_key(name)] = [
            (b"%d-1" % ms, {b"t": kind, b"d": name.encode()}) for ms in (5, 6, 7) for kind in (b"sync", b"memory", b"x")
        ]
        bus.streams[streams.dead_key(name)] = [(b"%d-1" % ms, {b"t": b"dead"}) for ms in (5, 6, 7)]
    for stream, up_to in ((streams.FEED_SYNC, b"6-1"), (streams.FEED_MEMORY, b"7-1"), (streams.DEAD, b"5-1")):
        noted = {b"from:0": up_to, b"from:1": up_to, b"from:sim": b"9-9", b"n": b"4"}
        bus.hashes[streams.writer_key(stream)] = noted
    # As a backup has it: the notes come before what they are about.
    bus.hashes = dict(sorted(bus.hashes.items(), key=lambda item: not item[0].startswith("{")))
    moved = bus.resharded(1)
    assert [(text, fields[b"t"]) for text, fields in moved.streams[streams.feed_key("0")]] == [
        (b"7-1", b"sync"),
        (b"7-2", b"sync"),
    ]
    assert [text for text, _ in moved.streams[streams.dead_key("0")]] == [b"6-1", b"6-2", b"7-1", b"7-2"]
    assert moved.hashes[streams.writer_key(streams.DEAD)] == {b"from:sim": b"9-9", b"n": b"4"}


def test_what_is_of_no_live_partition_stays_as_it_is() -> None:
    bus = Bus(2)
    for key in (streams.SOURCES, streams.FEED_SYNC, streams.events_key("sim"), streams.parked_key("sim")):
        bus.streams[key] = [(b"5-1", {b"v": b"9"})]
    for key in (streams.FEDERATION_PINS, streams.meta_key("sim"), streams.state_key("sim"), streams.cursors_key("sim")):
        bus.hashes[key] = {b"totals": b"rubbish"}
    moved = bus.resharded(7)
    assert (moved.hashes, moved.streams) == (bus.hashes, bus.streams)


def with_cursors(before: int, source: str, cursors: Mapping[str, bytes]) -> Bus:
    bus = Bus(before)
    for name, cursor in cursors.items():
        bus.hashes[streams.cursors_key(name)] = {source.encode(): cursor}
    return bus


def cursors_of(bus: Bus) -> dict[str, bytes]:
    return {
        name: cursor
        for name in streams.live_partitions(bus.count)
        for cursor in bus.hashes.get(streams.cursors_key(name), {}).values()
    }


@pytest.mark.parametrize("source", ["peers", "sync_events", "discovery:service:9001"])
def test_a_source_of_all_partitions_is_as_far_in_all_of_the_others(source: str) -> None:
    bus = with_cursors(4, source, dict.fromkeys(streams.live_partitions(4), b"7 x"))
    assert cursors_of(bus.resharded(6)) == dict.fromkeys(streams.live_partitions(6), b"7 x")


@pytest.mark.parametrize("before", [1, 4])
def test_the_cursor_of_a_node_moves_with_the_node(before: int) -> None:
    bus = with_cursors(before, "reasoning:n", {partition_of("n", before): b"7"})
    assert cursors_of(bus.resharded(6)) == {partition_of("n", 6): b"7"}


@pytest.mark.parametrize("cursors", [{"0": b"7"}, {"0": b"7", "1": b"8"}])
def test_a_source_that_was_cut_short_is_refused(cursors: dict[str, bytes]) -> None:
    with pytest.raises(PulseError, match=r"^a publication of sync_events was cut short: start the collectors once$"):
        with_cursors(2, "sync_events", cursors).resharded(6)


def test_who_wrote_a_cursor_does_not_matter() -> None:
    bus = with_cursors(2, "sync_events", {"0": b"7 a", "1": b"7 b"})
    assert set(cursors_of(bus.resharded(6)).values()) == {b"7 b"}


def test_digests_move_with_their_keys_and_tell_more_than_cursors() -> None:
    names = [*(f"p{number}".encode() for number in range(20)), b"\xff0123"]
    bus = with_cursors(4, "peers", {"0": b"7", "1": b"8"})
    for name in names:
        home = partition_of(name.decode("utf-8", "surrogateescape"), 4)
        bus.hashes.setdefault(streams.published_key(home, "peers"), {})[name] = b"digest"
    moved = bus.resharded(3)
    assert set(cursors_of(moved).values()) == {b"8"}
    for name in names:
        home = partition_of(name.decode("utf-8", "surrogateescape"), 3)
        assert moved.hashes[streams.published_key(home, "peers")][name] == b"digest"


def test_a_replay_that_was_cut_short_is_refused_and_a_finished_one_forgotten() -> None:
    bus = with_cursors(2, "dead", {"0": b"7-1", "1": b"6-1"})
    bus.streams[streams.DEAD] = [(b"8-1", {b"t": b"dead"})]
    assert cursors_of(bus.resharded(3)) == {}
    bus.streams[streams.DEAD] = [(b"7-1", {b"t": b"dead"})]
    with pytest.raises(PulseError, match=r"^a replay of dead letters was cut short: run `ark-pulse dead replay` once$"):
        bus.resharded(3)


def test_what_a_newer_release_wrote_is_refused() -> None:
    newer = {b"v": b"9", b"d": b"[]"}
    for key_of in (streams.parked_key, streams.events_key):
        bus = Bus(2)
        bus.streams[key_of("1")] = [(b"5-1", newer)]
        with pytest.raises(PulseError, match=r"^partition 1 holds entries of a newer release: upgrade first$"):
            bus.resharded(3)
    bus = Bus(2)
    bus.hashes[streams.state_key("1")] = {b"totals": b"[999,0]"}
    with pytest.raises(PulseError, match=r"^the state of partition 1 is of a newer release: upgrade first$"):
        bus.resharded(3)


@pytest.mark.parametrize("state", [{b"totals": b"no json"}, {b"rate:5": b"x"}])
def test_a_state_that_cannot_be_read_is_refused(state: dict[bytes, bytes]) -> None:
    bus = Bus(2)
    bus.hashes[streams.state_key("1")] = state
    with pytest.raises(PulseError, match=r"^the state of partition 1 cannot be read: "):
        bus.resharded(3)


def test_totals_begin_when_the_first_of_them_did_and_end_with_the_newest() -> None:
    bus = Bus(3)
    for name, totals in enumerate((b"[1,50,2,0,null,[1,2,3,4,null,5]]", b"[1,40,3,1,7,[1,1,1,1,9,1]]")):
        bus.hashes[streams.state_key(str(name))] = {b"totals": totals}
    state = bus.resharded(2).hashes
    assert state[streams.state_key("0")][b"totals"] == b"[1,40,5,1,7,[2,3,4,5,9,6]]"
    assert state[streams.state_key("1")][b"totals"] == b"[1,40,0,0,null,[0,0,0,0,null,0]]"


def test_the_rates_of_a_second_are_those_of_all_partitions() -> None:
    bus = fed(16, *(SyncOut(ts=START, sender=f"p{n}", target="q", bytes=60, ok=n < 10) for n in range(40)))
    bus.aggregate(START + 100)
    summary = told(bus.resharded(5).aggregate(START + 200)[0], START + 200)[0]
    assert (summary.sync_rate, summary.sync_bytes_rate, summary.sync_success_rate) == (40 / 60, 40, 25)
