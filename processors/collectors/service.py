"""The collectors' process: the sources of both halves, their simulators, and the reporter.

Each runs by itself: a source that fails reports it and tries again, its neighbours go on.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from processors.collectors import (
    code_memory,
    discovery,
    memory_simulation,
    peers,
    reasoning,
    simulation,
    sync_events,
)
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
from processors.runtime.settings import Settings, node_id
from processors.runtime.tasks import end_tasks
from schemas import streams

__all__ = ["serve"]

_logger = get_logger("collectors")

_MESH: Final = (peers.COLLECTOR, sync_events.COLLECTOR)
_MEMORY: Final = (reasoning.COLLECTOR, code_memory.COLLECTOR)


async def serve(bus: Bus, settings: Settings, stop: asyncio.Event) -> None:
    """Collect until `stop` is set, then say that every source stopped. Raises SettingsError: if there is no node id.

    Cancellation: safe; the sources are then not said to have stopped.
    """
    node = await asyncio.to_thread(node_id, settings)
    partitions = streams.live_partitions(settings.ark_partitions)
    # A node's databases are published under its own name: several nodes may share a partition.
    own = {f"{collector}:{node}": collector for collector in _MEMORY}
    if settings.ark_federation_url is not None:
        own[discovery.service_at(settings.ark_federation_url).cursor] = discovery.COLLECTOR
    lived = await ever_published(bus, partitions, [*_MESH, *own])
    reporter = Reporter(bus, node, settings.ark_retention)
    sources = _Sources(bus, settings, node, reporter, {own.get(name, name) for name in lived})
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run) for run in (*sources.runs(), reporter.run())]
        await stop.wait()
        await end_tasks(tasks)
    await reporter.close()


class _Collector(Protocol):
    async def run(self) -> None:
        """Collect until cancelled."""


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


class _Sources:
    """What is watched and simulated for one node. `lived`: collectors that have been live on this bus."""

    def __init__(self, bus: Bus, settings: Settings, node: str, reporter: Reporter, lived: set[str]) -> None:
        self._bus = bus
        self._settings = settings
        self._node = node
        self._partitions = streams.live_partitions(settings.ark_partitions)
        self._home = streams.partition_of(node, settings.ark_partitions)
        self._lived = lived
        self._peers = reporter.source(peers.COLLECTOR, "peers", lived=peers.COLLECTOR in lived)
        self._syncs = reporter.source(sync_events.COLLECTOR, "sync", lived=sync_events.COLLECTOR in lived)
        # None where no other service is followed.
        self._discovery = None
        if settings.ark_federation_url is not None:
            lived_there = discovery.COLLECTOR in lived
            self._discovery = reporter.source(discovery.COLLECTOR, "discovery", lived=lived_there)
        self._reasoning = reporter.source(reasoning.COLLECTOR, "reasoning", lived=reasoning.COLLECTOR in lived)
        self._code = reporter.source(code_memory.COLLECTOR, "code", lived=code_memory.COLLECTOR in lived)
        self._mesh = reporter.source(simulation.COLLECTOR, "federation")
        self._memory = reporter.source(memory_simulation.COLLECTOR, "memory")

    def runs(self) -> list[Coroutine[Any, Any, None]]:
        """Everything that is to run."""
        return [*self._watching(), *(simulator.run() for simulator in self._simulators())]

    def _watching(self) -> list[Coroutine[Any, Any, None]]:
        settings, bus = self._settings, self._bus
        if settings.ark_simulate == "always":
            for status in filter(None, (self._peers, self._syncs, self._discovery, self._reasoning, self._code)):
                status.resting(bus.clock.now_ms(), "ARK_SIMULATE is always")
            return []
        data = settings.ark_base_path / "data"
        reasoning_db, ark_db = data / "reasoning_logs.db", data / "ark.db"
        collectors: list[tuple[_Collector, SourceStatus]] = [
            (PeerCollector(bus, settings.redis_url, self._partitions, self._peers), self._peers),
            (SyncCollector(bus, settings.redis_url, self._partitions, self._syncs), self._syncs),
            (ReasoningCollector(bus, reasoning_db, self._node, self._home, self._reasoning), self._reasoning),
            (CodeCollector(bus, ark_db, self._node, self._home, self._code), self._code),
        ]
        if self._discovery is not None and settings.ark_federation_url is not None:
            following = DiscoveryCollector(bus, settings.ark_federation_url, self._partitions, self._discovery)
            collectors.append((following, self._discovery))
        return [_isolated(collector, status, bus.clock) for collector, status in collectors]

    def _simulators(self) -> list[Simulator]:
        def simulator(status: SourceStatus, half: Half, make: Making, collectors: tuple[str, ...]) -> Simulator:
            return Simulator(
                self._bus,
                status,
                half,
                make,
                mode=self._settings.ark_simulate,
                seed=self._settings.ark_simulate_seed,
                ever_live=not self._lived.isdisjoint(collectors),
            )

        return [
            simulator(self._mesh, FEDERATION, simulation.Simulation, (*_MESH, discovery.COLLECTOR)),
            simulator(self._memory, MEMORY, memory_simulation.MemorySimulation, _MEMORY),
        ]
