"""The merger: reads the partials of all partitions and the states of the sources, writes the summary of one half."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from processors.aggregators import merge_federation, merge_memory
from processors.aggregators.merge import Heard, Partials
from processors.aggregators.merged import APPEND_INTERVAL_S, CHECK_S, MergedWriter
from processors.aggregators.ownership import Grant
from processors.runtime.bus import BLOCK_MS, Bus, Entry
from processors.runtime.connection import in_one_trip
from processors.runtime.logging import get_logger
from schemas import codec, streams
from schemas.errors import SchemaError
from schemas.metrics import MAX_SOURCES, FederationSummary, MemorySummary, Partial, SourceState
from schemas.positions import entry_id

__all__ = ["FEDERATION", "MEMORY", "Half", "Merger"]

_SOURCES_READ_BACK: Final = 2_000

_logger = get_logger("aggregators")


class Half(NamedTuple):
    """What a merger has to know of the half that it summarises."""

    stream: str
    # Type of its entries, and most of them that are kept.
    kind: str
    most: int
    # What its sources call the group they feed.
    groups: frozenset[str]
    # What of a partial goes into its summary: if that is as it was, so is the summary.
    part_of: Callable[[Partial], object]
    merge: Callable[[Partials, Heard, str, int, int], FederationSummary | MemorySummary]
    next_deadline: Callable[[Partials, Heard, int], int | None]


FEDERATION: Final = Half(
    streams.METRICS_FEDERATION,
    "federation",
    50_000,
    frozenset({"peers", "sync", "discovery", "federation"}),
    lambda partial: (partial.epoch, partial.since, partial.federation),
    merge_federation.merge_federation,
    merge_federation.next_deadline,
)

MEMORY: Final = Half(
    streams.METRICS_MEMORY,
    "memory",
    2_000,
    frozenset({"reasoning", "code", "memory"}),
    lambda partial: (partial.epoch, partial.memory, partial.nodes),
    merge_memory.merge_memory,
    merge_memory.next_deadline,
)


class Merger(MergedWriter):
    """Writes the whole summary of one half whenever what a partition says of it, a source or time changed it."""

    def __init__(self, bus: Bus, half: Half, partitions: list[str], retention_ms: int) -> None:
        super().__init__(bus, half.stream, half.kind, retention_ms, half.most)
        self._half = half
        # Stream of partials -> partition.
        self._partitions = {streams.partials_key(name): name for name in partitions}
        # The partial that brought each partition's newest values, and what each source said last, with the time it
        # was heard.
        self._partials: dict[str, Partial] = {}
        self._heard: dict[tuple[str, str], tuple[int, SourceState]] = {}
        # Streams of which something could not be read when they last brought anything.
        self._unreadable: set[str] = set()
        # Newest id read of each stream.
        self._positions: dict[str, str] = {}
        # When they are compared with the streams next, loop time in seconds.
        self._check_at = 0.0

    async def write(self, grant: Grant) -> None:
        """Merge until cancelled. Raises Fenced, redis-py's errors."""
        await self._read_back()
        loop = asyncio.get_running_loop()
        changed, deadline = True, None
        while True:
            began = loop.time()
            now = self._bus.clock.now_ms()
            if changed or (deadline is not None and now >= deadline):
                summary = self._half.merge(self._partials, self._heard, grant.epoch, grant.n + 1, now)
                grant = await self.append(grant, [codec.encode(summary)], {})
                deadline = self._half.next_deadline(self._partials, self._heard, now)
            spare = began + APPEND_INTERVAL_S - loop.time()
            if spare > 0:
                await asyncio.sleep(spare)
            changed = await self._read(deadline)

    async def _read_back(self) -> None:
        """Begin with the newest partial of each partition, and the newest word of each source."""
        counts = {**dict.fromkeys(self._partitions, 1), streams.SOURCES: _SOURCES_READ_BACK}
        asked = [("XREVRANGE", key, "+", "-", "COUNT", count) for key, count in counts.items()]
        *partials, sources = await in_one_trip(self._bus.client, asked)
        for key, entries in zip(self._partitions, partials, strict=True):
            self._take(key, entries)
        self._take(streams.SOURCES, sources[::-1])

    async def _read(self, deadline: int | None) -> bool:
        """Wait for the next entries, until `deadline` at most; returns whether they change the summary."""
        wait_ms = BLOCK_MS if deadline is None else deadline - self._bus.clock.now_ms()
        positions = {key: self._positions.get(key, "0-0") for key in (*self._partitions, streams.SOURCES)}
        if (moment := asyncio.get_running_loop().time()) >= self._check_at:
            self._check_at = moment + CHECK_S
            positions |= await self.begun_anew(positions)
        found = await self._reader.read(positions, block_ms=max(1, min(BLOCK_MS, wait_ms)))
        changed = [self._take(key, entries) for key, entries in found.items()]
        return any(changed)

    def _take(self, key: str, entries: list[Entry]) -> bool:
        """Take what a stream brought; returns whether anything of it changes the summary."""
        changed = False
        unreadable: list[SchemaError] = []
        # Each partial is whole, only the newest counts; of the sources each has its own word.
        for text, fields in entries if key == streams.SOURCES else entries[-1:]:
            self._positions[key] = text.decode()
            try:
                if key == streams.SOURCES:
                    changed |= self._hear(entry_id(text).ms, codec.decode_source(fields))
                else:
                    changed |= self._hold(self._partitions[key], codec.decode_partial(fields))
            except SchemaError as error:
                unreadable.append(error)
        self._complain(key, unreadable)
        if changed:
            self.trail.note_all(entries)
        return changed

    def _complain(self, key: str, unreadable: list[SchemaError]) -> None:
        """Log that a stream cannot be read: once until it can be, however much somebody writes."""
        if unreadable and key not in self._unreadable:
            _logger.warning("%d entries of %s are left out: %s", len(unreadable), key, unreadable[-1])
        (self._unreadable.add if unreadable else self._unreadable.discard)(key)

    def _hold(self, partition: str, partial: Partial) -> bool:
        held = self._partials.get(partition)
        if held is not None and self._half.part_of(held) == self._half.part_of(partial):
            # A commit of the other half: each would cost an entry here that says nothing new.
            return False
        self._partials[partition] = partial
        return True

    def _hear(self, moment: int, state: SourceState) -> bool:
        # A foreign producer may name an id of its own, and all ids after it are as far ahead: nobody would ever be
        # silent. It was heard now at the latest.
        moment = min(moment, self._bus.clock.now_ms())
        if state.group not in self._half.groups:
            return False
        self._heard[state.node, state.collector] = (moment, state)
        if len(self._heard) > MAX_SOURCES:
            del self._heard[min(self._heard, key=lambda each: self._heard[each][0])]
        return True
