"""The collectors' process: the sources of both halves, their simulators, and the reporter.

Each runs by itself: a source that fails reports it and tries again, its neighbours go on.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

from processors.collectors import code_memory, discovery, memory_simulation, peers, reasoning, simulation, sync_events
from processors.collectors.activation import FEDERATION, MEMORY, Half
from processors.collectors.backoff import Backoff
from processors.collectors.code_reader import CodeCollector
from processors.collectors.delivery import ever_published
from processors.collectors.discovery_reader import DiscoveryCollector
from processors.collectors.peer_reader import PeerCollector
from processors.collectors.reasoning_reader import ReasoningCollector
from processors.collectors.reporter import Reporter
from processors.collectors.simulator import Making, Simulator
from processors.collectors.status import SourceStatus
from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from processors.runtime.clock import BusClock
from processors.runtime.logging import get_logger
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, node_id
from processors.runtime.tasks import end_tasks
from schemas import streams
from schemas.metrics import Group

__all__ = ["serve"]

_logger = get_logger("collectors")

_SIMULATORS: Final[tuple[tuple[str, Half, Making], ...]] = (
    (simulation.COLLECTOR, FEDERATION, simulation.Simulation),
    (memory_simulation.COLLECTOR, MEMORY, memory_simulation.MemorySimulation),
)


class _Collector(Protocol):
    async def run(self) -> None:
        """Collect until cancelled."""


class _Source(NamedTuple):
    """A source that may be watched."""

    collector: str
    group: Group
    # The name on its cursors.
    cursor: str
    make: Callable[[SourceStatus], _Collector]


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event, registry: MetricsRegistry) -> None:
    """Collect until `stop` is set, then say that every source stopped. Raises SettingsError: if there is no node id.

    Cancellation: safe; the sources are then not said to have stopped.
    """
    node = await asyncio.to_thread(node_id, settings)
    partitions = streams.live_partitions(settings.ark_partitions)
    sources = _sources(bus, settings, node, partitions)
    lived = await ever_published(bus, partitions, [source.cursor for source in sources])
    reporter = Reporter(bus, node, settings.ark_retention)
    registry.add(reporter.read)
    runs = _watching(bus, settings, reporter, sources, lived)
    runs += _simulating(bus, settings, reporter, {source.group for source in sources if source.cursor in lived})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run) for run in (*runs, reporter.run())]
        await stop.wait()
        await end_tasks(tasks)
    await reporter.close()


def _sources(bus: Bus, settings: Settings, node: str, partitions: list[str]) -> list[_Source]:
    """The sources that `settings` name."""
    redis, state = (bus, settings.redis_url, partitions), settings.ark_state_dir
    home = streams.partition_of(node, settings.ark_partitions)
    data = settings.ark_base_path / "data"
    read_logs = partial(ReasoningCollector, bus, data / "reasoning_logs.db", node, home)
    read_code = partial(CodeCollector, bus, data / "ark.db", node, home)
    sources = [
        _Source(peers.COLLECTOR, "peers", peers.COLLECTOR, partial(PeerCollector, *redis, state_dir=state)),
        _Source(sync_events.COLLECTOR, "sync", sync_events.COLLECTOR, partial(SyncCollector, *redis, state_dir=state)),
        # A node's databases are published under its own name: several nodes may share a partition.
        _Source(reasoning.COLLECTOR, "reasoning", f"{reasoning.COLLECTOR}:{node}", read_logs),
        _Source(code_memory.COLLECTOR, "code", f"{code_memory.COLLECTOR}:{node}", read_code),
    ]
    if (url := settings.ark_federation_url) is not None:
        follow = partial(DiscoveryCollector, bus, url, partitions)
        sources.append(_Source(discovery.COLLECTOR, "discovery", discovery.service_at(url).cursor, follow))
    return sources


def _watching(
    bus: Bus, settings: Settings, reporter: Reporter, sources: list[_Source], lived: Collection[str]
) -> list[Coroutine[Any, Any, None]]:
    """The collectors, to be run. `lived`: the cursors that are on the bus."""
    runs = []
    for source in sources:
        status = reporter.source(source.collector, source.group, lived=source.cursor in lived)
        if settings.ark_simulate == "always":
            status.resting(bus.clock.now_ms(), "ARK_SIMULATE is always")
        else:
            runs.append(_isolated(source.make(status), status, bus.clock))
    return runs


def _simulating(bus: Bus, settings: Settings, reporter: Reporter, lived: set[Group]) -> list[Coroutine[Any, Any, None]]:
    """The simulators, to be run. `lived`: the groups that have been live on this bus."""
    return [
        Simulator(
            bus,
            reporter.source(collector, half.name),
            half,
            make,
            mode=settings.ark_simulate,
            seed=settings.ark_simulate_seed,
            ever_live=not lived.isdisjoint(half.groups),
        ).run()
        for collector, half, make in _SIMULATORS
    ]


async def _isolated(collector: _Collector, status: SourceStatus, clock: BusClock) -> None:
    """Run a collector, again and again should it fail in a way that nobody thought of: its neighbours go on."""
    backoff = Backoff(random.random, most_s=60.0)
    while True:
        try:
            await collector.run()
        except Exception as error:
            _logger.exception("%s failed", status.collector)
            status.failed(clock.now_ms(), f"internal error: {type(error).__name__}")
        await asyncio.sleep(backoff.next_s())
