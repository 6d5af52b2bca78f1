"""A running gateway, its HTTP, a small world that it knows, and a client of protocol v1; a module may have its own."""

from collections.abc import AsyncIterator

import aiohttp
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
async def http(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(gateway.url) as session:
        yield session


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
