"""The collector `peers`: every change of a hash `peer:*` in ARK's Redis, published once.

Why nothing is lost and nothing doubled, whenever the process is killed: a peer's heartbeat and the digest of the hash
that caused it are written into that peer's partition by one script. What is published is thus exactly what the digests
say. A start takes all cursors first, by an empty batch under a name of its own, so that whatever an earlier process
still has under way is refused; then it reads the digests, then it subscribes and scans, and publishes the differences.
Cursors that differ, because a process was killed between two partitions, need no other care. Rejected input goes to the
partition of its collector and not to that of its digest: such a dead letter may be lost or doubled by a kill.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis

from processors.collectors.backoff import Backoff
from processors.collectors.batching import cut
from processors.collectors.delivery import Delivery
from processors.collectors.differ import Change, PeerDiffer, published_name
from processors.collectors.dirty import DirtyKeys, Expiries
from processors.collectors.notifications import CHECK_S, WatchedSource, keep_watching, wrong_type
from processors.collectors.peers import COLLECTOR, PREFIX
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger

__all__ = ["PeerCollector"]

_CHANNEL: Final = "__keyspace@{}__:peer:*"
_KEYS_A_READ: Final = 100
_SCAN_COUNT: Final = 500
_PAUSE_S: Final = 0.005
"""Least time between two publications: under load batches grow, not the delay."""

_logger = get_logger("collectors")


def _scan_interval_s(took_s: float, *, notified: bool) -> float:
    """Seconds between two reconciling scans: at most 2 % of the time with notifications, 5 % without."""
    return max(60.0, 50 * took_s) if notified else max(1.0, 20 * took_s)


def _serial(cursor: str) -> int:
    """The counter in a cursor, 0 if there is none."""
    digits = cursor.partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else 0


class PeerCollector:
    """Watches the hashes `peer:*` of one Redis database."""

    def __init__(self, bus: Bus, url: str, partitions: Sequence[str], status: SourceStatus) -> None:
        self._url = url
        self._clock = bus.clock
        self._delivery = Delivery(bus, COLLECTOR, partitions, status)
        self._status = status
        self._differ = PeerDiffer()
        self._dirty = DirtyKeys()
        self._expiries = Expiries()
        self._backoff = Backoff(random.random)
        # Number of the last batch; None before the cursors are taken.
        self._batch: int | None = None
        # Loop times, seconds: when the source was last published, and when it is to be asked and scanned next.
        self._published_at = 0.0
        self._check_at = 0.0
        self._scan_at = 0.0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a batch may be in some partitions; the next start finds out."""
        await keep_watching(self._url, _CHANNEL, self._dirty.add, self._session, status=self._status, clock=self._clock)

    async def _session(self, source: WatchedSource) -> None:
        scanned = False
        while True:
            try:
                if self._batch is None:
                    await self._resume()
                    scanned = False
                if not scanned:
                    await self._scan(source, away=True)
                    scanned = True
                    self._backoff.reset()
                await source.wait(self._patience_s())
                await self._turn(source)
            except CursorConflict as conflict:
                # What the bus shows is not what the source holds until it is published again.
                self._status.failed(self._clock.now_ms(), f"publishing again: {conflict}")
                self._batch = None
                await asyncio.sleep(self._backoff.next_s())  # two collectors must not take turns at full speed

    async def _resume(self) -> None:
        cursors = await self._delivery.resume()
        self._batch = max(map(_serial, cursors.values()))
        await self._publish(Change())
        self._differ.load(await self._delivery.digests())

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
            await source.client.ping()
            self._answered()
            await self._delivery.verify()

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
        await self._publish(self._differ.unseen_rejected(seen), needed=False)
        self._scan_at = loop.time() + _scan_interval_s(loop.time() - began, notified=source.notified)
        self._answered()

    async def _read(self, client: Redis, keys: Sequence[bytes], *, away: bool) -> None:
        """Read `keys` and publish what changed in them."""
        async with client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(key)
                pipe.pttl(key)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        # All of them first: what is observed counts as published, so nothing may fail between.
        for answer in answers:
            if isinstance(answer, Exception) and not wrong_type(answer):
                raise answer
        now = self._clock.now_ms()
        changes = [
            self._observe(key, answers[2 * index], answers[2 * index + 1], now, away=away)
            for index, key in enumerate(keys)
        ]
        changes = [change for change in changes if change.events or change.digests]
        start = 0
        for count, events in cut(change.events for change in changes):
            digests: dict[str, bytes | None] = {}
            for change in changes[start : start + count]:
                digests |= change.digests
            await self._publish(Change(tuple(events), digests))
            start += count

    def _observe(
        self, key: bytes, fields: Mapping[bytes, bytes] | Exception, ttl: int, now: int, *, away: bool
    ) -> Change:
        expires = ttl >= 0
        # One more: at its last millisecond the key may still be there.
        self._expiries.put(key, now + ttl + 1 if expires else None)
        hash_or_none = None if isinstance(fields, Exception) else fields
        return self._differ.observe(key, hash_or_none, now, expires=expires, away=away)

    async def _publish(self, change: Change, *, needed: bool = True) -> None:
        """Publish one batch. Nothing to publish: still done if `needed`, so that the cursor is taken."""
        if not needed and not change.digests:
            return
        assert self._batch is not None, "the cursors are taken first"
        batch = SourceBatch(
            cursor=f"{self._batch + 1}-{self._delivery.signature()}",
            events=list(change.events),
            digests=dict(change.digests),
        )
        await self._delivery.send(batch)
        self._batch += 1
        self._published_at = asyncio.get_running_loop().time()

    def _answered(self) -> None:
        self._check_at = asyncio.get_running_loop().time() + CHECK_S
        self._status.answered(self._clock.now_ms())
