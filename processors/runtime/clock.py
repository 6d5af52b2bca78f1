"""The clock of the bus: all processes read time as the bus's server does.

Windows, leases and entry ids then agree, whatever the machines' own clocks say.
"""

import time
from typing import Protocol

__all__ = ["BusClock", "Clock"]

_MAX_STEP_MS = 20


class Clock(Protocol):
    """Tells a moment."""

    def now_ms(self) -> int:
        """The moment, ms since the epoch."""


class BusClock:
    """Milliseconds since the epoch by the bus's server. It goes back only when that server's clock did, by a second.

    Between two answers of the server it advances with the machine's monotonic clock, so that a stepped wall clock
    does not reach it. Before the first answer it is the machine's own time.
    """

    def __init__(self) -> None:
        # Server time minus monotonic time, ms.
        self._offset_ms = time.time() * 1000 - time.monotonic() * 1000
        # Whether the server has answered yet.
        self._synced = False
        # Largest value handed out.
        self._last_ms = 0

    def now_ms(self) -> int:
        """Current time of the bus."""
        self._last_ms = max(self._last_ms, int(time.monotonic() * 1000 + self._offset_ms))
        return self._last_ms

    def now_ns(self) -> int:
        """Current time of the bus, ns; for lengths of time, and no more exact than the server's answers are: 1 ms."""
        return int(time.monotonic() * 1e9 + self._offset_ms * 1e6)

    def sync(self, server_ms: int) -> None:
        """Take note that the server's clock just showed `server_ms`.

        The answer was under way for a moment, so it is never too late: a larger offset is taken at once. A smaller one
        is approached slowly, unless it is a real step of more than a second.
        """
        offset = server_ms - time.monotonic() * 1000
        if not self._synced or offset > self._offset_ms or self._offset_ms - offset > 1000:
            if self._offset_ms - offset > 1000:
                self._last_ms = min(self._last_ms, server_ms)
            self._offset_ms = offset
            self._synced = True
        else:
            self._offset_ms -= min(_MAX_STEP_MS, (self._offset_ms - offset) / 16)
