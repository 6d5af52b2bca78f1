"""Every contract runs on each kind of server that the bus may be."""

from collections.abc import AsyncIterator, Iterator

import pytest

from processors.runtime.bus import Bus
from tests.clusters import running_cluster
from tests.servers import Server, redis_binary


@pytest.fixture(scope="session")
def redis7_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Redis 7.0."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")
    server = Server(binary, tmp_path_factory.mktemp("redis7"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of three embedded servers."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(params=["server_url", "redis7_url", "cluster_url"], ids=["session-server", "redis-7.0", "cluster"])
def contract_url(request: pytest.FixtureRequest) -> str:
    """The address of one kind of bus."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
async def bus(contract_url: str) -> AsyncIterator[Bus]:
    """An open, empty bus of four partitions on that server."""
    bus = Bus(contract_url)
    await bus.broker.connect()
    await bus.client.flushall()
    await bus.open(4)
    yield bus
    await bus.close()
