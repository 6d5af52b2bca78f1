"""For any history, whoever was told what a channel says holds what a new client gets, and lost nothing unsaid."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.gateway import records, roster_log, rosters
from processors.gateway.backlog import Backlog, Kept
from processors.gateway.channel import Channel, Cursor, Shape
from processors.gateway.documents import PeerChannel, SourcesChannel, SummaryChannel
from processors.gateway.mesh import Mesh
from processors.gateway.records import RecordsChannel
from processors.gateway.rosters import RosterChannel
from processors.gateway.sources import Sources
from schemas import streams
from schemas.frames import Reset
from schemas.metrics import SOURCE_TIMEOUT_MS, FederationSummary
from schemas.positions import EntryId, decode_position
from tests.gateway.model import Held, NaiveClient
from tests.gateway.support import NOW, hold, row, source, summary


class Follower:
    """One client of one channel, led from cursor to cursor as a group leads it."""

    def __init__(self, channel: Channel, shape: Shape) -> None:
        self.channel = channel
        self.shape = shape
        self.client = NaiveClient()
        # Where it stands; None: it is away, or has nothing yet.
        self.cursor: Cursor | None = None

    @property
    def held(self) -> Held:
        return self.client[self.channel.name]

    def tick(self, now: int) -> None:
        """Be told everything up to now; one that was away comes back with its position first."""
        until = self.channel.cursor(now)
        frames: list[Any] = []
        if self.cursor is None and self.held.pos is not None:
            found = self.channel.locate(decode_position(self.held.pos))
            if isinstance(found, Cursor):
                self.cursor = found
            else:
                frames.append(Reset(channel=self.channel.name, reason=found.reason))
        if self.cursor is None:
            self.cursor = self.channel.base(until)
            frames += self.channel.whole(self.cursor, self.shape)
        if self.cursor is not until:
            frames += self.channel.changes(self.cursor, until, self.shape)
        self.client.take_all(frames)
        self.cursor = until

    def leave(self) -> None:
        self.cursor = None


def fresh(channel: Channel, shape: Shape, now: int) -> Held:
    """What a new client gets."""
    other = Follower(channel, shape)
    other.tick(now)
    return other.held


steps = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 5), st.integers(0, 5)), max_size=40)
every = st.booleans()


# Records.


class Feed:
    """A feed, and a plain list of all that ever came."""

    def __init__(self) -> None:
        self.backlog = Backlog(40)
        self.channel = RecordsChannel("sync", self.backlog, ("id",), 3)
        self.all: list[int] = []
        self.epoch = 1

    def add(self, count: int) -> None:
        for _ in range(count):
            n = len(self.all) + 1
            self.all.append(n)
            self.backlog.add(f"e{self.epoch}", Kept(EntryId(n, n), msgspec.json.encode({"id": n, "x": 1})))


def check_records(feed: Feed, held: Held) -> None:
    """What was told since the last snapshot is all there was, but for what was named as left out."""
    expected = len(feed.all)
    for each in reversed(held.data):
        if isinstance(each, dict):
            assert each["id"] == expected
            expected -= 1
        else:
            expected -= each


@given(steps, st.sampled_from([None, frozenset({"id"})]))
@settings(deadline=None)
def test_records_come_once_each_or_it_is_said_that_some_did_not(steps: Any, fields: frozenset[str] | None) -> None:
    feed = Feed()
    followers = [Follower(feed.channel, Shape(fields)) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "MAX_RECORDS", 4)
        patch.setattr(records, "MAX_PIECE", 2)
        for now, (kind, a, _) in enumerate(steps, 1):
            if kind < 6:
                feed.add(a)
            elif kind == 6:
                feed.epoch += 1
                feed.add(a)
            elif kind == 7:
                feed.backlog.clear()
            elif kind < 10:
                followers[a % 2].leave()
            else:
                followers[a % 2].tick(now)
        if feed.backlog.top is not None:
            for follower in followers:
                follower.tick(len(steps) + 1)
                check_records(feed, follower.held)
                assert follower.held.pos == feed.channel.cursor(0).pos


def test_more_records_than_are_told_at_once_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORDS", 3)
    feed = Feed()
    feed.add(1)
    follower = Follower(feed.channel, Shape())
    follower.tick(1)
    feed.backlog = feed.channel._backlog = Backlog()
    feed.add(0)
    for n in range(1, 9):
        feed.backlog.add("e1", Kept(EntryId(n, n), msgspec.json.encode({"id": n})))
    follower.tick(2)
    assert [each if isinstance(each, int) else each["id"] for each in follower.held.data] == [1, 4, 6, 7, 8]


# Summaries.


class Summaries:
    """A half whose summaries come with any fields, and whose collectors fall silent and speak again."""

    def __init__(self) -> None:
        self.sources = Sources()
        self.mesh = Mesh(2, self.sources)
        self.channel = SummaryChannel(self.mesh, FederationSummary.__struct_fields__)
        self.now, self.n, self.epoch = NOW, 0, 1

    def step(self, kind: int, a: int, b: int) -> None:
        self.now += 1
        if kind < 6:
            self.n += 1
            values: dict[str, Any] = {"network_health": float(a)} if a else {}
            values |= {"total_peers": b} if b % 2 else {}
            origin: Any = ("live", "stale", "simulated")[a % 3]
            made = summary(origin, "live", n=self.n, ts=self.now, epoch=f"e{self.epoch}", **values)
            hold(self.mesh, made)
        elif kind == 6:
            self.epoch += 1
        elif kind == 7:
            self.mesh.doubt()
        elif kind == 8:
            self.sources.hear(self.now, source(("peers", "sync")[a % 2]))
        elif kind == 9:
            self.now += SOURCE_TIMEOUT_MS // 2
        else:
            self.mesh.backlog.clear()


@given(steps, steps, st.sampled_from([None, frozenset({"network_health"}), frozenset({"peers", "total_peers"})]), every)
@settings(deadline=None)
def test_a_summary_is_what_a_new_client_gets(
    steps: Any, moments: Any, fields: frozenset[str] | None, every: bool
) -> None:
    half = Summaries()
    follower = Follower(half.channel, Shape(fields, every))
    for (kind, a, b), (what, _, _) in zip(steps, moments, strict=False):
        half.step(kind, a, b)
        if what < 2:
            follower.leave()
        elif what < 6:
            follower.tick(half.now)
    follower.tick(half.now)
    expected = fresh(half.channel, follower.shape, half.now)
    assert follower.held.data == expected.data
    assert (follower.held.source, follower.held.as_of) == (expected.source, expected.as_of)


def test_every_change_of_a_summary_is_told_to_who_wants_it() -> None:
    half = Summaries()
    half.step(0, 1, 1)
    all_of_them, newest = (Follower(half.channel, Shape(every=each)) for each in (True, False))
    for follower in (all_of_them, newest):
        follower.tick(half.now)
    for value in (2, 3, 4):
        half.step(0, value, 1)
    for follower in (all_of_them, newest):
        follower.tick(half.now)
    assert (all_of_them.held.frames, newest.held.frames) == (4, 2)
    assert all_of_them.held.data == newest.held.data


def test_a_client_that_comes_back_to_where_it_was_is_told_the_position_only() -> None:
    half = Summaries()
    half.step(0, 3, 1)
    follower = Follower(half.channel, Shape(frozenset({"network_health"})))
    for _ in range(2):
        follower.tick(half.now)
        follower.leave()
    assert (follower.held.frames, follower.held.resets) == (2, [])


# Rosters.


class Rosters:
    """Two partitions of the live world and the simulated one, that change, are wiped, and are read again."""

    PARTITIONS: ClassVar = ("0", "1", streams.SIMULATED)

    def __init__(self) -> None:
        self.mesh = Mesh(2, Sources())
        self.channel = RosterChannel(self.mesh)
        self.now, self.n = NOW, 0
        self.epochs = dict.fromkeys(self.PARTITIONS, 1)
        # Whole truth, by partition.
        self.rows: dict[str, dict[str, Any]] = {partition: {} for partition in self.PARTITIONS}

    def entry(self) -> EntryId:
        self.n += 1
        self.now += 1
        return EntryId(self.now, self.n)

    def change(self, partition: str, peer: str, b: int) -> None:
        world, entry = self.mesh.world_of(partition), self.entry()
        values: dict[str, Any] = {"data_shared": self.n} | ({"hostname": "h"} if b % 2 else {})
        change = {peer: None if b > 3 else row(peer, **values)}
        rows = self.rows[partition]
        rows |= change
        self.rows[partition] = {name: each for name, each in rows.items() if each is not None}
        held = world.rosters[partition].held
        if not world.apply(partition, entry, f"e{self.epochs[partition]}", held, change):
            self.load(partition, entry)

    def load(self, partition: str, entry: EntryId) -> None:
        world = self.mesh.world_of(partition)
        world.load(partition, f"e{self.epochs[partition]}", entry, self.rows[partition])

    def step(self, kind: int, a: int, b: int) -> None:
        partition = self.PARTITIONS[a % 3]
        if kind < 7:
            self.change(partition, f"{partition}-{b % 4}-{kind % 3}", b)
        elif kind == 7:
            self.rows[partition].pop(f"{partition}-{b % 4}-0", None)
            self.load(partition, self.entry())
        elif kind == 8:
            self.epochs[partition] += 1
            self.load(partition, self.entry())
        elif kind == 9:
            origin: Any = ("live", "simulated")[b % 2]
            self.entry()
            hold(self.mesh, summary(origin, ts=self.now, n=self.n))
        elif kind == 10:
            self.epochs[partition] += 1
            self.mesh.world_of(partition).load(partition, None, EntryId(0, 0), {})
        else:
            self.now += 1_500


@pytest.fixture(scope="module")
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rosters, "PIECE", 2)
        patch.setattr(roster_log, "MAX_IDS", 6)
        yield


fields_of_rows = st.sampled_from([None, frozenset({"status", "hostname"})])


def run(world: Any, steps: Any, moments: Any, follower: Follower) -> None:
    for (kind, a, b), (what, _, _) in zip(steps, moments, strict=False):
        world.step(kind, a, b)
        if what < 2:
            follower.leave()
        elif what < 6:
            follower.tick(world.now)
    follower.tick(world.now)


@pytest.mark.usefixtures("small_pieces")
@given(steps, steps, fields_of_rows)
# A partition that had nothing yet, then rows, then was wiped: they stay, and are told to who comes back.
@example([(0, 0, 0), (0, 1, 0), (10, 1, 0)], [(2, 0, 0), (0, 0, 0), (0, 0, 0)], None)
@settings(deadline=None)
def test_a_roster_is_what_a_new_client_gets(steps: Any, moments: Any, fields: frozenset[str] | None) -> None:
    world = Rosters()
    follower = Follower(world.channel, Shape(fields))
    run(world, steps, moments, follower)
    assert follower.held.data == fresh(world.channel, follower.shape, world.now).data
    assert set(follower.held.data) == {each.id for each in world.mesh.shown.rows()}


@pytest.mark.usefixtures("small_pieces")
@given(steps, steps)
@settings(deadline=None)
def test_a_peer_is_what_a_new_client_gets(steps: Any, moments: Any) -> None:
    world = Rosters()
    follower = Follower(PeerChannel(world.mesh, "0-1-0"), Shape())
    run(world, steps, moments, follower)
    assert follower.held.data == fresh(follower.channel, Shape(), world.now).data


@pytest.mark.usefixtures("small_pieces")
@given(steps, steps)
@settings(deadline=None)
def test_a_snapshot_that_is_sent_while_the_roster_changes_is_mended(before: Any, during: Any) -> None:
    world = Rosters()
    for step in before:
        world.step(*step)
    client, shape = NaiveClient(), Shape()
    begin = world.channel.cursor(world.now)
    # A step between any two pieces, both of the snapshot and of what mends it.
    left = iter(during)

    def between(frames: Any) -> None:
        for frame in frames:
            client.take_all([frame])
            if (step := next(left, None)) is not None:
                world.step(*step)

    between(world.channel.whole(begin, shape))
    until = world.channel.cursor(world.now)
    between(world.channel.changes(begin, until, shape))
    client.take_all(world.channel.changes(until, world.channel.cursor(world.now), shape))
    assert client["peers"].data == fresh(world.channel, shape, world.now).data


# Sources.


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 12_000))), st.lists(st.booleans()))
def test_the_sources_are_what_a_new_client_gets(words: Any, moments: Any) -> None:
    sources = Sources()
    channel = SourcesChannel(sources)
    follower, now = Follower(channel, Shape()), NOW
    for (number, is_known, pause), is_told in zip(words, moments, strict=False):
        now += pause
        reason: dict[str, Any] = {"reason": "because"} if is_known else {}
        sources.hear(now, source("peers", collector=f"c{number}", **reason))
        if is_told:
            follower.tick(now)
    now += SOURCE_TIMEOUT_MS // 2
    follower.tick(now)
    assert follower.held.data == fresh(channel, Shape(), now).data
    assert all(each["silent"] == (now - each["heard_at"] >= SOURCE_TIMEOUT_MS) for each in follower.held.data.values())


@pytest.mark.parametrize("make", [RosterChannel, lambda mesh: PeerChannel(mesh, "a")], ids=["peers", "peer:a"])
def test_another_groups_silence_is_no_deadline_of_a_roster(make: Callable[[Mesh], Channel]) -> None:
    sources = Sources()
    mesh = Mesh(2, sources)
    sources.hear(NOW, source("peers"))
    sources.hear(NOW - 10_000, source("sync"))
    hold(mesh, summary())
    channel = make(mesh)
    deadline = channel.next_deadline(channel.cursor(NOW))
    assert deadline == NOW + SOURCE_TIMEOUT_MS
    assert channel.next_deadline(channel.cursor(deadline)) is None
