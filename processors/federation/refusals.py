"""What was refused, counted for the log: a line at the first, then at most one a minute, however many come."""

from typing import Final

__all__ = ["QUIET_MS", "Refusals"]

QUIET_MS: Final = 60_000
"""Least time between two lines, ms."""


class Refusals:
    """Counts by status since the last line, each with the newest clause."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, str]] = {}
        # When the last line was given, ms.
        self._told = -QUIET_MS

    def add(self, status: int, clause: str, now: int) -> str | None:
        """Count one refusal at `now` (ms, any clock that does not go back); returns the line that is due, if any."""
        self._counts[status] = self._counts.get(status, (0, ""))[0] + 1, clause
        if now - self._told < QUIET_MS:
            return None
        self._told = now
        line = ", ".join(f"{count} with {status} ({last})" for status, (count, last) in sorted(self._counts.items()))
        self._counts.clear()
        return line
