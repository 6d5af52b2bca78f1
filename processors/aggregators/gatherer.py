"""The gatherer: brings single events of all partitions together in one stream, each once."""

import asyncio
from typing import Final, cast

from processors.aggregators.merged import APPEND_INTERVAL_S, CHECK_S, MergedWriter
from processors.aggregators.ownership import Grant
from processors.runtime.bus import Bus, Entry
from schemas.positions import entry_id

__all__ = ["Gatherer"]

_AT_ONCE: Final = 500
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

    async def write(self, grant: Grant) -> None:
        """Gather until cancelled. Raises Fenced, redis-py's errors."""
        meta = cast("dict[bytes, bytes]", await self._bus.client.hgetall(self.meta_key))
        positions = {
            key: meta.get(_FROM + partition.encode(), b"0-0").decode() for key, partition in self._sources.items()
        }
        loop = asyncio.get_running_loop()
        # Partition -> id up to which it was read since that was noted last, and how many entries that were.
        read: dict[str, str] = {}
        count = 0
        check_at = loop.time()
        while True:
            if loop.time() >= check_at:
                positions |= await self.begun_anew(positions)
                check_at = loop.time() + CHECK_S
            # All streams together may give as many times more: each append is bounded below.
            found = await self._reader.read(positions, count=_AT_ONCE // len(self._sources) + 1)
            began = loop.time()
            positions |= {key: entries[-1][0].decode() for key, entries in found.items()}
            read |= {self._sources[key]: positions[key] for key in found}
            count += sum(map(len, found.values()))
            bodies = self._bodies(found)
            # What was passed over need not be noted each time: the next writer would pass over it again.
            if bodies or count >= _AT_ONCE:
                grant = await self.append(grant, bodies, read)
                read, count = {}, 0
            spare = began + APPEND_INTERVAL_S - loop.time()
            if spare > 0:
                await asyncio.sleep(spare)

    def _bodies(self, found: dict[str, list[Entry]]) -> list[bytes]:
        kind = self._kind.encode()
        entries = [entry for partition in found.values() for entry in partition]
        entries.sort(key=lambda entry: entry_id(entry[0]))
        # A foreign entry may have no body to pass on.
        return [fields[b"d"] for _, fields in entries if fields.get(b"t") == kind and b"d" in fields]
