"""Who works each partition of a bus, how far it has come, and what waits."""

from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from processors.runtime.script import Script
from schemas import streams
from schemas.answers import MANY_ENTRIES, PartitionSeen

__all__ = ["read_partitions"]

_LAG: Final = Script("lag")


async def read_partitions(client: Redis) -> tuple[PartitionSeen, ...]:
    """Those that this bus was made with, whatever ARK_PARTITIONS says here.

    Raises redis-py's errors; ResponseError, too: if a foreign hand wrote what is no number into one.
    """
    made_with = cast("bytes | None", await client.get(streams.PARTITIONS)) or b"0"
    if not made_with.isdigit() or not 0 < int(made_with) <= streams.MAX_PARTITIONS:
        return ()
    names = [*streams.live_partitions(int(made_with)), streams.SIMULATED]
    calls = [([streams.meta_key(name), streams.events_key(name)], [MANY_ENTRIES]) for name in names]
    found = []
    for name, answer in zip(names, await _LAG.run_many(client, calls), strict=True):
        if isinstance(answer, Exception):
            raise answer
        owner, entries, waiting_ms, epoch, n, position, fenced = answer
        if not (n.isdigit() and fenced.isdigit()):
            raise ResponseError(f"what {streams.meta_key(name)} has as n or fenced is no number")
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
