"""What a simulation does next, and when."""

import heapq
from typing import Final, Generic, TypeVar

__all__ = ["Agenda"]

_LATE: Final = 10_000

T = TypeVar("T")


class Agenda(Generic[T]):
    """Things to do in the order of their times (ms); those of the same time in the order in which they were planned."""

    def __init__(self) -> None:
        # A heap of (time in ms, sequence number, what); the number makes the order definite.
        self._heap: list[tuple[int, int, T]] = []
        self._sequence = 0

    def plan(self, due: int, what: T) -> None:
        """Have `what` done at `due` (ms)."""
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, what))

    def next_deadline(self) -> int:
        """When the next thing is due, ms. Raises IndexError: if nothing is planned."""
        return self._heap[0][0]

    def take(self, now: int) -> tuple[int, T]:
        """The next thing, and when it happens (ms): when it was due, or now if that was long ago.

        After a pause, of the machine say, things are not made up for: they happen once, now.
        """
        due, _, what = heapq.heappop(self._heap)
        return (due if now - due < _LATE else now), what
