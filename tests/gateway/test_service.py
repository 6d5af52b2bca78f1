import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway.service import serve
from processors.runtime.bus import Bus
from processors.runtime.errors import SettingsError
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, load_settings
from tests.gateway.support import World, never_reading
from tests.servers import free_port


@pytest.fixture
def settings() -> Settings:
    return dataclasses.replace(load_settings({}), ark_http_port=free_port())


@dataclasses.dataclass
class Service:
    """A gateway as a process runs it."""

    stop: asyncio.Event
    task: asyncio.Task[None]


@pytest.fixture
async def service(bus: Bus, settings: Settings) -> AsyncIterator[Service]:
    stop = asyncio.Event()
    running = Service(stop, asyncio.create_task(serve(bus, settings, stop, MetricsRegistry("gateway"))))
    yield running
    stop.set()
    async with asyncio.timeout(5):
        await running.task


async def connected(
    session: aiohttp.ClientSession, settings: Settings, half: str = "federation"
) -> aiohttp.ClientWebSocketResponse:
    deadline = time.monotonic() + 5
    while True:
        try:
            return await session.ws_connect(f"http://127.0.0.1:{settings.ark_http_port}/ws/{half}")
        except aiohttp.ClientConnectorError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_a_stop_tells_clients_to_come_back_and_ends_within_two_seconds(
    service: Service, settings: Settings
) -> None:
    async with aiohttp.ClientSession() as session:
        clients = [await connected(session, settings, half) for half in 10 * ("federation", "memory")]
        began = time.monotonic()
        service.stop.set()
        async with asyncio.timeout(5):
            for client in clients:
                async for _ in client:
                    pass
        assert {client.close_code for client in clients} == {1001}
        assert time.monotonic() - began < 2


async def test_a_stop_does_not_wait_for_a_client_that_does_not_answer(service: Service, settings: Settings) -> None:
    async with aiohttp.ClientSession() as session:
        await (await connected(session, settings)).close()
    raw = await never_reading(f"http://127.0.0.1:{settings.ark_http_port}")
    began = time.monotonic()
    service.stop.set()
    async with asyncio.timeout(5):
        await service.task
    assert time.monotonic() - began < 2
    raw.close()


async def test_a_summary_on_the_bus_is_served(service: Service, settings: Settings, redis_client: Redis) -> None:
    await World(redis_client).summary("simulated", "simulated", network_health=50.0)
    async with aiohttp.ClientSession() as session:
        client = await connected(session, settings)
        async with asyncio.timeout(5):
            while (frame := await client.receive_json())["network_health"] != 50:
                pass
        assert frame["source"] == "simulated"
        await client.close()


async def test_a_taken_port_ends_the_service_with_its_name(bus: Bus, service: Service, settings: Settings) -> None:
    async with aiohttp.ClientSession() as session:
        client = await connected(session, settings)
        with pytest.raises(SettingsError, match="already in use"):
            await serve(bus, settings, asyncio.Event(), MetricsRegistry("gateway"))
        await client.close()
