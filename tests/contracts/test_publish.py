"""Into the bus: no loss, no double."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.collectors.publisher import _PUBLISH as PUBLISH
from processors.collectors.publisher import BusFull, CursorConflict, Publisher, SourceBatch
from processors.runtime.bus import Bus
from processors.runtime.script import Script
from schemas import codec, streams
from schemas.events import Event, Heartbeat
from tests.reading import entries_of

PARTITIONS = streams.live_partitions(4)


def beats(count: int, start: int = 0) -> list[Event]:
    return [Heartbeat(peer=f"p{number}", ts=1) for number in range(start, start + count)]


async def publisher(bus: Bus) -> Publisher:
    made = Publisher(bus, "peers", PARTITIONS)
    await made.read_cursors()
    return made


async def limit_memory(bus: Bus, most: int) -> None:
    """Let the server, or each of a cluster, have `most` bytes; 0: as many as it likes."""
    await bus.client.config_set("maxmemory", most, **({} if isinstance(bus.client, Redis) else {"target_nodes": "all"}))


async def published(bus: Bus) -> list[str]:
    """The peers of all events on the bus, in no order."""
    found: list[str] = []
    for partition in PARTITIONS:
        for _, fields in await entries_of(bus, streams.events_key(partition)):
            found += [event.peer for event in codec.decode_events(fields).events if isinstance(event, Heartbeat)]
    return sorted(found)


def losing_replies(script: Script) -> Callable[..., Any]:
    """`run_many` of a script that runs on the server, and whose first answer never comes."""
    run_many, lost = script.run_many, False

    async def run(client: Any, calls: Sequence[Any]) -> list[Any]:
        nonlocal lost
        answers = await run_many(client, calls)
        if not lost:
            lost = True
            raise ConnectionError("the answer was lost")
        return answers

    return run


async def test_every_event_goes_to_the_partition_of_its_peer_and_all_cursors_advance(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1", beats(20)))
    for partition in PARTITIONS:
        for _, fields in await entries_of(bus, streams.events_key(partition)):
            for event in codec.decode_events(fields).events:
                assert isinstance(event, Heartbeat)
                assert streams.partition_of(event.peer, 4) == partition
    assert await sender.read_cursors() == dict.fromkeys(PARTITIONS, "1")
    assert await published(bus) == sorted(f"p{number}" for number in range(20))


async def test_an_entry_has_the_plain_fields_that_any_client_can_read(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1", [Heartbeat(peer="a", ts=5)]))
    entry = await bus.newest(streams.events_key(streams.partition_of("a", 4)))
    assert entry is not None
    fields = entry[1]
    assert list(fields) == [b"v", b"t", b"ts", b"d"]
    assert (fields[b"v"], fields[b"t"], fields[b"d"]) == (b"1", b"events", b'[{"t":"heartbeat","peer":"a","ts":5}]')


async def test_a_partition_without_events_advances_without_an_entry(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1"))
    assert await published(bus) == []
    assert await sender.read_cursors() == dict.fromkeys(PARTITIONS, "1")


async def test_a_batch_whose_answer_was_lost_is_not_published_twice(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = await publisher(bus)
    monkeypatch.setattr(PUBLISH, "run_many", losing_replies(PUBLISH))
    batch = SourceBatch("1", beats(20))
    with pytest.raises(ConnectionError):
        await sender.publish(batch)
    await sender.publish(batch)
    assert await published(bus) == sorted(f"p{number}" for number in range(20))


async def test_two_collectors_of_one_source_fence_each_other(bus: Bus) -> None:
    first, second = await publisher(bus), await publisher(bus)
    await first.publish(SourceBatch("first", beats(5)))
    with pytest.raises(CursorConflict):
        await second.publish(SourceBatch("second", beats(5)))
    assert await published(bus) == [f"p{number}" for number in range(5)]
    assert await second.read_cursors() == dict.fromkeys(PARTITIONS, "first")


async def test_a_batch_that_reached_some_partitions_only_is_completed(bus: Bus) -> None:
    whole, partial = await publisher(bus), Publisher(bus, "peers", PARTITIONS)
    home = streams.partition_of("p0", 4)
    await bus.client.hset(streams.cursors_key(home), "peers", "1")
    await partial.read_cursors()
    await partial.publish(SourceBatch("1", beats(20)))
    assert await published(bus) == sorted(f"p{k}" for k in range(20) if streams.partition_of(f"p{k}", 4) != home)
    assert await whole.read_cursors() == dict.fromkeys(PARTITIONS, "1")


async def test_digests_are_set_and_removed_together_with_the_cursor(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1", digests={"a": b"\x00\xff", "b": b"2", "odd\udcff": b"3"}))
    await sender.publish(SourceBatch("2", digests={"a": None, "c": b"4"}))
    assert await sender.read_digests() == {"b": b"2", "odd\udcff": b"3", "c": b"4"}


async def test_a_full_stream_refuses_and_takes_the_batch_once_there_is_room(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.collectors.publisher._MAX_STREAM_BYTES", 20_000)
    sender = await publisher(bus)
    step = 0
    with pytest.raises(BusFull, match="the event stream holds"):  # noqa: PT012  - it takes a few until it is full
        while step < 1_000:
            step += 1
            await sender.publish(SourceBatch(str(step), beats(200)))
    before = await published(bus)
    with pytest.raises(BusFull):
        await sender.publish(SourceBatch(str(step), beats(200)))
    for partition in PARTITIONS:
        newest = await bus.newest(streams.events_key(partition))
        assert newest is not None
        await bus.client.hset(streams.meta_key(partition), "pos", newest[0].decode())
    await sender.publish(SourceBatch(str(step), beats(200)))
    assert await sender.read_cursors() == dict.fromkeys(PARTITIONS, str(step))
    assert len(before) >= 200


async def test_what_was_not_committed_is_never_trimmed_to_make_room(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.collectors.publisher._MAX_STREAM_BYTES", 20_000)
    sender = await publisher(bus)
    sent = 0
    with pytest.raises(BusFull):  # noqa: PT012  - it takes a few until it is full
        for step in range(1_000):
            await sender.publish(SourceBatch(str(step + 1), [Heartbeat(peer="a", ts=step)] * 100))
            sent += 100
    assert len(await published(bus)) == sent


async def test_a_full_server_is_told_as_such_and_nothing_is_half_written(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1", beats(1)))
    await limit_memory(bus, 1)
    try:
        with pytest.raises(BusFull, match="the server's memory is full"):
            await sender.publish(SourceBatch("2", beats(20), {"a": b"1"}))
    finally:
        await limit_memory(bus, 0)
    assert await published(bus) == ["p0"]
    assert await sender.read_digests() == {}
    await sender.publish(SourceBatch("2", beats(20), {"a": b"1"}))
    assert len(await published(bus)) == 21


async def test_a_script_that_the_server_forgot_is_loaded_again(bus: Bus) -> None:
    sender = await publisher(bus)
    await sender.publish(SourceBatch("1", beats(5)))
    await bus.client.script_flush()
    await sender.publish(SourceBatch("2", beats(5)))
    assert len(await published(bus)) == 10
