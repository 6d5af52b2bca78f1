"""A running gateway, a small world that it knows, and a client of protocol v1; a module may have its own."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync
from tests.gateway.talk import Talk, talking


@pytest.fixture
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with running_gateway(bus) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running


@pytest.fixture
async def world(gateway: Gateway, redis_client: Redis) -> World:
    """One live peer, and one sync."""
    world = World(redis_client)
    await world.heartbeat()
    await world.roster({"a": row("a", hostname="alpha")})
    await world.summary(network_health=1.0, total_peers=1)
    await world.sync(sync("a", bytes=1))
    await eventually(lambda: gateway.mesh.live.total == 1 and gateway.state.syncs.top and gateway.mesh.summary)
    return world


@pytest.fixture
async def talk(gateway: Gateway, world: World) -> AsyncIterator[Talk]:
    async with talking(gateway.v1_url) as talk:
        yield talk
