"""How many manifests may come: of one address, and of all together."""

from collections import Counter
from typing import Final

from processors.federation.errors import Refused

__all__ = ["MAX_ADDRESSES", "MAX_AT_ONCE", "MAX_AT_ONCE_OF_ONE", "MAX_OF_ONE", "WINDOW_S", "Gate"]

WINDOW_S: Final = 5
"""Over how long manifests are counted, seconds: nodes that all start at once are no flood."""

MAX_OF_ONE: Final = 1_000
"""Most manifests of one address in that time: a mesh of 6,000 nodes behind one address that send one every 30 s."""

MAX_AT_ONCE: Final = 1_024
"""Most manifests under way; each holds at most the largest body."""

MAX_AT_ONCE_OF_ONE: Final = 128
"""Most of them from one address: slow clients of one machine do not keep out the others."""

MAX_ADDRESSES: Final = 10_000
"""Most addresses that are counted at a time; of others nothing is taken until the next count begins."""

_WINDOW_MS: Final = 1_000 * WINDOW_S


class Gate:
    """Counts manifests under way, and those that came within the last seconds."""

    def __init__(self, *, most: int = MAX_OF_ONE) -> None:
        self._most = most
        # When the present window began, ms; the first manifest at or after its end begins another.
        self._began = -_WINDOW_MS
        # Manifests of this window, and those under way, by address.
        self._came: Counter[str] = Counter()
        self._inside: Counter[str] = Counter()

    def enter(self, address: str, now: int) -> None:
        """A manifest comes from `address` at `now` (ms, any clock that does not go back). Leave after it.

        Raises Refused: 429 if the address sends too many, 503 if all together do; it has then not entered.
        """
        if now - self._began >= _WINDOW_MS:
            self._began = now
            self._came.clear()
        if self._came[address] >= self._most:
            raise Refused(429, f"more than {self._most} manifests in {WINDOW_S} s from this address")
        if self._inside[address] >= MAX_AT_ONCE_OF_ONE:
            raise Refused(429, f"more than {MAX_AT_ONCE_OF_ONE} manifests at once from this address")
        crowded = address not in self._came and len(self._came) >= MAX_ADDRESSES
        if crowded or self._inside.total() >= MAX_AT_ONCE:
            raise Refused(503, "too many manifests at once")
        self._came[address] += 1
        self._inside[address] += 1

    def leave(self, address: str) -> None:
        """What entered has its answer."""
        self._inside[address] -= 1
        if not self._inside[address]:
            del self._inside[address]
