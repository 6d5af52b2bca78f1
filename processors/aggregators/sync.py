"""The syncs of one partition: rates and totals of what its peers sent, and the success of what they took part in.

The windows of a peer are kept whether or not it is known: its first sync may arrive before its first heartbeat, from
another collector, and must count all the same.
"""

from typing import Final

import msgspec
from msgspec import Struct

from processors.aggregators.deadlines import Deadlines
from processors.aggregators.talkers import TopTalkers
from processors.aggregators.windows import (
    BUCKET_MS,
    RATE_WINDOW_MS,
    RATIO_WINDOW_MS,
    SecondSums,
    SyncWindow,
    is_over,
    pair_deadline,
    pair_is_over,
    span_of,
)
from schemas.events import SyncOut
from schemas.metrics import SyncRates

__all__ = ["MAX_PAIRS", "MAX_WINDOWS", "SyncLedger", "SyncTotals"]

MAX_WINDOWS: Final = 50_000
"""Most peers of a partition whose syncs are remembered; further ones count in totals and rates only."""

MAX_PAIRS: Final = 500
"""Most targets of one peer that count as active at once; further ones count in totals and rates only."""

_WIDTH: Final = 4


class SyncTotals(Struct, array_like=True):
    """Totals since the partition began. New fields go to the end."""

    syncs: int = 0
    bytes: int = 0
    failures: int = 0
    late: int = 0
    # Newest time of a sync, ms; None before the first.
    as_of: int | None = None
    # What a bound left out: windows of peers, pairs.
    overflow: int = 0


class _Stored(Struct, array_like=True):
    """A peer's field of `ark:{p}:state`. New fields go to the end."""

    buckets: list[int]
    pairs: dict[str, int]
    # Numbers of one bucket: format 1 did not keep the bytes sent.
    width: int = 3


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode


def _buckets_of(stored: _Stored) -> list[int]:
    """The buckets as they are now, of a window that another format may have written.

    Raises msgspec.ValidationError: if a bucket is not whole.
    """
    if stored.width not in {3, _WIDTH} or len(stored.buckets) % stored.width:
        raise msgspec.ValidationError(f"a bucket must have {_WIDTH} numbers")
    if stored.width == _WIDTH:
        return stored.buckets
    return [number for place in range(0, len(stored.buckets), 3) for number in (*stored.buckets[place : place + 3], 0)]


class SyncLedger:
    """All syncs of one partition, and which parts of its state have to be written anew."""

    def __init__(self) -> None:
        self.totals = SyncTotals()
        # Per second: syncs, bytes, finished, succeeded.
        self.rates = SecondSums(4)
        # Ids whose window differs from the committed one, and seconds likewise; those that are over are removed there.
        self.changed_windows: set[str] = set()
        self.changed_seconds: set[int] = set()
        # Ids whose success ratio may have changed since this was last emptied.
        self.changed_ratios: set[str] = set()
        self._windows: dict[str, SyncWindow] = {}
        # Active pairs by the second of their newest sync.
        self._pairs: dict[int, int] = {}
        self._deadlines = Deadlines()
        self._talkers = TopTalkers()

    def restore_window(self, peer_id: str, encoded: bytes) -> None:
        """Take back a peer's window, once. Raises msgspec.DecodeError: if it is not one of ours."""
        if peer_id in self._windows:
            return
        stored = _decode(encoded)
        self._windows[peer_id] = window = SyncWindow(_buckets_of(stored), stored.pairs)
        for ts in stored.pairs.values():
            self._count_pair(ts, 1)
        self._talkers.note(peer_id, window.sent)
        self.changed_ratios.add(peer_id)
        self._arm(peer_id, window)

    def encode_window(self, peer_id: str) -> bytes | None:
        """A peer's field of `ark:{p}:state`; None if nothing of it is left."""
        window = self._windows.get(peer_id)
        return None if window is None else _encode(_Stored(window.snapshot(), window.pairs or {}, _WIDTH))

    def send(self, event: SyncOut, ts: int, arrived: int, now: int) -> None:
        """A sync that one of our peers sent at `ts`, and that arrived on the bus at `arrived`."""
        totals, sent, ok = self.totals, event.bytes, event.ok
        totals.syncs += 1
        totals.bytes += sent
        if ok is False:
            totals.failures += 1
        if ts <= arrived - RATIO_WINDOW_MS:
            totals.late += 1
        if totals.as_of is None or ts > totals.as_of:
            totals.as_of = ts
        if not is_over(ts // 1000, 1000, RATE_WINDOW_MS, now):
            row = self.rates.row(ts)
            row[0] += 1
            row[1] += sent
            row[2] += ok is not None
            row[3] += ok is True
            self.changed_seconds.add(ts // 1000)
        left_out = totals.overflow
        # A sender's clock that is ahead would otherwise keep its pairs in the future, and out of the window, for ever.
        happened = min(ts, arrived)
        if not pair_is_over(happened, now):
            self._activate(event.sender, event.target, happened)
        self.take_part(event.sender, ts, now, ok=ok, sent_bytes=sent)
        # It is one sync, even if neither its pair nor its outcome found room.
        totals.overflow = min(totals.overflow, left_out + 1)

    def take_part(self, peer_id: str, ts: int, now: int, *, ok: bool | None, sent_bytes: int = 0) -> None:
        """A peer took part in a sync of the time `ts`; one that is still under way has no outcome to count."""
        if (ok is None and not sent_bytes) or is_over(ts // BUCKET_MS, BUCKET_MS, RATIO_WINDOW_MS, now):
            return
        window = self._window(peer_id)
        if window is None:
            return
        if window.add(ts, ok is not None, ok is True, sent_bytes):
            self._arm(peer_id, window)
        if sent_bytes:
            self._talkers.note(peer_id, window.sent)
        self.changed_windows.add(peer_id)
        self.changed_ratios.add(peer_id)

    def _activate(self, sender: str, target: str, ts: int) -> None:
        window = self._window(sender)
        if window is None:
            return
        if window.pairs is None:
            window.pairs = {}
        before = window.pairs.get(target)
        if before is None:
            if len(window.pairs) >= MAX_PAIRS:
                self.totals.overflow += 1
                return
            self._deadlines.set(sender, pair_deadline(ts))
        elif ts <= before:
            return
        else:
            # Its deadline moves later: the one that is set comes early enough.
            self._count_pair(before, -1)
        window.pairs[target] = ts
        self._count_pair(ts, 1)
        self.changed_windows.add(sender)

    def _count_pair(self, ts: int, by: int) -> None:
        second = ts // 1000
        count = self._pairs.get(second, 0) + by
        if count:
            self._pairs[second] = count
        else:
            del self._pairs[second]

    def _window(self, peer_id: str) -> SyncWindow | None:
        window = self._windows.get(peer_id)
        if window is None:
            if len(self._windows) >= MAX_WINDOWS:
                self.totals.overflow += 1
                return None
            window = self._windows[peer_id] = SyncWindow()
        return window

    def ratio(self, peer_id: str) -> tuple[int, int]:
        """(finished, succeeded) syncs that a peer took part in; (0, 0) where it had none."""
        window = self._windows.get(peer_id)
        return (0, 0) if window is None else (window.finished, window.succeeded)

    def top_talkers(self) -> tuple[tuple[str, int], ...]:
        """The peers that sent most in the last five minutes, as pairs (id, bytes), largest first."""
        return self._talkers.list(lambda: ((peer_id, each.sent) for peer_id, each in self._windows.items()))

    def pass_time(self, now: int, most: int) -> None:
        """Let what is over leave the windows, of at most `most` peers."""
        for peer_id in self._deadlines.pop_due(now, most):
            window = self._windows.get(peer_id)
            if window is None:
                continue
            for ts in window.expire(now):
                self._count_pair(ts, -1)
            self._talkers.note(peer_id, window.sent)
            self.changed_ratios.add(peer_id)
            if window.next_deadline() is None:
                del self._windows[peer_id]
                self.changed_windows.add(peer_id)
            else:
                self._arm(peer_id, window)

    def expire_rates(self, now: int) -> None:
        """Let the seconds that are over leave the rates. To be called before they are read or committed."""
        self.changed_seconds.update(self.rates.expire(now))

    def next_deadline(self) -> int | None:
        """When something leaves a peer's window next, ms. The rates are evaluated by whoever reads them."""
        return self._deadlines.next_deadline()

    def _arm(self, peer_id: str, window: SyncWindow) -> None:
        deadline = window.next_deadline()
        if deadline is not None:
            self._deadlines.set(peer_id, deadline)

    def snapshot_rates(self, now: int) -> SyncRates | None:
        """The rate windows at `now` with every second between their first and last; None if they are empty."""
        span = span_of({*self.rates.rows, *self._pairs}, now)
        if not span:
            return None
        none = (0, 0, 0, 0)
        columns = zip(*(self.rates.rows.get(second, none) for second in span), strict=True)
        syncs, sizes, finished, succeeded = (tuple(column) for column in columns)
        return SyncRates(
            start=span.start,
            syncs=syncs,
            bytes=sizes,
            finished=finished,
            succeeded=succeeded,
            pairs=tuple(self._pairs.get(second, 0) for second in span),
        )
