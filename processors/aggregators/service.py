"""The aggregators' process: every partition, the mergers, and the gatherers, as far as their leases can be had."""

import asyncio
from functools import partial

from processors.aggregators.gatherer import Gatherer
from processors.aggregators.merger import FEDERATION, MEMORY, Merger
from processors.aggregators.observer import Observer
from processors.aggregators.owner import Makers, own
from processors.aggregators.runner import PartitionRunner
from processors.aggregators.tally import Tally
from processors.aggregators.watch import Watch
from processors.runtime.bus import Bus
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings
from schemas import streams

__all__ = ["serve"]

_DEAD_RETENTION_MS = 7 * 24 * 3_600_000


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event, registry: MetricsRegistry) -> None:
    """Aggregate until `stop`. Raises BusDown: if the bus does not answer at the start."""
    observer, tally = Observer(bus), Tally()
    registry.add(tally.read)
    await observer.start()
    try:
        await own(bus, _duties(bus, settings, observer.watch, tally), stop, tally)
    finally:
        await observer.stop()


def _duties(bus: Bus, settings: Settings, watch: Watch, tally: Tally) -> tuple[Makers, Makers]:
    """The partitions, and the writers of merged streams: each kind is shared evenly by itself."""
    names = [*streams.live_partitions(settings.ark_partitions), streams.SIMULATED]
    retention_ms = settings.ark_retention
    feeds = {streams.feed_key(name): name for name in names}
    letters = {streams.dead_key(name): name for name in names}
    partitions: Makers = {
        streams.meta_key(name): partial(
            PartitionRunner,
            bus,
            name,
            settings.ark_partitions,
            retention_ms,
            Watch() if name == streams.SIMULATED else watch,
            tally=tally,
        )
        for name in names
    }
    writers: Makers = {
        **{
            streams.writer_key(half.stream): partial(Merger, bus, half, names, retention_ms)
            for half in (FEDERATION, MEMORY)
        },
        **{
            streams.writer_key(stream): partial(
                Gatherer, bus, stream, kind, feeds, retention_ms=retention_ms, most=50_000
            )
            for stream, kind in ((streams.FEED_SYNC, "sync"), (streams.FEED_MEMORY, "memory"))
        },
        streams.writer_key(streams.DEAD): partial(
            Gatherer, bus, streams.DEAD, "dead", letters, retention_ms=_DEAD_RETENTION_MS, most=10_000
        ),
    }
    return partitions, writers
