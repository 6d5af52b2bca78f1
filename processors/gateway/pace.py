"""How often clients are told: soon after the first change, then a bounded number of times a second."""

from typing import Final

__all__ = ["GATHER_MS", "LEAST_GAP_MS", "Pacer"]

GATHER_MS: Final = 5
"""How long a first change waits, so that summary, roster and feed of one event go out together."""

LEAST_GAP_MS: Final = 100
"""Least time from one tick to the next: ten a second."""


class Pacer:
    """Says when the next tick is due. Every change is followed by a tick; ticks without a change do not occur.

    Times are ms of a clock that does not go back, not the bus's: that one may be set.
    """

    def __init__(self) -> None:
        # When the next tick is due; None while nothing has changed since the last.
        self._due: int | None = None
        # Before this no tick is due.
        self._rests_until = 0

    def note_change(self, now: int) -> None:
        """Something changed at `now`."""
        if self._due is None:
            self._due = max(now + GATHER_MS, self._rests_until)

    def take(self, now: int) -> bool:
        """Whether a tick is due at `now`; if so it counts as done."""
        if self._due is None or now < self._due:
            return False
        self._due = None
        self._rests_until = now + LEAST_GAP_MS
        return True

    def next_deadline(self) -> int | None:
        """When the next tick is due; None while nothing has changed."""
        return self._due
