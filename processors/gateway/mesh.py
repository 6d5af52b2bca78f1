"""The federation half as the gateway follows it: its summary, and both worlds' rosters and syncs.

The live and the simulated world are kept apart, and one of them is shown: never a mixture.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from processors.gateway.half import Half
from processors.gateway.roster import RecentPeers, Roster
from processors.gateway.sources import Sources
from schemas import streams
from schemas.legacy import MAX_LEGACY_PEERS
from schemas.metrics import FederationSummary, PeerRow, RosterChange, SyncRecord
from schemas.positions import EntryId

__all__ = ["MAX_FRESH_SYNCS", "MAX_SYNCS", "Mesh", "World"]

MAX_SYNCS: Final = 50
"""Most recent syncs that are kept of a world."""

MAX_FRESH_SYNCS: Final = 10
"""Most syncs that are announced one by one in one tick: the newest."""


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

    def row(self, peer: str) -> PeerRow | None:
        """The row of one peer; None if it is not in the roster."""
        for roster in self.rosters.values():
            if (row := roster.rows.get(peer)) is not None:
                return row
        return None

    def changed_since(self, held: Sequence[EntryId]) -> set[str] | None:
        """The peers that changed after a change of each partition; None if that cannot be told."""
        parts = [roster.changed_since(entry) for entry, roster in zip(held, self.rosters.values(), strict=True)]
        known = [part for part in parts if part is not None]
        return set().union(*known) if len(known) == len(parts) else None

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


class Mesh(Half[FederationSummary]):
    """The federation mesh."""

    def __init__(self, partitions: int, sources: Sources) -> None:
        super().__init__("federation", FederationSummary, ("peers", "sync"), sources)
        self.live = World(streams.live_partitions(partitions))
        self.simulated = World([streams.SIMULATED])

    def feeding(self, group: str) -> tuple[str, ...]:
        """The groups of the sources that one of ours may come from."""
        return ("peers", "discovery") if group == "peers" else super().feeding(group)

    @property
    def shown(self) -> World:
        """The world that the newest summary is about."""
        simulated = self.summary is not None and self.summary.peers.source == "simulated"
        return self.simulated if simulated else self.live

    def row(self, peer: str) -> PeerRow | None:
        """The row of one peer of the world that is shown."""
        return self.shown.row(peer)

    def world_of(self, partition: str) -> World:
        """The world that a partition belongs to."""
        return self.simulated if partition == streams.SIMULATED else self.live

    def add_sync(self, entry: EntryId, record: SyncRecord, *, fresh: bool) -> None:
        """Take one sync of the feed, into the world it names."""
        world = self.simulated if record.source == "simulated" else self.live
        world.add_sync(entry, record, fresh=fresh)
