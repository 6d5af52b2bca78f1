"""The collector `peers`: every change of a hash `peer:*` in ARK's Redis, published once.

How that is once, and whatever kills the process, `published_peers` tells: the start takes the cursors and reads the
digests, then it subscribes and scans, and publishes the differences.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from processors.collectors.delivery import Delivery
from processors.collectors.differ import Change, PeerDiffer, published_name
from processors.collectors.dirty import DirtyKeys, Expiries
from processors.collectors.notifications import CHECK_S, WatchedSource, keep_watching
from processors.collectors.peers import COLLECTOR, PREFIX
from processors.collectors.published_peers import PublishedPeers
from processors.collectors.publisher import CursorConflict
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip, wrong_type
from processors.runtime.keyspace import UNNOTIFIED
from processors.runtime.logging import get_logger

__all__ = ["MAX_HASH_BYTES", "PeerCollector"]

_CHANNEL: Final = "__keyspace@{}__:peer:*"
MAX_HASH_BYTES: Final = 256 << 10
"""Most that a peer's hash may take on the server: a hundred are read at once."""

_KEYS_A_READ: Final = 100
_PROBES: Final = 8
_SCAN_COUNT: Final = 500
_MAX_DETAIL: Final = 200
_PAUSE_S: Final = 0.005
"""Least time between two publications: under load batches grow, not the delay."""

_logger = get_logger("collectors")


def _scan_interval_s(took_s: float, *, notified: bool) -> float:
    """Seconds between two reconciling scans: at most 2 % of the time with notifications, 5 % without."""
    return max(60.0, 50 * took_s) if notified else max(1.0, 20 * took_s)


class PeerCollector:
    """Watches the hashes `peer:*` of one Redis database."""

    def __init__(
        self, bus: Bus, url: str, partitions: Sequence[str], status: SourceStatus, *, state_dir: Path | None = None
    ) -> None:
        self._keep_watching = partial(keep_watching, url, _CHANNEL, status=status, clock=bus.clock, state_dir=state_dir)
        self._clock = bus.clock
        self._delivery = Delivery(bus, COLLECTOR, partitions, status)
        self._status = status
        self._differ = PeerDiffer()
        self._published = PublishedPeers(self._delivery, self._differ)
        self._dirty = DirtyKeys()
        self._expiries = Expiries()
        # Loop times, seconds: when the source was last published, and when it is to be asked and scanned next.
        self._published_at = 0.0
        self._check_at = 0.0
        self._scan_at = 0.0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a batch may be in some partitions; the next start finds out."""
        self._published.forget()
        async with self._delivery.held():
            await self._keep_watching(self._dirty.add, self._session)

    async def _session(self, source: WatchedSource) -> None:
        scanned = False
        while True:
            try:
                if not self._published.known:
                    await self._published.begin()
                    scanned = False
                if not scanned:
                    await self._scan(source, away=True)
                    scanned = True
                await source.wait(self._patience_s())
                await self._turn(source)
            except CursorConflict as conflict:
                self._published.forget()
                await self._delivery.begin_again(conflict)

    def _patience_s(self) -> float:
        """Seconds until something is to be done without a notification."""
        now = asyncio.get_running_loop().time()
        due = min(self._check_at, self._scan_at) - now
        expiry = self._expiries.next_deadline()
        if expiry is not None:
            due = min(due, (expiry - self._clock.now_ms()) / 1000)
        return due

    async def _turn(self, source: WatchedSource) -> None:
        now = asyncio.get_running_loop().time()
        if self._dirty.overflowed or now >= self._scan_at:
            if self._dirty.overflowed:
                _logger.warning("%s: more changes than are kept, scanning instead", COLLECTOR)
            await source.enable_notifications()  # somebody may have switched them off meanwhile
            await self._scan(source, away=False)
        await self._drain(source)
        if now >= self._check_at:
            if await self._was_silent(source):
                await self._scan(source, away=False)
            await self._confirm()

    async def _was_silent(self, source: WatchedSource) -> bool:
        """Whether something changed that the server did not tell of.

        Somebody switched the notifications off, or all keys went at once: FLUSHALL and SWAPDB are told by nobody.
        """
        await source.enable_notifications()
        keys = self._differ.some(_PROBES)
        there = await source.client.exists(*keys) if keys else 0
        return source.were_off or there < len(keys)

    async def _drain(self, source: WatchedSource) -> None:
        """Read and publish what has changed up to now; what changes meanwhile is for the next turn."""
        for key in self._expiries.pop_due(self._clock.now_ms()):
            self._dirty.add(key)
        waiting = len(self._dirty)
        while waiting > 0 and self._dirty:
            wait_s = self._published_at + _PAUSE_S - asyncio.get_running_loop().time()
            if wait_s > 0 and waiting < _KEYS_A_READ:
                await asyncio.sleep(wait_s)
            await self._read(source.client, self._dirty.take(_KEYS_A_READ), away=False)
            waiting -= _KEYS_A_READ

    async def _scan(self, source: WatchedSource, *, away: bool) -> None:
        """Compare every key with what is published."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._dirty.clear()
        seen: set[str] = set()
        cursor = 0
        while True:
            cursor, page = await source.client.scan(cursor, match=PREFIX + b"*", count=_SCAN_COUNT)
            keys = cast("list[bytes]", page)
            seen.update(map(published_name, keys))
            for start in range(0, len(keys), _KEYS_A_READ):
                await self._read(source.client, keys[start : start + _KEYS_A_READ], away=away)
                # A long scan must not delay what changes meanwhile.
                await self._drain(source)
            if cursor == 0:
                break
        missing = self._differ.unseen(seen)
        for start in range(0, len(missing), _KEYS_A_READ):
            await self._read(source.client, missing[start : start + _KEYS_A_READ], away=away)
        await self._published.publish([self._differ.unseen_rejected(seen)])
        interval_s = _scan_interval_s(loop.time() - began, notified=source.notified)
        self._scan_at = loop.time() + interval_s
        told = source.notified or source.heard
        untold = f"{UNNOTIFIED}, changes are found within {interval_s:.0f} s: {source.refusal}"
        self._status.detail = "" if told else untold[:_MAX_DETAIL]
        await self._confirm()

    async def _read(self, client: Redis, keys: Sequence[bytes], *, away: bool) -> None:
        """Read `keys` and publish what changed in them."""
        sizes = await self._sizes(client, keys)
        # Of one that is too large only whether it is a hash.
        reads = ("HGETALL" if size <= MAX_HASH_BYTES else "HLEN" for size in sizes)
        asked = [each for key, read in zip(keys, reads, strict=True) for each in ((read, key), ("PTTL", key))]
        # All of them first: what is observed counts as published, so nothing may fail between.
        answers = await in_one_trip(client, asked, bearable=wrong_type)
        now = self._clock.now_ms()
        changes = [self._observe(*each, now, away=away) for each in zip(keys, answers[::2], answers[1::2], strict=True)]
        if await self._published.publish(changes):
            self._published_at = asyncio.get_running_loop().time()

    async def _sizes(self, client: Redis, keys: Sequence[bytes]) -> list[int]:
        """What each key takes on the server, bytes; 0 where that is not told. A hash may be as large as its memory."""
        asked = [("MEMORY USAGE", key, "SAMPLES", 0) for key in keys]
        answers = await in_one_trip(client, asked, bearable=lambda error: isinstance(error, ResponseError))
        return [answer if isinstance(answer, int) else 0 for answer in answers]

    def _observe(
        self, key: bytes, fields: Mapping[bytes, bytes] | int | Exception, ttl: int, now: int, *, away: bool
    ) -> Change:
        expires = ttl >= 0
        # One more: at its last millisecond the key may still be there.
        self._expiries.put(key, now + ttl + 1 if expires else None)
        if isinstance(fields, int):
            clause = f"hash must take at most {MAX_HASH_BYTES} bytes of the server's memory"
            return self._differ.observe(key, None, now, why_not=clause)
        hash_or_none = None if isinstance(fields, Exception) else fields
        return self._differ.observe(key, hash_or_none, now, expires=expires, away=away)

    async def _confirm(self) -> None:
        await self._delivery.confirm()
        self._check_at = asyncio.get_running_loop().time() + CHECK_S
