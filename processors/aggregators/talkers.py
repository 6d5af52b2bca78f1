"""The peers that sent most, kept while the values of all peers change."""

import heapq
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["MAX_TALKERS", "TopTalkers", "top_of"]

MAX_TALKERS: Final = 10
"""How many are told."""


def _rank(talker: tuple[str, int]) -> tuple[int, str]:
    """Larger first; ties by id, so that any split of the same peers gives the same list."""
    return -talker[1], talker[0]


class TopTalkers:
    """The largest of many values, of which only those that change are looked at.

    A value that grows either gets into the list or does not. Only when one in the list has become smaller may any other
    be larger, and all are asked for again.
    """

    def __init__(self) -> None:
        # Bytes by peer id, of those in the list.
        self._top: dict[str, int] = {}
        # What a value must reach to get in: at most the least of a full list.
        self._least = 1
        # Whether one in the list has become smaller since it was made.
        self._stale = False

    def note(self, peer_id: str, sent_bytes: int) -> None:
        """A peer's value is `sent_bytes` now; 0 for one that is forgotten."""
        before = self._top.get(peer_id)
        if before is not None and sent_bytes < before:
            self._stale = True
        elif before is not None or sent_bytes >= self._least:
            self._top[peer_id] = sent_bytes
            if len(self._top) > MAX_TALKERS:
                self._take(self._top.items())

    def list(self, everybody: Callable[[], Iterable[tuple[str, int]]]) -> tuple[tuple[str, int], ...]:
        """The list as pairs (id, bytes), largest first. `everybody` gives all values, if they are needed."""
        if self._stale:
            self._take(everybody())
        return tuple(sorted(self._top.items(), key=_rank))

    def _take(self, talkers: Iterable[tuple[str, int]]) -> None:
        """Make the list anew of the largest of `talkers`."""
        self._top = dict(top_of(talkers))
        self._least = min(self._top.values()) if len(self._top) == MAX_TALKERS else 1
        self._stale = False


def top_of(talkers: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The largest of pairs (id, bytes), largest first; nobody who sent nothing."""
    return heapq.nsmallest(MAX_TALKERS, ((name, sent) for name, sent in talkers if sent), key=_rank)
