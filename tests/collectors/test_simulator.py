"""The simulator's shell with the memory half; that of the federation runs in test_service."""

from processors.collectors.activation import MEMORY
from processors.collectors.memory_simulation import COLLECTOR, NODES, MemorySimulation
from processors.collectors.simulator import Simulator
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import CodeState
from schemas.metrics import SourceState
from tests.collectors.helpers import published, running, until


def new_simulator(bus: Bus, *, mode: str = "auto", ever_live: bool = False) -> tuple[Simulator, SourceStatus]:
    status = SourceStatus(COLLECTOR, "memory", node="n", changed=lambda status: None)
    return Simulator(bus, status, MEMORY, MemorySimulation, mode=mode, seed=1, ever_live=ever_live), status


async def say(bus: Bus, collector: str, group: str, state: str) -> None:
    report = SourceState(node="n", collector=collector, group=group, state=state, since=1)  # type: ignore[arg-type]
    await bus.client.xadd(streams.SOURCES, codec.entry_fields("source", 1, codec.encode(report)))  # type: ignore[arg-type]


async def test_the_memory_half_is_simulated_in_the_simulated_partition(bus: Bus) -> None:
    simulator, status = new_simulator(bus, mode="always")
    async with running(simulator.run()):
        events = await until(lambda: published(bus, [streams.SIMULATED]))
    assert {event.node for event in events if isinstance(event, CodeState)} == set(NODES)
    assert status.state == "simulated"
    assert await published(bus) == []


async def test_a_live_federation_does_not_end_the_simulation_of_the_memory_half(bus: Bus) -> None:
    simulator, status = new_simulator(bus)
    async with running(simulator.run()):
        await until(lambda: status.state == "down")
        await say(bus, "peers", "peers", "live")
        await say(bus, "code_memory", "code", "down")
        await until(lambda: status.state == "simulated")


async def test_a_live_database_ends_the_simulation_of_the_memory_half(bus: Bus) -> None:
    simulator, status = new_simulator(bus)
    async with running(simulator.run()):
        await until(lambda: status.state == "down")
        await say(bus, "reasoning", "reasoning", "down")
        await until(lambda: status.state == "simulated")
        await say(bus, "reasoning", "reasoning", "live")
        await until(lambda: status.reason == "the memory half has been live")


async def test_a_memory_half_that_was_live_before_is_not_simulated(bus: Bus) -> None:
    simulator, status = new_simulator(bus, ever_live=True)
    async with running(simulator.run()):
        await until(lambda: status.state == "down")
    assert status.reason == "the memory half has been live"
    assert await published(bus, [streams.SIMULATED]) == []
