"""The sweep: reading a table by its rowids, round and round while it changes, chunk by chunk."""

from typing import Final

__all__ = ["FIRST_ROWID", "LAST_ROWID", "Sweep"]

FIRST_ROWID: Final = -(2**63)
LAST_ROWID: Final = 2**63 - 1


class Sweep:
    """Where the sweep of one table stands. What was changed before a round began is known when it ends."""

    def __init__(self) -> None:
        # Where the round goes on.
        self.next_rowid = FIRST_ROWID
        # Whether a round has ended: before, the table is not known.
        self.complete = False
        # How long the last complete round took, seconds.
        self.took_s = 0.0
        # Whether something changed since the last complete round began, and since this round did.
        self.pending = True
        self._changed = False
        # When this round began, seconds.
        self._began_at = 0.0

    def note_change(self) -> None:
        """Some row may have changed."""
        self.pending = self._changed = True

    def begin(self, now: float) -> None:
        """Begin a round at `now` (seconds), from the first row."""
        self.next_rowid = FIRST_ROWID
        self._changed = False
        self._began_at = now

    def advance(self, last: int, now: float) -> None:
        """The rows up to the rowid `last` are known; `LAST_ROWID` ends the round."""
        if last < LAST_ROWID:
            self.next_rowid = last + 1
            return
        self.complete = True
        self.took_s = now - self._began_at
        self.pending = self._changed
        self.next_rowid = FIRST_ROWID
