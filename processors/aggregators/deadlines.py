"""Deadlines of many keys, of which only the earliest matters."""

import heapq

__all__ = ["Deadlines"]


class Deadlines:
    """When each key wants to be looked at again.

    A key whose deadline moves later keeps its old entry until that comes up: heartbeats would otherwise leave one entry
    each behind. So a key may be handed out early, and its owner sets the deadline anew. At most two entries a key are
    kept; beyond that the heap is built again.
    """

    def __init__(self) -> None:
        # (deadline in ms, key), and for each key the earliest entry that counts.
        self._heap: list[tuple[int, str]] = []
        self._earliest: dict[str, int] = {}

    def set(self, key: str, deadline: int) -> None:
        """Have `key` handed out at `deadline`, or earlier if it was already due earlier."""
        known = self._earliest.get(key)
        if known is not None and known <= deadline:
            return
        self._earliest[key] = deadline
        heapq.heappush(self._heap, (deadline, key))
        if len(self._heap) > 2 * len(self._earliest) + 64:
            self._heap = [(moment, name) for name, moment in self._earliest.items()]
            heapq.heapify(self._heap)

    def discard(self, key: str) -> None:
        """Forget `key`."""
        self._earliest.pop(key, None)

    def pop_due(self, now: int, most: int) -> list[str]:
        """At most `most` keys whose deadline has come, earliest first; each is forgotten until it is set again."""
        due: list[str] = []
        while self._heap and self._heap[0][0] <= now and len(due) < most:
            moment, key = heapq.heappop(self._heap)
            if self._earliest.get(key) == moment:
                del self._earliest[key]
                due.append(key)
        return due

    def next_deadline(self) -> int | None:
        """The earliest deadline, which may be that of a forgotten key; None if there is none."""
        return self._heap[0][0] if self._heap else None
