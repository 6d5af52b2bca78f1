"""Wrong tries to log in: how many of each address, and when it may try again."""

from collections import Counter
from typing import Final

__all__ = ["MAX_ADDRESSES", "MAX_TRIES", "WINDOW_S", "Tries"]

MAX_TRIES: Final = 10
"""Most wrong tries of one address in `WINDOW_S`; then it is told to wait."""

WINDOW_S: Final = 60
"""Over how long they are counted, seconds."""

MAX_ADDRESSES: Final = 10_000
"""Most addresses that are counted; with one more the count begins anew. Tokens cannot be guessed: to keep others out
would help an attacker more than the tries that are forgotten.
"""

_WINDOW_MS: Final = 1_000 * WINDOW_S


class Tries:
    """Counts wrong tries in windows, from the first of each."""

    def __init__(self) -> None:
        # When the present window began, ms; the next question at or after its end begins another.
        self._began = -_WINDOW_MS
        self._wrong: Counter[str] = Counter()

    def wait_s(self, address: str, now: int) -> int:
        """How long `address` must wait at `now` (ms, any clock that does not go back) before it tries, seconds."""
        if now - self._began >= _WINDOW_MS or len(self._wrong) > MAX_ADDRESSES:
            self._began = now
            self._wrong.clear()
        if self._wrong[address] < MAX_TRIES:
            return 0
        return -((now - self._began - _WINDOW_MS) // 1_000)

    def note_wrong(self, address: str) -> None:
        """`address`, which need not have waited, was wrong."""
        self._wrong[address] += 1
