"""The collector `sync_events`: every item pushed to ARK's list, published once and never consumed.

Why nothing is lost and nothing doubled, whenever the process is killed: each partition's cursor is a position in the
list, written by the same script as the events up to it. Each partition is thus its own reader; normally they march
together. After a kill between two partitions each is aligned with the list by its own position, and those that lag get
what they lack before all go on. The very first start writes the position at which it begins, one hour back, before it
publishes anything: a kill then does not move the beginning.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from processors.collectors import sync_events
from processors.collectors.backoff import Backoff
from processors.collectors.batching import cut
from processors.collectors.delivery import Delivery
from processors.collectors.notifications import CHECK_S, WatchedSource, keep_watching, wrong_type
from processors.collectors.overlap import (
    HEADS,
    MAX_SLICE,
    Alignment,
    ListPosition,
    align,
    decode_cursor,
    encode_cursor,
    item_digest,
    position_at,
)
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.collectors.sync_events import COLLECTOR
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from schemas.events import Event, SyncOut

__all__ = ["SyncCollector"]

_KEY: Final = b"sync_events"
_CHANNEL: Final = "__keyspace@{}__:sync_events"
_FIRST_SLICE: Final = 16 + HEADS
_POLL_S: Final = 0.25
_PAUSE_S: Final = 0.005
"""Least time between two publications: under load batches grow, not the delay."""
_READ_BACK_MS: Final = 3_600_000
_READ_BACK_ITEMS: Final = 10_000

_logger = get_logger("collectors")


class _Slice(NamedTuple):
    """The newest items of the list, newest first, their digests, the list's length, and when it was read (ms)."""

    items: list[bytes]
    seen: list[bytes]
    length: int
    observed: int


class SyncCollector:
    """Watches the list `sync_events` of one Redis database."""

    def __init__(self, bus: Bus, url: str, partitions: Sequence[str], status: SourceStatus) -> None:
        self._url = url
        self._clock = bus.clock
        self._delivery = Delivery(bus, COLLECTOR, partitions, status)
        self._status = status
        self._backoff = Backoff(random.random)
        # How far each partition is; empty before the cursors are read.
        self._positions: dict[str, ListPosition] = {}
        # Whether the key was not a list when it was last read, which was then told once.
        self._wrong_type = False
        # Loop times, seconds: when the source was last published, and when it and the bus are to be asked next.
        self._published_at = 0.0
        self._check_at = 0.0
        self._verify_at = 0.0
        # Readings after which it was not sure how many items were new.
        self.ambiguous = 0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a batch may be in some partitions; the next start finds out."""
        await keep_watching(self._url, _CHANNEL, _ignore, self._session, status=self._status, clock=self._clock)

    async def _session(self, source: WatchedSource) -> None:
        while True:
            try:
                await self._read_list(source)
                self._backoff.reset()
                await source.wait(self._check_at - asyncio.get_running_loop().time())
                wait_s = self._published_at + _PAUSE_S - asyncio.get_running_loop().time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
            except CursorConflict as conflict:
                # What the bus shows is not what the source holds until it is published again.
                self._status.failed(self._clock.now_ms(), f"publishing again: {conflict}")
                self._positions.clear()
                await asyncio.sleep(self._backoff.next_s())  # two collectors must not take turns at full speed

    async def _read_list(self, source: WatchedSource) -> None:
        """Publish what is new in the list, as it is now."""
        now = asyncio.get_running_loop().time()
        verify = now >= self._verify_at
        try:
            if not self._positions:
                await self._resume(source.client)
            if await self._has_changed(source.client):
                await self._catch_up(source.client)
            self._wrong_type = False
        except ResponseError as error:
            if not wrong_type(error):
                raise
            await self._tell_wrong_type()
        if verify:
            await self._delivery.verify()
            self._verify_at = now + CHECK_S
        self._check_at = asyncio.get_running_loop().time() + (CHECK_S if source.notified else _POLL_S)
        self._status.answered(self._clock.now_ms())

    async def _resume(self, client: Redis) -> None:
        """Read how far each partition is; write where they begin into those that have no position yet."""
        cursors = await self._delivery.resume()
        known = {partition: decode_cursor(text) for partition, text in cursors.items()}
        positions = {partition: position for partition, position in known.items() if position is not None}
        missing = [partition for partition, position in known.items() if position is None]
        if missing:
            # A first start that was killed while it wrote its beginning is the only way to have it in some only.
            if positions:
                begin = min(positions.values(), key=lambda position: position.n)
            else:
                begin = await self._beginning(client)
            cursor = encode_cursor(begin, self._delivery.signature())
            await self._delivery.send(SourceBatch(cursor), missing)
            positions |= dict.fromkeys(missing, begin)
        self._positions = positions

    async def _beginning(self, client: Redis) -> ListPosition:
        """Where a first start begins: below the items of the last hour, and at most 10,000 of them."""
        count = _FIRST_SLICE
        while True:
            try:
                slice_ = await self._slice(client, count)
            except ResponseError as error:
                if not wrong_type(error):
                    raise
                return ListPosition(0, 0, ())
            recent = _recent(slice_)
            if min(slice_.length, _READ_BACK_ITEMS + HEADS) <= len(slice_.items) or recent + HEADS <= len(slice_.items):
                return position_at(recent, 0, slice_.seen, slice_.length)
            count *= 2

    async def _has_changed(self, client: Redis) -> bool:
        """Whether the list's length or head differs from what any partition has: one small round trip."""
        async with client.pipeline(transaction=True) as pipe:
            pipe.llen(_KEY)
            pipe.lindex(_KEY, 0)
            length, head = await pipe.execute()
        heads = (item_digest(head),) if head is not None else ()
        return any(position.length != length or position.heads[:1] != heads for position in self._positions.values())

    async def _catch_up(self, client: Redis) -> None:
        """Read as far down as it takes to find the place of every partition, and publish what each lacks."""
        count = _FIRST_SLICE
        while True:
            slice_ = await self._slice(client, count)
            found = {
                position: align(position, slice_.seen, slice_.length) for position in set(self._positions.values())
            }
            need = max(alignment.need for alignment in found.values())
            if not need:
                break
            count = min(MAX_SLICE, max(need, 2 * count))
        self._note_ambiguous(list(found.values()))
        await self._publish(slice_, found)

    async def _slice(self, client: Redis, count: int) -> _Slice:
        async with client.pipeline(transaction=True) as pipe:
            pipe.lrange(_KEY, 0, count - 1)
            pipe.llen(_KEY)
            items, length = await pipe.execute()
        return _Slice(items, list(map(item_digest, items)), length, self._clock.now_ms())

    async def _publish(self, slice_: _Slice, found: dict[ListPosition, Alignment]) -> None:
        """Publish the new items, oldest first, to each partition those above its own position."""
        lacking = {partition: found[position].new for partition, position in self._positions.items()}
        total = max(position.n + alignment.new for position, alignment in found.items())
        # A batch ends where another partition's lack begins: all of it goes to the same partitions.
        stops = sorted({*lacking.values(), 0}, reverse=True)
        for above, below in itertools.pairwise(stops):
            only = [partition for partition, lack in lacking.items() if lack >= above]
            index = above
            for count, events in cut(_events(slice_, above, below)):
                index -= count
                position = position_at(index, total - index, slice_.seen, slice_.length)
                await self._send(position, events, only)
        # What changed without a new item, a trimmed tail say, need not be written: the older position fits as well.
        newest = position_at(0, total, slice_.seen, slice_.length)
        self._positions = dict.fromkeys(self._positions, newest)

    async def _send(self, position: ListPosition, events: list[Event], only: Sequence[str]) -> None:
        cursor = encode_cursor(position, self._delivery.signature())
        await self._delivery.send(SourceBatch(cursor, events), only)
        self._positions |= dict.fromkeys(only, position)
        self._published_at = asyncio.get_running_loop().time()

    async def _tell_wrong_type(self) -> None:
        """Reject the key as a whole, once; every partition stays where it is."""
        if self._wrong_type:
            return
        event = sync_events.rejection("key is not a list", _KEY, self._clock.now_ms())
        for position in set(self._positions.values()):
            only = [partition for partition, own in self._positions.items() if own == position]
            await self._send(position, [event], only)
        self._wrong_type = True

    def _note_ambiguous(self, alignments: Sequence[Alignment]) -> None:
        if any(alignment.ambiguous for alignment in alignments):
            self.ambiguous += 1
            taken = max(alignment.new for alignment in alignments)
            _logger.warning(
                "%s: the list was replaced or cut below what was read; %s items are taken as new", COLLECTOR, taken
            )


def _ignore(key: bytes) -> None:
    """There is one key only: that something happened is enough."""


def _events(slice_: _Slice, above: int, below: int) -> Iterator[tuple[Event, ...]]:
    """The events of the items from index `above - 1` down to `below`: oldest first."""
    for index in range(above - 1, below - 1, -1):
        yield sync_events.read_item(slice_.items[index], slice_.observed)


def _recent(slice_: _Slice) -> int:
    """How many of the newest items come before the first that is older than an hour."""
    oldest = slice_.observed - _READ_BACK_MS
    for index, item in enumerate(slice_.items[:_READ_BACK_ITEMS]):
        first: Any = sync_events.read_item(item, slice_.observed)[0]
        if isinstance(first, SyncOut) and first.ts < oldest:
            return index
    return min(len(slice_.items), _READ_BACK_ITEMS)
