"""The merger: reads the partials of all partitions and the states of the sources, writes the summary."""

import asyncio
from typing import Final

from processors.aggregators.merge import merge_federation, next_deadline
from processors.aggregators.merged import APPEND_INTERVAL_S, MergedWriter
from processors.aggregators.ownership import Grant
from processors.runtime.bus import BLOCK_MS, Bus, Entry
from processors.runtime.logging import get_logger
from schemas import codec, streams
from schemas.errors import SchemaError
from schemas.metrics import MAX_SOURCES, Partial, SourceState
from schemas.positions import entry_id

__all__ = ["FederationMerger"]

_MOST_ENTRIES: Final = 50_000
_SOURCES_READ_BACK: Final = 200

_logger = get_logger("aggregators")


class FederationMerger(MergedWriter):
    """Writes `ark:metrics:federation`: one whole summary whenever a partial, a source or time changed it."""

    def __init__(self, bus: Bus, partitions: list[str], retention_ms: int) -> None:
        super().__init__(bus, streams.METRICS_FEDERATION, "federation", retention_ms, _MOST_ENTRIES)
        # Stream of partials -> partition.
        self._partitions = {streams.partials_key(name): name for name in partitions}
        # Newest partial of each partition, and what each source said last, with the time it was heard.
        self._partials: dict[str, Partial] = {}
        self._heard: dict[tuple[str, str], tuple[int, SourceState]] = {}
        # Newest id read of each stream.
        self._positions: dict[str, str] = {}

    async def write(self, grant: Grant) -> None:
        """Merge until cancelled. Raises Fenced, redis-py's errors."""
        await self._read_back()
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            now = self._bus.clock.now_ms()
            summary = merge_federation(self._partials, self._heard, grant.epoch, grant.n + 1, now)
            grant = await self.append(grant, [codec.encode(summary)], {})
            spare = began + APPEND_INTERVAL_S - loop.time()
            if spare > 0:
                await asyncio.sleep(spare)
            await self._read()

    async def _read_back(self) -> None:
        """Begin with the newest partial of each partition, and the newest word of each source."""
        async with self._bus.client.pipeline(transaction=False) as pipe:
            for key in self._partitions:
                pipe.xrevrange(key, count=1)
            pipe.xrevrange(streams.SOURCES, count=_SOURCES_READ_BACK)
            *partials, sources = await pipe.execute()
        for key, entries in zip(self._partitions, partials, strict=True):
            self._take(key, entries)
        self._take(streams.SOURCES, sources[::-1])

    async def _read(self) -> None:
        """Wait for the next entries, or for time to change something."""
        now = self._bus.clock.now_ms()
        deadline = next_deadline(self._partials, self._heard, now)
        block_ms = BLOCK_MS if deadline is None else max(1, min(BLOCK_MS, deadline - now))
        positions = {key: self._positions.get(key, "0-0") for key in (*self._partitions, streams.SOURCES)}
        while not (found := await self._bus.read_many(positions, block_ms=block_ms)):
            now = self._bus.clock.now_ms()
            if deadline is not None and now >= deadline:
                return
            block_ms = BLOCK_MS if deadline is None else max(1, min(BLOCK_MS, deadline - now))
        for key, entries in found.items():
            self._take(key, entries)

    def _take(self, key: str, entries: list[Entry]) -> None:
        if not entries:
            return
        self._positions[key] = entries[-1][0].decode()
        # Each partial is whole, only the newest counts; of the sources each has its own word.
        for text, fields in entries if key == streams.SOURCES else entries[-1:]:
            try:
                if key == streams.SOURCES:
                    self._hear(entry_id(text).ms, codec.decode_source(fields))
                else:
                    self._partials[self._partitions[key]] = codec.decode_partial(fields)
            except SchemaError as error:
                _logger.warning("an entry of %s is left out: %s", key, error)

    def _hear(self, moment: int, state: SourceState) -> None:
        self._heard[state.node, state.collector] = (moment, state)
        if len(self._heard) > MAX_SOURCES:
            del self._heard[min(self._heard, key=lambda each: self._heard[each][0])]
