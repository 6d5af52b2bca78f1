"""Aggregators on a real bus, for tests: started, told to stop, or dropped as by a crash."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from processors.aggregators.service import serve
from processors.runtime.bus import Bus
from processors.runtime.settings import load_settings
from schemas import codec, streams
from schemas.metrics import FederationSummary

__all__ = ["aggregating", "summary_when"]

DEADLINE_S = 10
SETTINGS = load_settings({})


@contextlib.asynccontextmanager
async def aggregating(url: str) -> AsyncIterator[asyncio.Event]:
    """The aggregators' service on a connection of its own; the event stops it."""
    bus, stop = Bus(url), asyncio.Event()
    bus.failure = asyncio.get_running_loop().create_future()
    await bus.open(16)
    task = asyncio.create_task(serve(bus, SETTINGS, stop))
    try:
        yield stop
    finally:
        stop.set()
        await task
        await bus.close()
        if bus.failure.done():
            bus.failure.result()


async def summary_when(bus: Bus, holds: Callable[[FederationSummary], bool]) -> FederationSummary:
    """The first federation summary, of those there are or will be, for which `holds`."""
    position = "0-0"
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await bus.read_many({streams.METRICS_FEDERATION: position})
            for entry_id, fields in found.get(streams.METRICS_FEDERATION, []):
                position = entry_id.decode()
                summary = codec.decode_federation(fields)
                if holds(summary):
                    return summary
