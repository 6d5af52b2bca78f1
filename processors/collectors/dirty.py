"""Which keys are to be read: those that a notification named, and those whose time is over."""

import heapq
from typing import Final

__all__ = ["DirtyKeys", "Expiries"]

_SLACK: Final = 64


class DirtyKeys:
    """A bounded set of keys that changed and were not read yet.

    When it is full, all of it is dropped and `overflowed` is set: a full scan then finds what the keys would have told.
    """

    def __init__(self, max_keys: int = 100_000, max_bytes: int = 16 << 20) -> None:
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        # Keys in the order in which they first changed.
        self._keys: dict[bytes, None] = {}
        # Sum of their lengths.
        self._bytes = 0
        # Whether keys were dropped since the last `clear`: only a full scan finds them.
        self.overflowed = False

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes) -> None:
        """Note that `key` changed."""
        if self.overflowed or key in self._keys:
            return
        self._keys[key] = None
        self._bytes += len(key)
        if len(self._keys) > self._max_keys or self._bytes > self._max_bytes:
            self._drop()
            self.overflowed = True

    def take(self, count: int) -> list[bytes]:
        """Remove and return up to `count` keys, the longest waiting first."""
        taken = [key for key, _ in zip(self._keys, range(count), strict=False)]
        for key in taken:
            del self._keys[key]
            self._bytes -= len(key)
        return taken

    def clear(self) -> None:
        """Forget all: a full scan that begins now reads every key."""
        self._drop()
        self.overflowed = False

    def _drop(self) -> None:
        self._keys.clear()
        self._bytes = 0


class Expiries:
    """When each expiring key ends. Bounded by the keys of the source.

    The server deletes an expired key, and tells of it, only when somebody reads it or its sampling meets it: up to
    seconds late. Reading the key at its time makes it happen then.
    """

    def __init__(self) -> None:
        # Time of each key, ms.
        self._due: dict[bytes, int] = {}
        # The same as a heap, with entries that are out of date.
        self._heap: list[tuple[int, bytes]] = []

    def put(self, key: bytes, due: int | None) -> None:
        """`key` ends at `due` (ms), or never (None)."""
        if due is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [(moment, name) for name, moment in self._due.items()]
            heapq.heapify(self._heap)

    def pop_due(self, now: int) -> list[bytes]:
        """Remove and return the keys whose time is `now` (ms) or earlier."""
        keys: list[bytes] = []
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                keys.append(key)
        return keys

    def next_deadline(self) -> int | None:
        """When the first key ends (ms), None if none does."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
