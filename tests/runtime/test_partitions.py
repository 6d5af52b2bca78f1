from redis.asyncio import Redis

from processors.runtime.bus import Bus
from processors.runtime.connection import open_client
from processors.runtime.partitions import read_partitions
from schemas import streams
from schemas.answers import PartitionSeen


async def test_they_are_those_of_the_bus(bus: Bus, server_url: str) -> None:
    await bus.client.hset(streams.meta_key("3"), mapping={"epoch": "e", "n": "7", "pos": "5-1", "fenced": "2"})
    async with open_client(server_url) as client:
        seen = await read_partitions(client)
    assert [each.name for each in seen] == [*streams.live_partitions(16), "sim"]
    assert seen[3] == PartitionSeen(name="3", epoch="e", n=7, position="5-1", fenced=2)


async def test_a_bus_that_nobody_opened_has_none(redis_client: Redis) -> None:
    assert await read_partitions(redis_client) == ()
