"""The gatherer on a real bus: each entry of its kind once, whatever stands beside it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from processors.aggregators.gatherer import Gatherer
from processors.aggregators.ownership import Grant, acquire
from processors.runtime.bus import Bus, Entry
from processors.runtime.reads import StreamReader
from schemas import streams
from schemas.positions import ZERO, entry_id
from tests.reading import entries_of

HOUR = 3_600_000
META = streams.writer_key(streams.FEED_MEMORY)


@asynccontextmanager
async def gathering(bus: Bus) -> AsyncIterator[None]:
    """The gatherer of the sessions of two partitions, at work."""
    sources = {streams.feed_key(name): name for name in ("0", "1")}
    gatherer = Gatherer(bus, streams.FEED_MEMORY, "memory", sources, retention_ms=HOUR, most=3_000)
    [grant] = await acquire(bus, [META], "one")
    assert isinstance(grant, Grant)
    await gatherer.start(grant, lambda why: None)
    try:
        yield
    finally:
        await gatherer.stop()


async def feed(bus: Bus, partition: str, entry_id: str, kind: str, body: str) -> None:
    await bus.client.xadd(streams.feed_key(partition), {"v": "1", "t": kind, "ts": "1", "d": body}, id=entry_id)


async def gathered(bus: Bus, count: int) -> Sequence[bytes]:
    """The bodies of the merged stream, once there are so many."""
    async with asyncio.timeout(10):
        while len(entries := await entries_of(bus, streams.FEED_MEMORY)) < count:
            await bus.read_many({streams.FEED_MEMORY: "$"}, block_ms=20)
    return [fields[b"d"] for _, fields in entries]


async def test_only_entries_of_its_kind_are_gathered_in_the_order_of_their_times(bus: Bus) -> None:
    await feed(bus, "0", "1-0", "sync", "s1")
    await feed(bus, "0", "4-0", "memory", "m4")
    await feed(bus, "1", "2-0", "memory", "m2")
    await feed(bus, "1", "3-0", "sync", "s3")
    await feed(bus, "1", "5-0", "memory", "m5")
    async with gathering(bus):
        assert await gathered(bus, 3) == [b"m2", b"m4", b"m5"]
    [*_, (_, newest)] = await entries_of(bus, streams.FEED_MEMORY)
    assert newest[b"t"] == b"memory"


async def test_the_records_of_one_entry_become_entries_of_their_own(bus: Bus) -> None:
    await feed(bus, "0", "1-0", "memory", '[{"m":1},{"m":2}]')
    await feed(bus, "1", "2-0", "memory", '{"m":3}')
    await feed(bus, "0", "3-0", "memory", "[not JSON")
    await feed(bus, "0", "4-0", "memory", "[]")
    await feed(bus, "0", "5-0", "memory", '[{"m":4}]')
    async with gathering(bus):
        assert await gathered(bus, 5) == [b'{"m":1}', b'{"m":2}', b'{"m":3}', b"[not JSON", b'{"m":4}']


async def test_a_great_many_records_are_appended_in_pieces_each_once(bus: Bus) -> None:
    records = [[f'{{"m":{entry * 1_000 + number}}}' for number in range(400)] for entry in range(5)]
    for entry, each in enumerate(records):
        await feed(bus, "0", f"{entry + 1}-0", "memory", f"[{','.join(each)}]")
    async with gathering(bus):
        assert await gathered(bus, 2_000) == [record.encode() for each in records for record in each]
    assert await bus.client.hget(META, "from:0") == b"5-0"


async def test_more_is_read_at_once_of_entries_that_are_small(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0

    async def counted(self: StreamReader, positions: Mapping[str, str], *, count: int) -> dict[str, list[Entry]]:
        nonlocal reads
        reads += 1
        return await read(self, positions, count=count)

    read = StreamReader.read
    monkeypatch.setattr(StreamReader, "read", counted)
    async with bus.client.pipeline(transaction=False) as pipe:
        for number in range(1, 2_001):
            pipe.xadd(streams.feed_key("0"), {"t": "memory", "d": "m"}, id=f"{number}-0")
        await pipe.execute()
    async with gathering(bus):
        await gathered(bus, 2_000)
    assert reads < 20


async def test_an_entry_of_its_kind_without_a_body_is_passed_over(bus: Bus) -> None:
    await bus.client.xadd(streams.feed_key("0"), {"t": "memory"}, id="1-0")
    await feed(bus, "0", "2-0", "memory", "m")
    async with gathering(bus):
        assert await gathered(bus, 1) == [b"m"]


async def test_a_successor_gathers_nothing_twice_whatever_was_passed_over(bus: Bus) -> None:
    for round_number in range(1, 4):
        await feed(bus, "0", f"{round_number}-0", "memory", f"m{round_number}")
        await feed(bus, "0", f"{round_number}-1", "sync", "s")
        async with gathering(bus):
            await gathered(bus, round_number)
    assert await gathered(bus, 3) == [b"m1", b"m2", b"m3"]


async def test_how_far_many_entries_were_passed_over_is_noted(bus: Bus) -> None:
    async with bus.client.pipeline(transaction=False) as pipe:
        for number in range(1, 1_001):
            pipe.xadd(streams.feed_key("0"), {"t": "sync", "d": "s"}, id=f"{number}-0")
        await pipe.execute()
    async with gathering(bus), asyncio.timeout(10):
        noted = ZERO
        while noted.ms < 500:
            await bus.read_many({streams.FEED_MEMORY: "$"}, block_ms=20)
            noted = entry_id(await bus.client.hget(META, "from:0") or "0-0")
    assert await entries_of(bus, streams.FEED_MEMORY) == []


async def test_a_stream_that_began_anew_is_gathered_from_its_beginning(bus: Bus) -> None:
    await feed(bus, "0", "18446744073709551615-5", "memory", "m1")
    async with gathering(bus):
        await gathered(bus, 1)
    await bus.client.delete(streams.feed_key("0"))
    await feed(bus, "0", "1-0", "memory", "m2")
    async with gathering(bus):
        assert await gathered(bus, 2) == [b"m1", b"m2"]


async def test_a_stream_whose_newest_entry_was_deleted_is_not_gathered_again(bus: Bus) -> None:
    await feed(bus, "0", "1-0", "memory", "m1")
    await feed(bus, "0", "2-0", "memory", "m2")
    async with gathering(bus):
        await gathered(bus, 2)
    await bus.client.xdel(streams.feed_key("0"), "2-0")
    await feed(bus, "1", "3-0", "memory", "m3")
    async with gathering(bus):
        assert await gathered(bus, 3) == [b"m1", b"m2", b"m3"]
