"""The collector `sync_events`: every item pushed to ARK's list, published once and never consumed.

Why nothing is lost and nothing doubled, whenever the process is killed: each partition's cursor is a position in the
list, written by the same script as the events up to it. Each partition is thus its own reader; normally they march
together. After a kill between two partitions each is aligned with the list by its own position, and those that lag get
what they lack before all go on. The very first start writes the position at which it begins, one hour back, before it
publishes anything: a kill then does not move the beginning.

Where it is not sure how many items are new, a dead letter says so: it is published with the first of them.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from processors.collectors import sync_events
from processors.collectors.batching import cut
from processors.collectors.delivery import Delivery
from processors.collectors.descent import Descent
from processors.collectors.notifications import CHECK_S, WatchedSource, keep_watching
from processors.collectors.overlap import (
    HEADS,
    REPEATED,
    Alignment,
    ListPosition,
    decode_cursor,
    encode_cursor,
    item_digest,
    position_at,
)
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.collectors.sync_events import COLLECTOR, MAX_ITEM_BYTES
from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip, wrong_type
from processors.runtime.logging import get_logger
from schemas.events import Event, SyncOut

__all__ = ["SyncCollector"]

_KEY: Final = b"sync_events"
_CHANNEL: Final = "__keyspace@{}__:sync_events"
_LOOK: Final = 4
"""How many of the newest items a look compares: equal ones are pushed to a list of constant length, too."""
_CHUNK: Final = 8_192
"""Of more new items than this the older ones are published first."""
_SMALL_BYTES: Final = 32 << 20
_GAP_S: Final = 60.0
"""Gaps that follow one that was told sooner than this are counted only: some programs take items away all the time."""
_POLL_S: Final = 0.25
_PAUSE_S: Final = 0.005
"""Least time between two publications: under load batches grow, not the delay."""
_READ_BACK_MS: Final = 3_600_000
_READ_BACK_ITEMS: Final = 10_000

_logger = get_logger("collectors")


class _Reading(NamedTuple):
    """What was read of the list, and what each partition lacks of it."""

    descent: Descent
    # How many of the items seen each partition lacks.
    lacking: dict[str, int]
    # How many items are published once these are.
    total: int
    # What was remembered before.
    before: tuple[bytes, ...]
    # Why it is not sure how many are new, "" if it is; and in which partitions.
    doubt: str
    unsure: list[str]

    def place(self, index: int) -> ListPosition:
        """The position at which the item `index` of those seen is the newest published one."""
        return position_at(index, self.total - index, self.descent.seen, self.descent.length, self.before)


class SyncCollector:
    """Watches the list `sync_events` of one Redis database."""

    def __init__(
        self, bus: Bus, url: str, partitions: Sequence[str], status: SourceStatus, *, state_dir: Path | None = None
    ) -> None:
        self._keep_watching = partial(keep_watching, url, _CHANNEL, status=status, clock=bus.clock, state_dir=state_dir)
        self._clock = bus.clock
        self._delivery = Delivery(bus, COLLECTOR, partitions, status)
        self._status = status
        # How far each partition is; empty before the cursors are read.
        self._positions: dict[str, ListPosition] = {}
        # Whether the key was not a list when it was last read, which was then told once.
        self._wrong_type = False
        # Whether the list had small items only when it was last read.
        self._familiar = False
        # Loop times, seconds: when the source was last published, and when it is to be asked next.
        self._published_at = 0.0
        self._check_at = 0.0
        # Why the last reading was not sure how many items are new; "" if it was.
        self._doubt = ""
        # Loop time, seconds, until which further gaps are counted only.
        self._quiet_until = 0.0
        # Gaps: readings after which that was not sure. Equal items without end are one.
        self.ambiguous = 0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a batch may be in some partitions; the next start finds out."""
        async with self._delivery.held():
            await self._keep_watching(_ignore, self._session)

    async def _session(self, source: WatchedSource) -> None:
        while True:
            try:
                await self._read_list(source)
                await self._delivery.confirm()
                await source.wait(self._check_at - asyncio.get_running_loop().time())
                wait_s = self._published_at + _PAUSE_S - asyncio.get_running_loop().time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
            except CursorConflict as conflict:
                self._positions.clear()
                await self._delivery.begin_again(conflict)

    async def _read_list(self, source: WatchedSource) -> None:
        """Publish what is new in the list, as it is now."""
        try:
            if asyncio.get_running_loop().time() >= self._check_at:
                await source.enable_notifications()  # somebody may have switched them off meanwhile
            if not self._positions:
                await self._resume(source.client)
            length = await self._look(source.client)
            if length is not None:
                await self._catch_up(source.client, length)
            self._wrong_type = False
        except ResponseError as error:
            if not wrong_type(error):
                raise
            await self._tell_wrong_type()
        self._check_at = asyncio.get_running_loop().time() + (CHECK_S if source.notified else _POLL_S)

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
        descent = Descent()
        recent: int | None = None
        try:
            while not descent.whole and len(descent.seen) < (_READ_BACK_ITEMS if recent is None else recent) + HEADS:
                known = len(descent.seen)
                if not await self._read_piece(client, descent):
                    descent, recent = Descent(), None
                elif recent is None:
                    recent = _first_before(descent, known, descent.observed - _READ_BACK_MS)
        except ResponseError as error:
            if not wrong_type(error):
                raise
            return ListPosition(0, 0, ())
        index = min(len(descent.seen) if recent is None else recent, _READ_BACK_ITEMS)
        return position_at(index, 0, descent.seen, descent.length)

    async def _look(self, client: Redis) -> int | None:
        """The list's length if that or its head differs from what any partition has: one small round trip."""
        length, items = await _piece(client, 0, _LOOK - 1 if self._familiar else 0)
        heads = tuple(map(item_digest, items))
        self._familiar = self._familiar and all(len(item) <= MAX_ITEM_BYTES for item in items)
        changed = any(
            position.length != length or position.heads[: len(heads)] != heads for position in self._positions.values()
        )
        return length if changed else None

    async def _catch_up(self, client: Redis, length: int) -> None:
        """Publish what each partition lacks of a list of `length` items, the oldest first."""
        while True:
            start = self._start(length)
            reading = await self._descend(client, start)
            if start and reading.doubt:
                # The list did not just grow: its head may tell.
                start = 0
                reading = await self._descend(client, start)
            await self._tell_gap(reading)
            await self._publish(reading)
            if start == reading.descent.first == 0:
                return
            length = start + reading.descent.length

    def _start(self, length: int) -> int:
        """From which item downwards to read a list of `length` items that may just have grown."""
        known = [position.length for position in self._positions.values()]
        return max(0, length - max(known) - _CHUNK) if all(known) else 0

    async def _descend(self, client: Redis, start: int) -> _Reading:
        """Read as far down as it takes to find the place of every partition."""
        descent, need = Descent(start, familiar=self._familiar), 0
        small: bool | None = None
        while True:
            if not await self._read_piece(client, descent):
                descent, need, small = Descent(start, familiar=self._familiar), 0, None
            elif descent.whole or len(descent.seen) >= need:
                found = {position: descent.align(position) for position in set(self._positions.values())}
                need = max(alignment.need for alignment in found.values())
                if not need:
                    self._familiar = not descent.large
                    return _reading(descent, found, self._positions)
                if small is None and (small := await _is_small(client)):
                    descent.widen()

    async def _read_piece(self, client: Redis, descent: Descent) -> bool:
        """Read the next piece. Returns whether it is still the same list."""
        length, items = await _piece(client, *descent.next_piece())
        return descent.add(items, length, self._clock.now_ms())

    async def _tell_gap(self, reading: _Reading) -> None:
        """Reject what is not sure, once: the place that was found goes into each partition with that."""
        before, self._doubt = self._doubt, reading.doubt
        if not reading.doubt or reading.doubt == before == REPEATED:
            return
        self.ambiguous += 1
        self._status.detail = f"{self.ambiguous} ambiguous gap{'s' if self.ambiguous > 1 else ''}"
        now = asyncio.get_running_loop().time()
        if now < self._quiet_until:
            return
        self._quiet_until = now + _GAP_S
        descent, taken = reading.descent, max(reading.lacking.values())
        what = f"{taken} items taken as new, of {descent.start + descent.length} in the list"
        _logger.warning("%s: %s: %s", COLLECTOR, reading.doubt, what)
        event = sync_events.rejection(reading.doubt, what.encode(), descent.observed)
        for lack in {reading.lacking[partition] for partition in reading.unsure}:
            only = [partition for partition in reading.unsure if reading.lacking[partition] == lack]
            await self._send(reading.place(lack), [event], only)

    async def _publish(self, reading: _Reading) -> None:
        """Publish the new items that are held, oldest first, to each partition those above its own position."""
        held = reading.descent.first
        # A batch ends where another partition's lack begins: all of it goes to the same partitions.
        stops = sorted({held, *(lack for lack in reading.lacking.values() if lack > held)}, reverse=True)
        for above, below in itertools.pairwise(stops):
            only = [partition for partition, lack in reading.lacking.items() if lack >= above]
            index = above
            for count, events in cut(reading.descent.units(above, below)):
                index -= count
                await self._send(reading.place(index), events, only)
        # What changed without a new item, a trimmed tail say, need not be written: the older position fits as well.
        for partition, lack in reading.lacking.items():
            self._positions[partition] = reading.place(min(lack, held))

    async def _send(self, position: ListPosition, events: list[Event], only: Sequence[str]) -> None:
        cursor = encode_cursor(position, self._delivery.signature())
        await self._delivery.send(SourceBatch(cursor, events), only)
        self._positions |= dict.fromkeys(only, position)
        self._published_at = asyncio.get_running_loop().time()
        await self._delivery.check()

    async def _tell_wrong_type(self) -> None:
        """Reject the key as a whole, once; every partition stays where it is, and the list counts as gone."""
        if self._wrong_type:
            return
        event = sync_events.rejection("key is not a list", _KEY, self._clock.now_ms())
        for position in set(self._positions.values()):
            only = [partition for partition, own in self._positions.items() if own == position]
            await self._send(position._replace(length=0), [event], only)
        self._wrong_type = True


async def _piece(client: Redis, first: int, last: int) -> tuple[int, list[bytes]]:
    """The list's length, and its items from index `first` to `last`, both included, at one moment."""
    length, items = await in_one_trip(client, [("LLEN", _KEY), ("LRANGE", _KEY, first, last)], transaction=True)
    return length, items


async def _is_small(client: Redis) -> bool:
    """Whether all of the list together is small. A server that does not tell has it read in small pieces."""
    try:
        size = await client.memory_usage(_KEY, samples=0)
    except ResponseError:
        return False
    return (size or 0) <= _SMALL_BYTES


def _ignore(key: bytes) -> None:
    """There is one key only: that something happened is enough."""


def _reading(
    descent: Descent, found: Mapping[ListPosition, Alignment], positions: Mapping[str, ListPosition]
) -> _Reading:
    """What a descent found for the positions of the partitions."""
    doubts = {position: REPEATED if descent.unsure else alignment.doubt for position, alignment in found.items()}
    return _Reading(
        descent,
        {partition: found[position].new for partition, position in positions.items()},
        max(position.n + alignment.new for position, alignment in found.items()),
        max(positions.values(), key=lambda position: position.n).heads,
        max(doubts.values()),
        [partition for partition, position in positions.items() if doubts[position]],
    )


def _first_before(descent: Descent, known: int, oldest_ms: int) -> int | None:
    """The index of the first item from `known` on that is older than `oldest_ms`."""
    units = reversed(list(descent.units(len(descent.seen), known)))
    for index, (first, *_) in enumerate(units, known):
        if isinstance(first, SyncOut) and first.ts < oldest_ms:
            return index
    return None
