"""Fixtures of all tests: servers, and a watch for calls that block the event loop."""

import asyncio.constants
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from tests.servers import running_server

# In debug mode asyncio notes for each future, task and callback where it was made. With all the frames of a test's
# runner that is half of what the tests cost; the innermost ones tell the same.
vars(asyncio.constants)["DEBUG_STACK_DEPTH"] = 2
sys.tracebacklimit = 4


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[BlockBuster]:
    with blockbuster_ctx("processors") as blockbuster:
        yield blockbuster


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for this session; see `tests.servers.choose_server`."""
    with running_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
async def redis_client(server_url: str) -> AsyncIterator[Redis]:
    """A client of the session's server, emptied before the test."""
    async with Redis.from_url(server_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def bus(server_url: str, redis_client: Redis) -> AsyncIterator[Bus]:
    """An open bus of sixteen partitions on the session's server, emptied before the test."""
    bus = Bus(server_url)
    await bus.open(16)
    yield bus
    await bus.close()
