"""The peers that sent most, kept while the values of all peers change."""

import heapq
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["MAX_TALKERS", "TopTalkers", "top_of"]

MAX_TALKERS: Final = 10
"""How many are told."""

_KEPT: Final = 4 * MAX_TALKERS


def _rank(talker: tuple[str, int]) -> tuple[int, str]:
    """Larger first; ties by id, so that any split of the same peers gives the same list."""
    return -talker[1], talker[0]


class TopTalkers:
    """The largest of many values, of which only those that change are looked at.

    More are kept than are told: while one becomes smaller, there is another to take its place. Only when too few are
    left are all asked for again.
    """

    def __init__(self) -> None:
        # Bytes by peer id, of those that are kept.
        self._kept: dict[str, int] = {}
        # The worst of those that were kept when some were left out: who is not kept ranks behind it.
        self._worst = 0, ""

    def note(self, peer_id: str, sent_bytes: int) -> None:
        """A peer's value is `sent_bytes` now; 0 for one that is forgotten."""
        least, last = self._worst
        if sent_bytes < least or (sent_bytes == least and peer_id > last):
            self._kept.pop(peer_id, None)
            return
        self._kept[peer_id] = sent_bytes
        if len(self._kept) > 2 * _KEPT:
            self._keep(self._kept.items())

    def list(self, everybody: Callable[[], Iterable[tuple[str, int]]]) -> tuple[tuple[str, int], ...]:
        """The list as pairs (id, bytes), largest first. `everybody` gives all values, if they are needed."""
        if len(self._kept) < MAX_TALKERS and self._worst[0]:
            self._keep(everybody())
        return tuple(top_of(self._kept.items()))

    def _keep(self, talkers: Iterable[tuple[str, int]]) -> None:
        """Keep the largest of `talkers`."""
        kept = top_of(talkers, _KEPT)
        self._kept = dict(kept)
        self._worst = (kept[-1][1], kept[-1][0]) if len(kept) == _KEPT else (0, "")


def top_of(talkers: Iterable[tuple[str, int]], most: int = MAX_TALKERS) -> list[tuple[str, int]]:
    """The `most` largest of pairs (id, bytes), largest first; nobody who sent nothing."""
    return heapq.nsmallest(most, ((name, sent) for name, sent in talkers if sent), key=_rank)
