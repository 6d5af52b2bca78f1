"""A bus at rest: who works on it, what of ours it holds, how it is emptied; and the embedded one if nobody runs it."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from redis.asyncio import Redis

from processors.runtime.connection import ask_bus, in_one_trip
from processors.runtime.embedded import EmbeddedServer
from processors.runtime.errors import AlreadyRunning, PulseError
from processors.runtime.observation import server_ms
from processors.runtime.settings import Settings
from processors.runtime.supervisor import Supervisor
from processors.runtime.up import start_server
from schemas import streams

__all__ = ["HASHES", "MERGED", "STREAMS", "check_rest", "clear", "on_bus", "ours"]

HASHES: Final = (streams.meta_key, streams.state_key, streams.peers_key, streams.cursors_key)
"""The hashes of a partition; there are the digests of its sources, too."""

STREAMS: Final = (
    streams.events_key,
    streams.changes_key,
    streams.partials_key,
    streams.feed_key,
    streams.dead_key,
    streams.parked_key,
)
"""The streams of a partition."""

MERGED: Final = (
    streams.METRICS_FEDERATION,
    streams.METRICS_MEMORY,
    streams.FEED_SYNC,
    streams.FEED_MEMORY,
    streams.DEAD,
)
"""The streams that are merged from all partitions."""

_SCANNED: Final = 1_000
_LEASES: Final = streams.lease_key("")
_COLLECTOR: Final = re.compile(rb"(?<=\}:published:).+", re.DOTALL)
# Keys of ARK's own may begin alike: what is not on the map is not ours.
_OTHERS: Final = frozenset(name.encode() for name in (streams.SOURCES, streams.SILENCES, *MERGED)) | {
    streams.writer_key(name).encode() for name in MERGED
}

T = TypeVar("T")


def on_bus(settings: Settings, work: Callable[[Redis], Awaitable[T]]) -> T:
    """What `work` gives with a client of the bus. The embedded server, where nobody runs it, is run meanwhile. Blocks.

    Raises BusDown: if the bus does not answer. Raises BusError, SettingsError: if it does not start.
    """
    if settings.ark_bus_url is None:
        # Its lock tells whether somebody runs it: the address may be what a killed `up` left.
        with contextlib.suppress(AlreadyRunning), EmbeddedServer(settings.ark_state_dir, wait_s=0) as server:
            supervisor = Supervisor([server.program()])
            return asyncio.run(_beside(server, supervisor, lambda: ask_bus(settings, work)))
    return ask_bus(settings, work)


async def _beside(server: EmbeddedServer, supervisor: Supervisor, work: Callable[[], T]) -> T:
    never = asyncio.Event()
    try:
        await start_server(supervisor, server, never)
        return await asyncio.to_thread(work)
    finally:
        await supervisor.end_all(never)


async def check_rest(client: Redis) -> None:
    """Raises PulseError: if an aggregator or a collector runs. Raises redis-py's errors."""
    now = await server_ms(client)
    heard = [(name, abs(now - moment)) async for name, moment in client.zscan_iter(streams.AGGREGATORS)]
    aggregators = [name for name, silent_ms in heard if silent_ms <= streams.AGGREGATOR_GONE_MS]
    leases = [key async for key in client.scan_iter(match=f"{_LEASES}*", count=_SCANNED)]
    workers = [f"aggregator {name.decode(errors='replace')}" for name in sorted(aggregators)]
    workers += [f"collector {key.decode(errors='replace').removeprefix(_LEASES)}" for key in sorted(leases)]
    if workers:
        further = f" and {len(workers) - 3} more" if len(workers) > 3 else ""
        raise PulseError(f"stop what works on this bus first: {', '.join(workers[:3])}{further}")


async def ours(client: Redis, *, pins: bool = False) -> list[bytes]:
    """Our keys but the number of partitions, what says who runs, and, unless `pins`, the keys of node ids.

    Those of a partition are ours if this bus has the partition; where their number is unknown, if there may be one.
    Raises redis-py's errors.
    """
    chosen = _OTHERS | {streams.FEDERATION_PINS.encode()} if pins else _OTHERS
    # SCAN may give a key twice. Those of a merged stream's writer begin with the brace.
    keys = {key async for key in client.scan_iter(match="*ark:*", count=_SCANNED)}
    made_with = await client.get(streams.PARTITIONS) or b"0"
    count = int(made_with) if made_with.isdigit() else 0
    names = [*streams.live_partitions(min(count or streams.MAX_PARTITIONS, streams.MAX_PARTITIONS)), streams.SIMULATED]
    chosen |= {key_of(name).encode() for name in names for key_of in (*HASHES, *STREAMS)}
    chosen |= {streams.published_key(name, "*").encode() for name in names}
    return [key for key in keys if _COLLECTOR.sub(b"*", key) in chosen]


async def clear(client: Redis, keys: Iterable[bytes]) -> None:
    """Remove `keys`, and have nothing start on this bus until its number of partitions is set.

    Raises redis-py's errors. Cancellation: some may be left.
    """
    await client.set(streams.PARTITIONS, 0)
    going = [*keys, streams.AGGREGATORS]
    for start in range(0, len(going), _SCANNED):
        await in_one_trip(client, [("UNLINK", key) for key in going[start : start + _SCANNED]])
