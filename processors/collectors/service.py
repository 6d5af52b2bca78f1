"""The collectors' process: the sources of the federation half, the simulator, and the reporter.

Each runs by itself: a source that fails reports it and tries again, its neighbours go on.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from processors.collectors import peers, sync_events
from processors.collectors.delivery import ever_published
from processors.collectors.peer_reader import PeerCollector
from processors.collectors.reporter import Reporter
from processors.collectors.simulator import COLLECTOR, Simulator
from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from processors.runtime.settings import Settings, node_id
from processors.runtime.tasks import end_tasks
from schemas import streams

__all__ = ["serve"]

_SOURCES: Final = (peers.COLLECTOR, sync_events.COLLECTOR)


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event) -> None:
    """Collect until `stop` is set, then say that every source stopped. Raises SettingsError: if there is no node id.

    Cancellation: safe; the sources are then not said to have stopped.
    """
    node = await asyncio.to_thread(node_id, settings)
    partitions = streams.live_partitions(settings.ark_partitions)
    lived = await ever_published(bus, partitions, _SOURCES)
    reporter = Reporter(bus, node, settings.ark_retention)
    runs = [*_sources(bus, settings, partitions, reporter, lived), reporter.run()]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run) for run in runs]
        await stop.wait()
        await end_tasks(tasks)
    await reporter.close()


def _sources(
    bus: Bus, settings: Settings, partitions: list[str], reporter: Reporter, lived: set[str]
) -> list[Coroutine[Any, Any, None]]:
    peers_status = reporter.source(peers.COLLECTOR, "peers", lived=peers.COLLECTOR in lived)
    sync_status = reporter.source(sync_events.COLLECTOR, "sync", lived=sync_events.COLLECTOR in lived)
    simulator = Simulator(
        bus,
        reporter.source(COLLECTOR, "federation"),
        mode=settings.ark_simulate,
        seed=settings.ark_simulate_seed,
        ever_live=bool(lived),
    )
    if settings.ark_simulate == "always":
        for status in (peers_status, sync_status):
            status.resting(bus.clock.now_ms(), "ARK_SIMULATE is always")
        return [simulator.run()]
    return [
        PeerCollector(bus, settings.redis_url, partitions, peers_status).run(),
        SyncCollector(bus, settings.redis_url, partitions, sync_status).run(),
        simulator.run(),
    ]
