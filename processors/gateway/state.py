"""What the gateway knows of the mesh: the newest summary, both worlds' rosters and syncs, and who was heard of.

The live and the simulated world are kept apart, and one of them is shown: never a mixture.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from processors.gateway.roster import RecentPeers, Roster
from schemas import streams
from schemas.frames import MAX_LEGACY_PEERS
from schemas.metrics import (
    MAX_SOURCES,
    SOURCE_TIMEOUT_MS,
    FederationSummary,
    GroupState,
    Origin,
    PeerRow,
    RosterChange,
    SourceState,
    SyncRecord,
    worst,
)
from schemas.positions import EntryId

__all__ = ["MAX_FRESH_SYNCS", "MAX_SYNCS", "Group", "HeardSource", "Mesh", "View", "World"]

MAX_SYNCS: Final = 50
"""Most recent syncs that are kept of a world."""

MAX_FRESH_SYNCS: Final = 10
"""Most syncs that are announced one by one in one tick: the newest."""

Group: TypeAlias = Literal["peers", "sync"]


class World:
    """One world: its rosters by partition, and its syncs."""

    def __init__(self, partitions: Sequence[str]) -> None:
        self.rosters = {partition: Roster() for partition in partitions}
        self._recent = RecentPeers(MAX_LEGACY_PEERS)
        # Newest syncs with their entries' ids, oldest first; overflow drops the oldest.
        self._syncs: deque[tuple[EntryId, SyncRecord]] = deque(maxlen=MAX_SYNCS)
        # Syncs that came since the last tick; overflow drops the oldest.
        self._fresh: deque[SyncRecord] = deque(maxlen=MAX_FRESH_SYNCS)

    @property
    def total(self) -> int:
        """Number of peers in the roster."""
        return sum(len(roster.rows) for roster in self.rosters.values())

    def rows(self) -> list[PeerRow]:
        """All rows, in no particular order."""
        return [row for roster in self.rosters.values() for row in roster.rows.values()]

    def recent(self) -> list[PeerRow]:
        """The at most 500 most recently seen rows, the newest first."""
        return self._recent.choose(self.rosters.values())

    def syncs(self) -> list[SyncRecord]:
        """The newest syncs by their own time, oldest first."""
        return sorted((record for _, record in self._syncs), key=lambda record: record.ts)

    def load(self, partition: str, epoch: str | None, changes_id: EntryId, rows: dict[str, PeerRow]) -> None:
        """Take a partition's whole roster; see `Roster.load`."""
        self.rosters[partition].load(epoch, changes_id, rows)
        self._recent.forget()

    def apply(self, partition: str, entry: EntryId, epoch: str, previous: EntryId, change: RosterChange) -> bool:
        """Apply one roster change; see `Roster.apply`."""
        applied = self.rosters[partition].apply(entry, epoch, previous, change)
        if applied:
            self._recent.note(change)
        return applied

    def add_sync(self, entry: EntryId, record: SyncRecord, *, fresh: bool) -> None:
        """Take one sync of the feed; `fresh` ones are announced one by one. A repeated one is left out."""
        if any(entry == held for held, _ in self._syncs):
            return
        self._syncs.append((entry, record))
        if fresh:
            self._fresh.append(record)

    def take_fresh(self) -> list[SyncRecord]:
        """The syncs that came since the last call, oldest first."""
        fresh = list(self._fresh)
        self._fresh.clear()
        return fresh


@dataclass(frozen=True, slots=True)
class HeardSource:
    """A collector's last word, and when the bus got it (ms)."""

    state: SourceState
    heard_at: int


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment, with the gateway's own doubts applied."""

    # None until the first summary was read.
    summary: FederationSummary | None
    # Whether a group that called itself live is shown as stale, because nothing more is heard.
    doubted: bool
    world: World

    @property
    def source(self) -> Origin:
        """Worst of the groups; stale while nothing is known."""
        return "stale" if self.summary is None else self.summary.source


class Mesh:
    """Everything that is known of the mesh. Times are ms of the bus's clock."""

    def __init__(self, partitions: int) -> None:
        self.live = World(streams.live_partitions(partitions))
        self.simulated = World([streams.SIMULATED])
        # Newest summary as it was written; None until the first.
        self._summary: FederationSummary | None = None
        # Whether it is the newest of a bus that answers; False once the bus is lost or was wiped.
        self._current = False
        # Whether the bus answered the last time it was asked.
        self.bus_answers = False
        self._sources: dict[tuple[str, str], HeardSource] = {}

    @property
    def summary(self) -> FederationSummary | None:
        """The newest summary as it was written."""
        return self._summary

    @property
    def sources(self) -> list[HeardSource]:
        """What the collectors said last, by node and collector."""
        return [self._sources[key] for key in sorted(self._sources)]

    def world_of(self, partition: str) -> World:
        """The world that a partition belongs to."""
        return self.simulated if partition == streams.SIMULATED else self.live

    def hold(self, summary: FederationSummary) -> None:
        """Take the newest summary."""
        self._summary = summary
        self._current = True

    def doubt(self) -> None:
        """The bus was lost, or does not hold our summary any more: what was live is stale from now on.

        What the collectors said is forgotten too: they have to be heard again.
        """
        self._current = False
        self._sources.clear()

    def hear(self, heard_at: int, state: SourceState) -> None:
        """Take a collector's word, which the bus got at `heard_at`."""
        key = (state.node, state.collector)
        known = self._sources.get(key)
        if known is None or known.heard_at <= heard_at:
            self._sources[key] = HeardSource(state, heard_at)
        if len(self._sources) > MAX_SOURCES:
            del self._sources[min(self._sources, key=lambda each: self._sources[each].heard_at)]

    def add_sync(self, entry: EntryId, record: SyncRecord, *, fresh: bool) -> None:
        """Take one sync of the feed, into the world it names."""
        world = self.simulated if record.source == "simulated" else self.live
        world.add_sync(entry, record, fresh=fresh)

    def view(self, now: int) -> View:
        """What is to be shown at `now`."""
        summary = self._summary
        if summary is None:
            return View(None, doubted=False, world=self.live)
        world = self.simulated if summary.peers.source == "simulated" else self.live
        peers = self._aged("peers", summary.peers, now)
        sync = self._aged("sync", summary.sync, now)
        if peers is summary.peers and sync is summary.sync:
            return View(summary, doubted=False, world=world)
        source = worst(summary.source, peers.source, sync.source)
        aged = msgspec.structs.replace(summary, peers=peers, sync=sync, source=source)
        return View(aged, doubted=True, world=world)

    def next_deadline(self, told_at: int) -> int | None:
        """When time alone changes the view that was right at `told_at`; None if only news can change it."""
        if self._summary is None or not self._current:
            return None
        groups: dict[Group, GroupState] = {"peers": self._summary.peers, "sync": self._summary.sync}
        deadlines = [self._deadline(name) for name, state in groups.items() if state.source == "live"]
        return min((each for each in deadlines if each > told_at), default=None)

    def _aged(self, group: Group, state: GroupState, now: int) -> GroupState:
        """`state`, or a stale one with the same `as_of` if it was live and its collectors have fallen silent."""
        if state.source != "live" or (self._current and now < self._deadline(group)):
            return state
        return GroupState(source="stale", as_of=state.as_of)

    def _deadline(self, group: Group) -> int:
        """When a live group becomes stale: none of its collectors, or no aggregator, was heard of for too long.

        Aggregators write a summary at every heartbeat of a collector. Without the second half, values that nobody
        counts any more would be called live as long as the collectors run.
        """
        assert self._summary is not None, "there is a group to become stale"
        heard = (each.heard_at for each in self._sources.values() if each.state.group == group)
        return min(max(heard, default=-SOURCE_TIMEOUT_MS), self._summary.ts) + SOURCE_TIMEOUT_MS
