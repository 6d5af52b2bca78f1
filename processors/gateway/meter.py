"""How many messages a client may send."""

from typing import Final

__all__ = ["EXCESS_PER_S", "Meter"]

EXCESS_PER_S: Final = 200
"""Messages a second above which the connection is closed."""

_WINDOW_MS: Final = 1_000


class Meter:
    """Counts one client's messages in windows of one second, from the first message of each."""

    def __init__(self) -> None:
        # When the present window began, ms; the next message at or after its end begins another.
        self._began = -_WINDOW_MS
        self._count = 0
        # When the client was last told that it was not understood, ms.
        self._complained = -_WINDOW_MS

    def count(self, now: int) -> bool:
        """Count a message at `now` (ms, any clock that does not go back). Returns whether it is one too many."""
        if now - self._began >= _WINDOW_MS:
            self._began, self._count = now, 0
        self._count += 1
        return self._count > EXCESS_PER_S

    def may_complain(self, now: int) -> bool:
        """Whether the client may be told at `now` that it was not understood: once a second."""
        if now - self._complained < _WINDOW_MS:
            return False
        self._complained = now
        return True
