"""Sliding windows kept in buckets.

A window of length L at `now` is (now - L, now]. A bucket counts as long as any of its moments is in the window: an
event never leaves early, and leaves at most one bucket late. Buckets are evaluated at `now`, so that a quiet source
decays by itself. Times are milliseconds.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = [
    "BUCKET_MS",
    "PAIR_WINDOW_MS",
    "RATE_WINDOW_MS",
    "RATIO_WINDOW_MS",
    "SecondSums",
    "SyncWindow",
    "is_over",
    "pair_deadline",
    "pair_is_over",
    "span_of",
]

RATIO_WINDOW_MS: Final = 300_000
"""Length of the window of a peer's success ratio."""

BUCKET_MS: Final = 10_000
"""Its buckets: thirty of them cost a peer 960 bytes."""

PAIR_WINDOW_MS: Final = 10_000
"""Length of the window in which a pair counts as active."""

RATE_WINDOW_MS: Final = 60_000
"""Length of the window of the rates."""


def is_over(bucket: int, bucket_ms: int, length_ms: int, now: int) -> bool:
    """Whether no moment of `bucket` (its number since the epoch) is in (now - length_ms, now]."""
    return (bucket + 1) * bucket_ms <= now - length_ms + 1


def pair_is_over(ts: int, now: int) -> bool:
    """Whether a pair whose newest sync was at `ts` is active no more."""
    return is_over(ts // 1000, 1000, PAIR_WINDOW_MS, now)


def pair_deadline(ts: int) -> int:
    """When that will be."""
    return (ts // 1000 + 1) * 1000 + PAIR_WINDOW_MS - 1


def span_of(seconds: Iterable[int], now: int) -> range:
    """Every second from the first to the last of those `seconds` that are near `now`; empty if there are none.

    A server whose clock was ahead, and was set back, leaves some behind that are far from the others.
    """
    near = [second for second in seconds if abs(second * 1000 - now) < 2 * RATE_WINDOW_MS]
    return range(min(near), max(near) + 1) if near else range(0)


class SyncWindow:
    """One peer's part in syncs: outcomes and bytes of the last five minutes, and the targets of the last ten seconds.

    Outcomes and bytes are in sparse buckets of ten seconds.
    """

    __slots__ = ("_flat", "finished", "pairs", "sent", "succeeded")

    def __init__(self, flat: Sequence[int] = (), pairs: dict[str, int] | None = None) -> None:
        # bucket, finished, succeeded, sent, bucket, finished, ... in order of buckets.
        self._flat = array("q", flat)
        # Of all buckets that are kept: syncs with a known outcome, those of them that succeeded, and bytes sent.
        self.finished = sum(self._flat[1::4])
        self.succeeded = sum(self._flat[2::4])
        self.sent = sum(self._flat[3::4])
        # Newest sync, ms, to each target; None if there is none, which is so most of the time.
        self.pairs = pairs or None

    def add(self, ts: int, finished: int, succeeded: int, sent: int) -> bool:
        """Add to the bucket of the time `ts`; returns whether it is the oldest now, and was not there before."""
        flat, bucket = self._flat, ts // BUCKET_MS
        self.finished += finished
        self.succeeded += succeeded
        self.sent += sent
        place = len(flat)
        while place and flat[place - 4] > bucket:
            place -= 4
        if place and flat[place - 4] == bucket:
            flat[place - 3] += finished
            flat[place - 2] += succeeded
            flat[place - 1] += sent
            return False
        flat[place:place] = array("q", (bucket, finished, succeeded, sent))
        return not place

    def expire(self, now: int) -> list[int]:
        """Forget the buckets and the pairs that are over; returns the newest syncs of those pairs, ms."""
        flat = self._flat
        gone = 0
        while gone < len(flat) and is_over(flat[gone], BUCKET_MS, RATIO_WINDOW_MS, now):
            self.finished -= flat[gone + 1]
            self.succeeded -= flat[gone + 2]
            self.sent -= flat[gone + 3]
            gone += 4
        if gone:
            del flat[:gone]
        pairs = self.pairs or {}
        over = [target for target, ts in pairs.items() if pair_is_over(ts, now)]
        left = [pairs.pop(target) for target in over]
        self.pairs = pairs or None
        return left

    def next_deadline(self) -> int | None:
        """When the oldest bucket or pair will be over; None if there is none."""
        moments = [pair_deadline(ts) for ts in self.pairs.values()] if self.pairs else []
        if self._flat:
            moments.append((self._flat[0] + 1) * BUCKET_MS + RATIO_WINDOW_MS - 1)
        return min(moments, default=None)

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

    def row(self, ts: int) -> list[int]:
        """The sums of the second of `ts`, to be added to."""
        second = ts // 1000
        row = self.rows.get(second)
        if row is None:
            row = self.rows[second] = [0] * self._width
        return row

    def expire(self, now: int) -> list[int]:
        """Forget the seconds that are over; returns them."""
        gone = [second for second in self.rows if is_over(second, 1000, RATE_WINDOW_MS, now)]
        for second in gone:
            del self.rows[second]
        return gone
