"""When a process that ended is started again: pure, told the time, asked for its next deadline."""

from collections.abc import Iterable
from typing import Final

__all__ = ["FIRST_DELAY_MS", "GOOD_RUN_MS", "LONGEST_DELAY_MS", "Restarts"]

FIRST_DELAY_MS: Final = 100
"""Wait after the first end: a worker that was killed is back at once."""

LONGEST_DELAY_MS: Final = 10_000
"""Wait after many ends in a row: one that cannot start costs next to nothing, and is back soon once it can."""

GOOD_RUN_MS: Final = 30_000
"""A process that ran this long has not failed to start: its delay begins anew."""


class Restarts:
    """The times at which programs are due to be started.

    A program that ends is due again after a delay that doubles from `FIRST_DELAY_MS` to `LONGEST_DELAY_MS`, and
    begins anew after a good run. Times are milliseconds of any clock that never goes back.
    """

    def __init__(self, names: Iterable[str], now: int) -> None:
        # When a program that does not run is to be started; absent while it runs.
        self._due = dict.fromkeys(names, now)
        # When a running program was started.
        self._started: dict[str, int] = {}
        # Delay after the latest end of a program; absent before the first and after a good run.
        self._delays: dict[str, int] = {}

    def due(self, now: int) -> list[str]:
        """The programs to be started now, in the order in which they were named or ended."""
        return [name for name, moment in self._due.items() if moment <= now]

    def started(self, name: str, now: int) -> None:
        """Take note that `name` runs."""
        del self._due[name]
        self._started[name] = now

    def ended(self, name: str, now: int) -> int:
        """Take note that `name` ended, or could not be started. Returns the delay until it is due, in ms."""
        started = self._started.pop(name, None)
        if started is not None and now - started >= GOOD_RUN_MS:
            self._delays.pop(name, None)
        delay = min(2 * self._delays[name], LONGEST_DELAY_MS) if name in self._delays else FIRST_DELAY_MS
        self._delays[name] = delay
        self._due[name] = now + delay
        return delay

    def next_deadline(self) -> int | None:
        """When the next program is due; None if all run."""
        return min(self._due.values(), default=None)
