"""How often clients are told: soon after the first change, then a bounded number of times a second."""

from typing import Final

__all__ = ["GATHER_MS", "QUIET_MS", "Pacer"]

GATHER_MS: Final = 5
"""How long a first change waits, so that summary, roster and feed of one event go out together."""

QUIET_MS: Final = 7_000
"""How long a change may wait that only says that all is as it was."""

# Clients that ask for fewer frames do not mind.
_PROMPT_GAP_MS: Final = 100

# A day, for who asks for a frame a year: no timer, and no number, goes so far.
_LONGEST_GAP_MS: Final = 86_400_000


class Pacer:
    """Says when the next tick is due, at most `rate` times a second (0: at every change, and at once).

    Every change is followed by a tick; ticks without a change do not occur. Times are ms of a clock that does not go
    back, not the bus's: that one may be set.
    """

    def __init__(self, rate: float, now: int) -> None:
        self._gather_ms = GATHER_MS if rate else 0
        self._least_gap_ms = round(min(1_000 / rate, _LONGEST_GAP_MS)) if rate else 0
        # When the next tick is due; None while nothing has changed since the last.
        self._due: int | None = None
        # Before this no tick is due.
        self._rests_until = 0
        # When something was told last; those who were there at the beginning know all.
        self._told_at = now
        # Whether the last tick was put off, and nothing has changed since.
        self._waits = False

    @property
    def is_prompt(self) -> bool:
        """Whether the tick that is due tells as soon as it may what has just changed, ten times a second or more."""
        return not self._waits and self._least_gap_ms <= _PROMPT_GAP_MS

    def note_change(self, now: int) -> bool:
        """Something changed at `now`. Returns whether the next tick is due earlier than it was."""
        self._waits = False
        due = max(now + self._gather_ms, self._rests_until)
        if self._due is not None and self._due <= due:
            return False
        self._due = due
        return True

    def take(self, now: int) -> bool:
        """Whether a tick is due at `now`; if so it counts as done, unless it is put off."""
        if self._due is None or now < self._due:
            return False
        self._due = None
        self._rests_until = now + self._least_gap_ms
        return True

    def note_told(self, now: int) -> None:
        """Clients were told something at `now`."""
        self._told_at = now

    def put_off(self, now: int) -> bool:
        """Whether a tick that has only quiet changes may wait at `now`; if so it is due later."""
        if now >= self._told_at + QUIET_MS or not self._least_gap_ms:
            return False
        self._due = self._told_at + QUIET_MS
        self._waits = True
        return True

    def next_deadline(self) -> int | None:
        """When the next tick is due; None while nothing has changed."""
        return self._due
