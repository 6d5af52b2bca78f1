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
        # Changes that were noticed; how many of them came before this round began, and before the last complete one.
        self._changes = 1
        self._in_round = 1
        self._known = 0
        # When this round began, seconds.
        self._began_at = 0.0

    @property
    def pending(self) -> bool:
        """Whether something changed since the last complete round began."""
        return self._known != self._changes

    def note_change(self) -> None:
        """Some row may have changed."""
        self._changes += 1

    def begin(self, now: float) -> None:
        """Begin a round at `now` (seconds), from the first row."""
        self.next_rowid = FIRST_ROWID
        self._in_round = self._changes
        self._began_at = now

    def advance(self, last: int, now: float) -> None:
        """The rows up to the rowid `last` are known; `LAST_ROWID` ends the round."""
        if last < LAST_ROWID:
            self.next_rowid = last + 1
            return
        self.complete = True
        self.took_s = now - self._began_at
        self._known = self._in_round
        self.next_rowid = FIRST_ROWID
