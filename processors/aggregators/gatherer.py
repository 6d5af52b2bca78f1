"""The gatherer: brings single events of all partitions together in one stream, each once."""

import asyncio
from typing import Final, cast

from processors.aggregators.merged import APPEND_INTERVAL_S, CHECK_S, MergedWriter
from processors.aggregators.ownership import Grant
from processors.runtime.bus import Bus, Entry
from processors.runtime.reads import count_for
from schemas.codec import records_of
from schemas.positions import entry_id

__all__ = ["Gatherer"]

_AT_ONCE: Final = 500
# Of each partition is read about so much at once: an entry may be a thousand records, or one letter.
_READ_BYTES: Final = 1 << 16
_LEAST_ENTRIES: Final = 4
_FROM: Final = b"from:"


class Gatherer(MergedWriter):
    """Writes a merged stream from one stream of each partition, in the order of their times where they meet.

    Only entries of its own kind are gathered; the others are passed over. Delivery: exactly once; how far each
    partition was gathered is noted together with what was gathered.
    """

    def __init__(
        self, bus: Bus, stream: str, kind: str, sources: dict[str, str], *, retention_ms: int, most: int
    ) -> None:
        super().__init__(bus, stream, kind, retention_ms, most)
        # Stream to gather from -> partition.
        self._sources = sources
        # What was read since it was appended last: bodies, how many entries, and up to which id of each partition.
        self._bodies: list[bytes] = []
        self._count = 0
        self._read: dict[str, str] = {}
        # How many entries of each partition the next read brings at most.
        self._entries = _LEAST_ENTRIES

    async def write(self, grant: Grant) -> None:
        """Gather until cancelled. Raises Fenced, redis-py's errors."""
        meta = cast("dict[bytes, bytes]", await self._bus.client.hgetall(self.meta_key))
        positions = {
            key: meta.get(_FROM + partition.encode(), b"0-0").decode() for key, partition in self._sources.items()
        }
        loop = asyncio.get_running_loop()
        check_at = loop.time()
        while True:
            if loop.time() >= check_at:
                positions |= await self.begun_anew(positions)
                check_at = loop.time() + CHECK_S
            found = await self._reader.read(positions, count=self._entries)
            began = loop.time()
            read = [entry for entries in found.values() for entry in entries]
            self._entries = count_for(_READ_BYTES, read, _LEAST_ENTRIES, _AT_ONCE)
            positions |= {key: entries[-1][0].decode() for key, entries in found.items()}
            grant = await self._gather(grant, found)
            spare = began + APPEND_INTERVAL_S - loop.time()
            if spare > 0:
                await asyncio.sleep(spare)

    async def _gather(self, grant: Grant, found: dict[str, list[Entry]]) -> Grant:
        """Append what was found, in pieces. Raises as `append`."""
        kind = self._kind.encode()
        entries = [(self._sources[key], *entry) for key, each in found.items() for entry in each]
        entries.sort(key=lambda entry: entry_id(entry[1]))
        for partition, text, fields in entries:
            self._read[partition] = text.decode()
            self._count += 1
            # A foreign entry may have no body to pass on.
            if fields.get(b"t") == kind and b"d" in fields:
                self._bodies += records_of(fields[b"d"])
                self.trail.note(fields)
            if len(self._bodies) >= _AT_ONCE:
                grant = await self._append_read(grant)
        # What was passed over need not be noted each time: the next writer would pass over it again.
        return await self._append_read(grant) if self._bodies or self._count >= _AT_ONCE else grant

    async def _append_read(self, grant: Grant) -> Grant:
        grant = await self.append(grant, self._bodies, self._read)
        self._bodies, self._count, self._read = [], 0, {}
        return grant
