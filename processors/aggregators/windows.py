"""Sliding windows kept in buckets.

A window of length L at `now` is (now - L, now]. A bucket counts as long as any of its moments is in the window: an
event never leaves early, and leaves at most one bucket late. Buckets are evaluated at `now`, so that a quiet source
decays by itself. Times are milliseconds.
"""

from array import array
from collections.abc import Sequence
from typing import Final

__all__ = ["BUCKET_MS", "PAIR_WINDOW_MS", "RATE_WINDOW_MS", "RATIO_WINDOW_MS", "RatioWindow", "SecondSums", "is_over"]

RATIO_WINDOW_MS: Final = 300_000
"""Length of the window of a peer's success ratio."""

BUCKET_MS: Final = 10_000
"""Its buckets: thirty of them cost a peer 360 bytes."""

PAIR_WINDOW_MS: Final = 10_000
"""Length of the window in which a pair counts as active."""

RATE_WINDOW_MS: Final = 60_000
"""Length of the window of the rates."""


def is_over(bucket: int, bucket_ms: int, length_ms: int, now: int) -> bool:
    """Whether no moment of `bucket` (its number since the epoch) is in (now - length_ms, now]."""
    return (bucket + 1) * bucket_ms <= now - length_ms + 1


class RatioWindow:
    """Finished and succeeded syncs of one peer over the last five minutes, in sparse buckets of ten seconds."""

    __slots__ = ("_flat",)

    def __init__(self, flat: Sequence[int] = ()) -> None:
        # bucket, finished, succeeded, bucket, finished, ... in order of buckets.
        self._flat = array("q", flat)

    def add(self, ts: int, *, succeeded: bool) -> None:
        """Count a finished sync of the time `ts`."""
        flat, bucket = self._flat, ts // BUCKET_MS
        place = len(flat)
        while place and flat[place - 3] > bucket:
            place -= 3
        if not place or flat[place - 3] != bucket:
            flat[place:place] = array("q", (bucket, 0, 0))
            place += 3
        flat[place - 2] += 1
        flat[place - 1] += succeeded

    def expire(self, now: int) -> None:
        """Forget the buckets that are over."""
        gone = 0
        while gone < len(self._flat) and is_over(self._flat[gone], BUCKET_MS, RATIO_WINDOW_MS, now):
            gone += 3
        if gone:
            del self._flat[:gone]

    def next_deadline(self) -> int | None:
        """When the oldest bucket will be over; None if there is none."""
        return (self._flat[0] + 1) * BUCKET_MS + RATIO_WINDOW_MS - 1 if self._flat else None

    def sums(self) -> tuple[int, int]:
        """(finished, succeeded) of all buckets that are kept."""
        return sum(self._flat[1::3]), sum(self._flat[2::3])

    def snapshot(self) -> list[int]:
        """The buckets, to build the same window from."""
        return self._flat.tolist()


class SecondSums:
    """Sums over the last minute in buckets of one second, as rows of a fixed width.

    The caller adds nothing that is over, and expires before it reads: then at most 66 seconds are kept. They are kept
    in `rows`, if it is given.
    """

    def __init__(self, width: int, rows: dict[int, list[int]] | None = None) -> None:
        self._width = width
        # second -> sums
        self.rows: dict[int, list[int]] = {} if rows is None else rows

    def add(self, ts: int, values: Sequence[int]) -> int:
        """Add `values` to the second of `ts`; returns that second."""
        second = ts // 1000
        row = self.rows.get(second)
        if row is None:
            row = self.rows[second] = [0] * self._width
        for column, value in enumerate(values):
            row[column] += value
        return second

    def expire(self, now: int) -> list[int]:
        """Forget the seconds that are over; returns them."""
        gone = [second for second in self.rows if is_over(second, 1000, RATE_WINDOW_MS, now)]
        for second in gone:
            del self.rows[second]
        return gone
