"""Rosters as the gateway follows them: one partition's rows, and the most recently seen peers of a world.

Delivery: whole rows, so that repeats are harmless; a gap is found by the id of the previous change that each change
names. Ordering: as committed, per partition.
"""

import heapq
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from processors.gateway.roster_log import RosterLog
from schemas.metrics import PeerRow, RosterChange
from schemas.positions import ZERO, EntryId

__all__ = ["RecentPeers", "Roster"]

_RecencyKey: TypeAlias = tuple[int, str]


class Roster:
    """One partition's roster, and how far its changes were read."""

    def __init__(self) -> None:
        # Peer id to row, as of the change `held`.
        self.rows: dict[str, PeerRow] = {}
        # Epoch of the partition; None while it has none.
        self.epoch: str | None = None
        # Names rows that stayed when their partition was wiped: nothing follows them. None while there are none.
        self._left: str | None = None
        # Newest change that is contained in the rows.
        self.held: EntryId = ZERO
        # Where the changes are read on. Beyond `held` after an entry of another epoch was passed over.
        self.read_after: EntryId = ZERO
        # What changed up to then.
        self.log = RosterLog()
        # Whether the hash has to be read (again) before the changes are followed.
        self.must_read = True
        # The entry that could not be applied; the next reading of the hash is newer than it.
        self._passed_over: EntryId = ZERO
        # What the partition's meta said at the last check: the next check must find it held.
        self._expected: EntryId = ZERO

    @property
    def lineage(self) -> str | None:
        """Of which epoch the rows are, and whether they are only left of it; None while there never was one."""
        return self.epoch if self.epoch is not None else self._left

    def load(self, epoch: str | None, changes_id: EntryId, rows: Mapping[str, PeerRow]) -> None:
        """Take the whole hash, read after the meta that named `epoch` and `changes_id`.

        A partition without an epoch was wiped: its last rows stay, like the summary that goes with them, until it is
        rebuilt.
        """
        self._log_loaded(epoch, changes_id, rows)
        if epoch is not None:
            self.rows = dict(rows)
            self._left = f"{epoch} left"
        self.epoch = epoch
        self.held = changes_id
        # The hash was read after the entry that made us read it, so it is not needed any more, whatever its epoch.
        self.read_after = max(changes_id, self._passed_over)
        self.must_read = False
        self._passed_over = ZERO
        self._expected = ZERO

    def _log_loaded(self, epoch: str | None, changes_id: EntryId, rows: Mapping[str, PeerRow]) -> None:
        if epoch != self.epoch or changes_id < self.held:
            self.log.restart(changes_id)
        elif changes_id > self.held:
            names = self.rows.keys() | rows.keys()
            self.log.add(changes_id, [peer for peer in names if self.rows.get(peer) != rows.get(peer)])

    def apply(self, entry: EntryId, epoch: str, previous: EntryId, change: RosterChange) -> bool:
        """Apply one change. False: there is a gap before it, or it is of another epoch; the hash must be read again."""
        if self.must_read:
            return False
        if epoch != self.epoch or previous > self.held:
            self.pass_over(entry)
            return False
        for peer, row in change.items():
            if row is None:
                self.rows.pop(peer, None)
            else:
                self.rows[peer] = row
        self.log.add(entry, change)
        self.held = self.read_after = entry
        return True

    def changed_since(self, entry: EntryId) -> set[str] | None:
        """The peers that changed after `entry`; None if that cannot be told."""
        return None if entry > self.held else self.log.since(entry)

    def pass_over(self, entry: EntryId) -> None:
        """An entry could not be applied: have the hash read again."""
        self.must_read = True
        self._passed_over = max(self._passed_over, entry)

    def check(self, epoch: str | None, changes_id: EntryId) -> None:
        """Compare with the partition's meta, every few seconds: a wiped stream is silent for ever.

        A change that is newer than ours may still be on its way; it is missed if it is not held at the next check.
        """
        if epoch != self.epoch or changes_id < self.held or self.held < self._expected:
            self.must_read = True
        self._expected = changes_id


class RecentPeers:
    """The most recently seen peers of a world, kept while rows change.

    Choosing 500 of 100,000 rows takes tens of milliseconds, ten times a second. So candidates are kept: every row
    that is more recent than `_cutoff` is among them, and only when too few of them are left all rows are looked at.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._candidates: dict[str, PeerRow] = {}
        # Key of the most recent row that is no candidate; None if there is none.
        self._cutoff: _RecencyKey | None = None
        # Whether rows changed in a way that only looking at all of them can answer.
        self._unknown = False

    def note(self, change: RosterChange) -> None:
        """Take note of changed rows."""
        for peer, row in change.items():
            if row is None or (self._cutoff is not None and _key(row) <= self._cutoff):
                self._candidates.pop(peer, None)
            else:
                self._candidates[peer] = row

    def forget(self) -> None:
        """Rows were replaced: look at all of them at the next choice."""
        self._unknown = True

    def choose(self, rosters: Iterable[Roster]) -> list[PeerRow]:
        """The most recently seen rows of `rosters`, the newest first, ties by id."""
        too_few = len(self._candidates) < self._size and self._cutoff is not None
        if self._unknown or too_few:
            rows = (row for roster in rosters for row in roster.rows.values())
            self._keep(heapq.nlargest(2 * self._size + 1, rows, key=_key), whole=True)
        elif len(self._candidates) > 4 * self._size:
            self._keep(sorted(self._candidates.values(), key=_key, reverse=True), whole=False)
        return heapq.nlargest(self._size, self._candidates.values(), key=_key)

    def _keep(self, ordered: list[PeerRow], *, whole: bool) -> None:
        kept, left_out = ordered[: 2 * self._size], ordered[2 * self._size :]
        if left_out:
            self._cutoff = _key(left_out[0])
        elif whole:
            self._cutoff = None
        self._candidates = {row.id: row for row in kept}
        self._unknown = False


def _key(row: PeerRow) -> _RecencyKey:
    return row.last_seen, row.id
