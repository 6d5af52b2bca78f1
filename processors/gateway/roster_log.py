"""Which peers changed with which commit of one partition, so that clients who were away can go on.

Bound: ids; the oldest go first.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from schemas.positions import ZERO, EntryId

__all__ = ["MAX_IDS", "Changed", "RosterLog"]

MAX_IDS: Final = 40_000
"""Most ids that are kept of one partition: two minutes of 5,000 changes a second over 16 partitions."""


class Changed(NamedTuple):
    """What one commit changed."""

    entry: EntryId
    peers: tuple[str, ...]


class RosterLog:
    """The changes of one partition, of one epoch."""

    def __init__(self) -> None:
        # After this every change is kept.
        self.begin: EntryId = ZERO
        # Oldest first.
        self._changes: list[Changed] = []
        # Ids in all of them.
        self._ids = 0

    @property
    def has_room(self) -> bool:
        """Whether older changes may be put before the oldest."""
        return self._ids < MAX_IDS

    def restart(self, at: EntryId) -> None:
        """Nothing before `at` is known any more."""
        self.begin = at
        self._changes.clear()
        self._ids = 0

    def add(self, entry: EntryId, peers: Collection[str]) -> None:
        """Take the newest change."""
        self._changes.append(Changed(entry, tuple(peers)))
        self._ids += len(peers)
        leave = 0
        while self._ids > MAX_IDS and leave < len(self._changes):
            self._ids -= len(self._changes[leave].peers)
            self.begin = self._changes[leave].entry
            leave += 1
        del self._changes[:leave]

    def extend(self, begin: EntryId, older: Sequence[Changed]) -> None:
        """Put changes, oldest first, before the oldest: all there were after `begin`."""
        self.begin = begin
        self._changes[:0] = older
        self._ids += sum(len(each.peers) for each in older)

    def since(self, entry: EntryId) -> set[str] | None:
        """The peers that changed after `entry`; None if that cannot be told."""
        if entry < self.begin:
            return None
        first = bisect_right(self._changes, entry, key=lambda each: each.entry)
        return {peer for each in self._changes[first:] for peer in each.peers}
