import pytest

from processors.collectors.publisher import BusFull, CursorConflict, Publisher, SourceBatch
from processors.runtime.bus import Bus
from schemas.events import PeerGone
from tests.collectors.helpers import LIVE, published


async def opened(bus: Bus) -> Publisher:
    publisher = Publisher(bus, "c", LIVE)
    await publisher.read_cursors()
    return publisher


async def test_partitions_that_are_not_named_are_left_as_they_are(bus: Bus) -> None:
    await (await opened(bus)).publish(SourceBatch("1"), only=["3"])
    cursors = await (await opened(bus)).read_cursors()
    assert {partition for partition, cursor in cursors.items() if cursor} == {"3"}


async def test_cursors_that_are_where_they_were_left_are_verified(bus: Bus) -> None:
    publisher = await opened(bus)
    await publisher.publish(SourceBatch("1"))
    await publisher.verify()


async def test_a_wiped_bus_is_a_conflict(bus: Bus) -> None:
    publisher = await opened(bus)
    await publisher.publish(SourceBatch("1"))
    await bus.client.flushdb()
    with pytest.raises(CursorConflict, match="partition 0: cursor is ''"):
        await publisher.verify()


async def test_a_server_without_memory_is_full_and_takes_the_same_batch_later(bus: Bus) -> None:
    publisher = await opened(bus)
    batch = SourceBatch("1", [PeerGone(peer="a", ts=1)])
    await bus.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(BusFull, match="the server's memory is full"):
            await publisher.publish(batch)
    finally:
        await bus.client.config_set("maxmemory", 0)
    await publisher.publish(batch)
    assert await published(bus) == [PeerGone(peer="a", ts=1)]
