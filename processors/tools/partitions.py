"""`ark-pulse partitions`: who works each partition, how far it has come, and what waits. Changes nothing."""

from typing import Final, cast

import msgspec
from redis.asyncio import Redis

from processors.runtime.bus import Script
from processors.runtime.connection import ask_bus
from processors.runtime.output import print_line, visible
from processors.runtime.settings import Settings
from processors.tools.overview import MANY_ENTRIES, PartitionSeen
from schemas import streams

__all__ = ["partitions", "read_partitions"]

_MAX_PARTITIONS: Final = 1_024
_LAG: Final = Script("lag")
_HEADER: Final = ("partition", "owner", "epoch", "n", "position", "waiting", "lag ms", "fenced")


def partitions(settings: Settings, *, json_text: bool) -> None:
    """Print one line for each partition. Raises BusDown: if the bus does not answer."""
    seen = ask_bus(settings, read_partitions)
    if json_text:
        print_line(msgspec.json.encode({"partitions": seen}).decode())
        return
    rows = [_HEADER, *(_row(each) for each in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def read_partitions(client: Redis) -> tuple[PartitionSeen, ...]:
    """Those that this bus was made with, whatever ARK_PARTITIONS says here. Raises redis-py's errors."""
    made_with = cast("bytes | None", await client.get(streams.PARTITIONS)) or b"0"
    if not made_with.isdigit() or not 0 < int(made_with) <= _MAX_PARTITIONS:
        return ()
    names = [*streams.live_partitions(int(made_with)), streams.SIMULATED]
    calls = [([streams.meta_key(name), streams.events_key(name)], [MANY_ENTRIES]) for name in names]
    found = []
    for name, answer in zip(names, await _LAG.run_many(client, calls), strict=True):
        if isinstance(answer, Exception):
            raise answer
        owner, entries, waiting_ms, epoch, n, position, fenced = answer
        found.append(
            PartitionSeen(
                name=name,
                owner=owner.decode("utf-8", "replace") or None,
                lag_entries=entries,
                lag_ms=waiting_ms,
                epoch=epoch.decode("utf-8", "replace"),
                n=int(n),
                position=position.decode("utf-8", "replace"),
                fenced=int(fenced),
            )
        )
    return tuple(found)


def _row(seen: PartitionSeen) -> tuple[str, ...]:
    waiting = f"{seen.lag_entries}{'+' if seen.lag_entries >= MANY_ENTRIES else ''}"
    return (
        seen.name,
        visible(seen.owner or "nobody"),
        visible(seen.epoch or "-"),
        str(seen.n),
        visible(seen.position),
        waiting,
        str(seen.lag_ms),
        str(seen.fenced),
    )
