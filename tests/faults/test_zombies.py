"""An aggregators' process that is stopped past its leases and comes back: what it held is refused, and counted."""

import asyncio
import os
import signal
import time

import pytest

from processors.runtime.bus import Bus
from processors.runtime.partitions import read_partitions
from schemas import streams
from tests.collectors.helpers import until
from tests.faults.mesh import Mesh, publishing
from tests.faults.proxy import Proxy
from tests.faults.victims import Aggregators
from tests.integration.aggregation import aggregating

_DEADLINE_S = 20


async def owned_by_others(bus: Bus, pid: int) -> bool:
    """Whether every partition has an owner, and none of them is the process of `pid`."""
    owners = [seen.owner for seen in await read_partitions(bus.client)]
    return all(owner is not None and f"/{pid}/" not in owner for owner in owners)


async def test_a_zombies_commit_is_refused_and_counted_and_nothing_counts_twice(
    bus: Bus, server_url: str, proxy: Proxy, victim: Aggregators
) -> None:
    mesh = Mesh(bus, 1)
    victim.start()
    await mesh.publish(8)
    await mesh.until_right(_DEADLINE_S)
    failpoint = proxy.failpoint("commit", key=streams.meta_key("3"), turn=5)
    async with publishing(mesh):
        async with asyncio.timeout(_DEADLINE_S):
            await failpoint.reached.wait()
        os.kill(victim.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        async with aggregating(server_url):
            await until(lambda: owned_by_others(bus, victim.pid), _DEADLINE_S)
            print(f"handed over after {time.monotonic() - stopped:.2f} s")
            before = {seen.name: seen.fenced for seen in await read_partitions(bus.client)}
            failpoint.let_pass()
            os.kill(victim.pid, signal.SIGCONT)

            async def is_refused() -> bool:
                seen = {seen.name: seen.fenced for seen in await read_partitions(bus.client)}
                return seen["3"] > before["3"]

            await until(is_refused, _DEADLINE_S)
    async with aggregating(server_url):
        await mesh.until_right()


@pytest.mark.parametrize("seed", range(2))
async def test_whoever_of_two_is_stopped_under_load_nothing_counts_twice(
    bus: Bus, proxy: Proxy, victim: Aggregators, seed: int
) -> None:
    mesh = Mesh(bus, seed)
    victim.start()
    async with aggregating(proxy.url), publishing(mesh):
        await until(lambda: works(bus, victim.pid), _DEADLINE_S)
        os.kill(victim.pid, signal.SIGSTOP)
        await until(lambda: owned_by_others(bus, victim.pid), _DEADLINE_S)
        os.kill(victim.pid, signal.SIGCONT)
        await until(lambda: works(bus, victim.pid), _DEADLINE_S)
    await mesh.until_right(_DEADLINE_S)


async def works(bus: Bus, pid: int) -> bool:
    """Whether the process of `pid` has its half of the partitions."""
    owners = [seen.owner or "" for seen in await read_partitions(bus.client)]
    return sum(f"/{pid}/" in owner for owner in owners) >= len(owners) // 2
