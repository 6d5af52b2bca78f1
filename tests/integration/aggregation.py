"""Aggregators on a real bus, for tests: started, told to stop, or dropped as by a crash."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

from processors.aggregators.service import serve
from processors.runtime.bus import Bus
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import load_settings
from schemas import codec, streams
from schemas.metrics import FederationSummary, MemorySummary

__all__ = ["aggregating", "memory_when", "summary_when"]

DEADLINE_S = 10
SETTINGS = load_settings({})

T = TypeVar("T")


@contextlib.asynccontextmanager
async def aggregating(url: str) -> AsyncIterator[asyncio.Event]:
    """The aggregators' service on a connection of its own; the event stops it."""
    bus, stop = Bus(url), asyncio.Event()
    bus.failure = asyncio.get_running_loop().create_future()
    await bus.open(16)
    task = asyncio.create_task(serve(bus, SETTINGS, stop, MetricsRegistry("aggregators")))
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
    return await _first(bus, streams.METRICS_FEDERATION, codec.decode_federation, holds)


async def memory_when(bus: Bus, holds: Callable[[MemorySummary], bool]) -> MemorySummary:
    """The same of the memory half."""
    return await _first(bus, streams.METRICS_MEMORY, codec.decode_memory, holds)


async def _first(bus: Bus, stream: str, decode: Callable[[Mapping[bytes, bytes]], T], holds: Callable[[T], bool]) -> T:
    position = "0-0"
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = await bus.read_many({stream: position})
            for entry_id, fields in found.get(stream, []):
                position = entry_id.decode()
                summary = decode(fields)
                if holds(summary):
                    return summary
