"""A list that somebody cut, replaced or renamed: nothing is told twice, and each gap once."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from processors.collectors import descent, sync_reader
from processors.collectors.overlap import CHANGED, GONE, REPEATED
from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from schemas.events import Rejected
from tests.collectors.helpers import LIVE, FailingScript, new_status, published, running, until
from tests.collectors.sync_list import arrived, collector, item, newest, once, push, push_many, reasons


async def replace(ark: Redis, bus: Bus, *numbers: int) -> None:
    """Delete the list and begin it again, unseen."""
    async with ark.pipeline(transaction=True) as pipe:
        pipe.delete("sync_events")
        pipe.lpush("sync_events", *(item(number, bus.clock.now_ms()) for number in numbers))
        await pipe.execute()


async def seen_gone(sync: SyncCollector) -> None:
    await until(lambda: all(position.length == 0 for position in sync._positions.values()))


async def test_a_list_that_was_replaced_unseen_is_all_new_and_the_gap_is_told(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_reader, "_GAP_S", 0)
    status = new_status("sync_events")
    sync = SyncCollector(bus, source_url, LIVE, status)
    async with running(sync.run()):
        await push(ark, bus, *range(40))
        await arrived(bus, once(range(40)))
        assert status.detail == ""
        await replace(ark, bus, 40, 41)
        await arrived(bus, once(range(42)))
        await until(lambda: status.detail == "1 ambiguous gap")
        await replace(ark, bus, *range(42, 82))
        await arrived(bus, once(range(82)))
        await until(lambda: status.detail == "2 ambiguous gaps")
    assert await reasons(bus) == [GONE, GONE]
    letters = [event for event in await published(bus) if isinstance(event, Rejected)]
    assert letters[1].excerpt == "40 items taken as new, of 40 in the list"
    assert sync.ambiguous == 2


@pytest.mark.parametrize("allowed", [1, 9, 16, 17, 30])
async def test_a_gap_is_told_once_though_a_kill_comes_between(
    bus: Bus, ark: Redis, source_url: str, allowed: int
) -> None:
    await push(ark, bus, *range(40))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(40)))
    await replace(ark, bus, 40, 41)
    with FailingScript(allowed).installed() as script:
        async with running(collector(bus, source_url).run()):
            await asyncio.wait_for(script.dead.wait(), 5)
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(42)))
    assert await reasons(bus) == [GONE]


async def test_a_consumer_that_takes_items_away_fills_neither_log_nor_letters(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    sync = collector(bus, source_url)
    async with running(sync.run()):
        for number in range(20):
            await push(ark, bus, number)
            await arrived(bus, once(range(number + 1)))
            await ark.lpop("sync_events")
            await seen_gone(sync)
    assert sync.ambiguous == 20
    assert await reasons(bus) == [GONE]


async def test_a_list_that_was_seen_to_be_gone_begins_again_without_a_further_gap(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    sync = collector(bus, source_url)
    async with running(sync.run()):
        await push(ark, bus, *range(40))
        await arrived(bus, once(range(40)))
        await ark.delete("sync_events")
        await seen_gone(sync)
        await push(ark, bus, *range(40, 140))
        await arrived(bus, once(range(140)))
    assert sync.ambiguous == 1
    assert await reasons(bus) == [GONE]


@pytest.mark.parametrize("size", [3, 100])
async def test_a_list_that_is_renamed_away_and_back_is_not_told_again(
    bus: Bus, ark: Redis, source_url: str, size: int
) -> None:
    sync = collector(bus, source_url)
    await push(ark, bus, *range(size))
    async with running(sync.run()):
        await arrived(bus, once(range(size)))
        for number in range(size, size + 3):
            await ark.rename("sync_events", "elsewhere")
            await seen_gone(sync)
            await ark.rename("elsewhere", "sync_events")
            await push(ark, bus, number)
            await arrived(bus, once(range(number + 1)))
    # Each time it may have been emptied of items that nobody read.
    assert sync.ambiguous == 3


async def test_a_list_that_comes_back_over_a_new_one_is_not_told_again(bus: Bus, ark: Redis, source_url: str) -> None:
    await push_many(ark, bus, range(1_000))
    sync = collector(bus, source_url)
    async with running(sync.run()):
        await arrived(bus, once(range(1_000)))
        await ark.rename("sync_events", "elsewhere")
        await push(ark, bus, 1_000)
        await arrived(bus, once(range(1_001)))
        await ark.rename("elsewhere", "sync_events")
        await push(ark, bus, 1_001)
        await arrived(bus, once(range(1_002)))
    assert set(await reasons(bus)) <= {GONE, CHANGED}


async def test_an_item_taken_out_of_the_midst_is_a_gap_with_nothing_new(bus: Bus, ark: Redis, source_url: str) -> None:
    await push(ark, bus, *range(40))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(40)))
        await ark.lrem("sync_events", 1, await newest(ark, 5))  # type: ignore[arg-type]  # bytes do as well
        await until(lambda: reasons(bus))
        await push(ark, bus, 40)
        await arrived(bus, once(range(41)))
    assert await reasons(bus) == [CHANGED]


async def test_equal_items_each_count_and_a_run_of_them_is_one_gap(bus: Bus, ark: Redis, source_url: str) -> None:
    sync, same = collector(bus, source_url), item(0, bus.clock.now_ms())
    async with running(sync.run()):
        await push(ark, bus, 1)
        for count in (20, 40, 41, 42, 43):
            await ark.lpush("sync_events", *[same] * (count - await ark.llen("sync_events") + 1))
            await arrived(bus, (Counter({0: count, 1: 1}), count + 1))
        await push(ark, bus, 2)
        await arrived(bus, (Counter({0: 43, 1: 1, 2: 1}), 45))
    assert await reasons(bus) == [REPEATED]
    assert sync.ambiguous == 1


async def test_the_newest_item_pushed_again_to_a_list_of_constant_length_counts(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    sync = collector(bus, source_url)
    await push(ark, bus, *range(50))
    async with running(sync.run()):
        await arrived(bus, once(range(50)))
        async with ark.pipeline(transaction=True) as pipe:
            pipe.lpush("sync_events", await newest(ark))
            pipe.ltrim("sync_events", 0, 49)
            await pipe.execute()
        await arrived(bus, (once(range(50))[0] + Counter([49]), 51))
    assert sync.ambiguous == 0


async def test_a_longer_list_in_the_place_of_another_is_one_gap(
    bus: Bus, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_reader, "_CHUNK", 50)
    monkeypatch.setattr(descent, "_MAX_HELD", 500 << 10)
    await push(ark, bus, *range(40))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(40)))
    await replace(ark, bus, *range(40, 500))
    async with running(collector(bus, source_url).run()):
        await arrived(bus, once(range(500)))
    assert await reasons(bus) == [GONE]


async def test_a_list_that_was_another_key_meanwhile_goes_on_without_a_gap(
    bus: Bus, ark: Redis, source_url: str
) -> None:
    sync = collector(bus, source_url)
    await push(ark, bus, *range(40))
    async with running(sync.run()):
        await arrived(bus, once(range(40)))
        for start in (40, 42):
            await ark.set("sync_events", "x")
            await ark.expire("sync_events", 1000)  # a change that is notified
            await seen_gone(sync)
            await ark.delete("sync_events")
            await push(ark, bus, start, start + 1)
            await arrived(bus, once(range(start + 2)))
    assert await reasons(bus) == ["key is not a list"] * 2
    assert sync.ambiguous == 0
