"""What came last on one stream, kept so that clients who were away can go on.

Delivery: entries without a gap, from the oldest that is kept to the newest. Bound: bytes; the oldest go first.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.positions import EntryId, Position

__all__ = ["MAX_BYTES", "Backlog", "Kept"]

MAX_BYTES: Final = 8 << 20
"""Most bytes of bodies that are kept of one stream: of the feeds about all that there is."""


class Kept(NamedTuple):
    """One entry."""

    entry: EntryId
    # Its JSON, as it travelled.
    body: bytes


class Backlog:
    """The newest entries of one stream, all of one epoch."""

    def __init__(self, most_bytes: int = MAX_BYTES) -> None:
        self._most_bytes = most_bytes
        # Oldest first, without a gap.
        self._kept: list[Kept] = []
        # Of the bodies.
        self._bytes = 0
        # Of the entries; empty in a stream that has none.
        self._epoch = ""

    @property
    def top(self) -> Position | None:
        """The newest entry; None while there is none."""
        return Position(self._epoch, self._kept[-1].entry) if self._kept else None

    @property
    def oldest(self) -> EntryId | None:
        """The oldest entry that is kept; None while there is none."""
        return self._kept[0].entry if self._kept else None

    @property
    def has_room(self) -> bool:
        """Whether older entries may be put before the oldest."""
        return self._bytes < self._most_bytes

    def add(self, epoch: str, kept: Kept) -> None:
        """Take the newest entry. One that is not newer than the last is left out; a new epoch begins anew."""
        if epoch != self._epoch:
            self.clear()
            self._epoch = epoch
        if self._kept and kept.entry <= self._kept[-1].entry:
            return
        self._kept.append(kept)
        self._bytes += len(kept.body)
        leave = 0
        while self._bytes > self._most_bytes and leave < len(self._kept) - 1:
            self._bytes -= len(self._kept[leave].body)
            leave += 1
        del self._kept[:leave]

    def extend(self, older: Sequence[Kept]) -> None:
        """Put entries, oldest first, before the oldest: those that come directly before it."""
        self._kept[:0] = older
        self._bytes += sum(len(each.body) for each in older)

    def clear(self) -> None:
        """Forget everything: what comes next is not known to follow."""
        self._kept.clear()
        self._bytes = 0

    def find(self, position: Position) -> Kept | None:
        """The entry at a position; None if it is not kept."""
        index = self._after(position.entry) - 1
        if position.epoch != self._epoch or index < 0 or self._kept[index].entry != position.entry:
            return None
        return self._kept[index]

    def after(self, position: Position | None, until: Position | None) -> list[Kept] | None:
        """The entries after `position` (None: from the first) to `until`; None if they cannot be told."""
        if position is not None and self.find(position) is None:
            return None
        first = 0 if position is None else self._after(position.entry)
        return [] if until is None else self._kept[first : self._after(until.entry)]

    def newest(self, count: int, until: Position | None) -> list[Kept]:
        """The at most `count` newest entries to `until`, oldest first."""
        if until is None or until.epoch != self._epoch:
            return []
        last = self._after(until.entry)
        return self._kept[max(0, last - count) : last]

    def _after(self, entry: EntryId) -> int:
        """Index of the first that is newer than `entry`."""
        return bisect_right(self._kept, entry, key=lambda each: each.entry)
