"""ARK's Redis and a running service for the tests of the federation."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from tests.federation.support import Service, running_service


@pytest.fixture
def ark_url(server_url: str) -> str:
    """Another database of the session's server."""
    return server_url.removesuffix("0") + "3"


@pytest.fixture
async def ark(ark_url: str, redis_client: Redis) -> AsyncIterator[Redis]:
    """A client of ARK's Redis, which is empty before the test."""
    async with Redis.from_url(ark_url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def service(bus: Bus, ark: Redis, ark_url: str) -> AsyncIterator[Service]:
    async with running_service(bus, ark_url) as running:
        yield running
