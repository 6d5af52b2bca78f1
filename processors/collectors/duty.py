"""How much of a core reading may take, and how many rows are read at once.

Both measure what was done and decide what may be done next, so that neither depends on the machine or on the rows.
"""

from typing import Final

__all__ = ["ChunkSize", "Duty"]

_MOST_DEBT_S: Final = 0.5

_TARGET_S: Final = 0.003
_FIRST_ROWS: Final = 16
_MOST_ROWS: Final = 8_192


class Duty:
    """A bucket of working time: it fills with `share` of the time that passes, up to `burst_s`.

    Work may begin while something is in it, and may leave a debt, of at most half a second: what takes longer, because
    a machine stood still for one, is no reason to rest for minutes. Times are of one monotonic clock, seconds.
    """

    def __init__(self, share: float, burst_s: float) -> None:
        self._share = share
        self._burst_s = burst_s
        # What is left, negative for a debt, as of `_filled_at`; None before the first call.
        self._left_s = burst_s
        self._filled_at: float | None = None

    def wait_s(self, now: float) -> float:
        """Seconds until work may begin; 0 if it may now."""
        self._fill(now)
        return max(0.0, -self._left_s / self._share)

    def spend(self, now: float, seconds: float) -> None:
        """Note that work took `seconds`, and ended at `now`."""
        self._fill(now)
        self._left_s = max(-_MOST_DEBT_S, self._left_s - seconds)

    def _fill(self, now: float) -> None:
        passed_s = 0.0 if self._filled_at is None else max(0.0, now - self._filled_at)
        self._left_s = min(self._burst_s, self._left_s + self._share * passed_s)
        self._filled_at = now


class ChunkSize:
    """How many rows are read at once: as many as take about three milliseconds."""

    def __init__(self) -> None:
        # The next read's limit.
        self.rows = _FIRST_ROWS

    def took(self, seconds: float, rows: int) -> None:
        """A read of `rows` took `seconds`. One that ended before its limit says nothing of a longer one."""
        factor = max(0.5, min(2.0, _TARGET_S / max(seconds, 1e-6)))
        if rows >= self.rows or factor < 1:
            self.rows = max(min(_FIRST_ROWS, self.rows), min(_MOST_ROWS, int(self.rows * factor)))

    def failed(self) -> None:
        """A read was given up."""
        self.rows = max(1, self.rows // 2)
