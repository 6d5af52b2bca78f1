"""A reading of ARK's list from its newest item downwards, in pieces, while others push to it and trim it.

A piece repeats the end of the one before: pushes between the two only shift it, and its first items say by how much. So
all pieces together are the list as it stood when the first was read; what was pushed since is for the next reading.
Bounded: few items of unknown size are asked for at once, an item is turned into its events as it arrives, and the
newest of those are dropped where too many are held: they are in the list for longest, and are read again.
"""

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from processors.collectors.overlap import HEADS, MAX_SEEN, Alignment, ListPosition, align, item_digest
from processors.collectors.sync_events import MAX_ITEM_BYTES, read_item
from schemas.events import Event

__all__ = ["Descent"]

_PIECE: Final = 8
_FAMILIAR_PIECE: Final = 16 + HEADS
_WIDE_PIECE: Final = 1_024
_LARGE_BYTES: Final = 1 << 20
_OVERLAP: Final = 8
_OVERLAP_BYTES: Final = 64 << 10
# At least 6,000 items: more than are read below the place that is looked for.
_MAX_HELD: Final = 32 << 20
# What the events of an item take in memory, roughly: something for themselves, and their texts.
_UNIT_BYTES: Final = 1_024
_MAX_TEXT_BYTES: Final = 4_096


class Descent:
    """What was read of the list below its item `start`, and what is to be read next.

    `familiar`: the list had small items only when it was last read, so that the first piece may be larger.
    """

    def __init__(self, start: int = 0, *, familiar: bool = False) -> None:
        self.start = start
        # Digests of the items, newest first.
        self.seen: list[bytes] = []
        # How many items the list had from `start` downwards at the first piece.
        self.length = 0
        # Whether the list ends with what was seen.
        self.ended = False
        # Whether an item was too large to be decoded.
        self.large = False
        # When the last piece was read, ms.
        self.observed = 0
        # Index in `seen` of the newest item whose events are held; the older ones' are held too.
        self.first = 0
        self._units: deque[tuple[Event, ...]] = deque()
        self._weights: deque[int] = deque()
        self._held = 0
        # Sizes of the last items, bytes.
        self._sizes: deque[int] = deque(maxlen=_OVERLAP)
        self._most = _FAMILIAR_PIECE if familiar else _PIECE
        # How many items not seen yet the next piece asks for.
        self._fresh = _FAMILIAR_PIECE if familiar else 1
        # How many items the last piece repeats, and asks for.
        self._overlap = 0
        self._asked = 0
        # Items pushed since the first piece, and the list's length at the last one; None before the first.
        self._shift = 0
        self._total: int | None = None
        # Whether a piece fitted in several ways, and whether one showed that the list is trimmed.
        self._repeated = False
        self._trimmed = False

    @property
    def whole(self) -> bool:
        """Whether no more is to be read."""
        return self.ended or len(self.seen) >= MAX_SEEN

    @property
    def unsure(self) -> bool:
        """Whether pushes between two pieces may have been missed: equal items in a list that is trimmed meanwhile."""
        return self._repeated and self._trimmed

    def widen(self) -> None:
        """The whole list is small: no piece of it can be large, so many items may be asked for at once."""
        self._most = _WIDE_PIECE

    def next_piece(self) -> tuple[int, int]:
        """The first and the last index of the list to read now, for `add`."""
        self._overlap = self._repeating()
        self._asked = self._overlap + self._fresh
        first = self.start + self._shift + len(self.seen) - self._overlap
        return first, first + self._asked - 1

    def add(self, items: Sequence[bytes], total: int, observed: int) -> bool:
        """Take the piece that was asked for, of a list of `total` items, read at `observed` (ms).

        Returns whether it joins the others. If not the list is another by now: begin again.
        """
        digests = [item_digest(item) for item in items]
        known = 0
        if self._total is None:
            self.length = max(0, total - self.start)
        elif items:
            growth = total - self._total
            shift = self._join(digests, growth)
            if shift is None and (growth <= 0 or len(items) < self._asked):
                return False
            # More was pushed than the piece reaches: the next one begins further down.
            known = len(items) if shift is None else min(len(items), self._overlap + shift)
            self._shift += growth if shift is None else shift
        self._total, self.observed = total, observed
        self.ended = len(items) < self._asked
        for item, digest in zip(items[known:], digests[known:], strict=True):
            self._take(item, digest)
        size = sum(map(len, items))
        self._fresh = 1 if size > _LARGE_BYTES else min(self._most, 2 * self._fresh)
        return True

    def align(self, position: ListPosition) -> Alignment:
        """How many of the items seen came after `position`."""
        return align(position, self.seen, self.length, whole=self.whole)

    def units(self, above: int, below: int) -> Iterator[tuple[Event, ...]]:
        """The events of the items from index `above - 1` down to `below`: oldest first. They must be held."""
        assert below >= self.first, "what is not held is read again"
        return itertools.islice(reversed(self._units), len(self.seen) - above, len(self.seen) - below)

    def _repeating(self) -> int:
        """How many of the last items the next piece repeats: they are known, and so are their sizes."""
        sizes = itertools.accumulate(reversed(self._sizes))
        return max(min(1, len(self.seen)), sum(size <= _OVERLAP_BYTES for size in sizes))

    def _join(self, digests: Sequence[bytes], growth: int) -> int | None:
        """By how many items the piece is shifted against the last one; None if it does not fit."""
        least = max(0, growth)
        bottom = len(self.seen) - self._overlap
        # Forward by what was pushed; back, where somebody else takes items away at the head.
        shifts = itertools.chain(range(least, bottom + len(digests)), range(-1, -self._overlap, -1))
        found = next((shift for shift in shifts if self._fits(digests, bottom - shift)), None)
        if found is not None:
            self._trimmed |= found > least or growth < 0
            others = range(found + 1, found + 1 + HEADS)
            self._repeated |= any(self._fits(digests, bottom - shift) for shift in others)
        return found

    def _fits(self, digests: Sequence[bytes], place: int) -> bool:
        """Whether the piece agrees with what was seen if it begins at `place`, which is negative above the first."""
        skipped = max(0, -place)
        known = self.seen[place + skipped : place + len(digests)]
        return len(known) > 0 and digests[skipped : skipped + len(known)] == known

    def _take(self, item: bytes, digest: bytes) -> None:
        self.large |= len(item) > MAX_ITEM_BYTES
        weight = min(len(item), _MAX_TEXT_BYTES) + _UNIT_BYTES
        self.seen.append(digest)
        self._sizes.append(len(item))
        self._units.append(read_item(item, self.observed))
        self._weights.append(weight)
        self._held += weight
        while self._held > _MAX_HELD:
            self._held -= self._weights.popleft()
            self._units.popleft()
            self.first += 1
