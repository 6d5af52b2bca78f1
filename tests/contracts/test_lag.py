"""What `ark-pulse status` asks of a partition: its owner, and what waits."""

from typing import Any

from processors.aggregators.ownership import Grant, acquire, release
from processors.runtime.bus import Bus
from processors.runtime.script import Script
from schemas import streams

LAG = Script("lag")
KEYS = [streams.meta_key("0"), streams.events_key("0")]


async def lag(bus: Bus, most: int = 100) -> Any:
    return await LAG.run(bus.client, KEYS, [most])


async def test_a_partition_that_nobody_worked_yet_has_no_owner_and_no_lag(bus: Bus) -> None:
    assert await lag(bus) == [b"", 0, 0, b"", b"0", b"0-0", b"0"]


async def test_the_owner_is_who_holds_the_lease(bus: Bus) -> None:
    [grant] = await acquire(bus, [KEYS[0]], "one")
    assert isinstance(grant, Grant)
    assert (await lag(bus))[0] == b"one"
    await release(bus, {KEYS[0]: grant.token})
    assert (await lag(bus))[0] == b""


async def test_what_is_committed_does_not_wait_any_more(bus: Bus) -> None:
    ids = [await bus.client.xadd(KEYS[1], {"d": "x"}) for _ in range(5)]
    assert (await lag(bus))[1] == 5
    await bus.client.hset(KEYS[0], "pos", ids[2])
    assert (await lag(bus))[1] == 2
    await bus.client.hset(KEYS[0], "pos", ids[4])
    assert (await lag(bus))[1:3] == [0, 0]


async def test_the_oldest_that_waits_tells_how_long(bus: Bus) -> None:
    seconds, _ = await bus.client.time()
    for before_s in (90, 60, 30):
        await bus.client.xadd(KEYS[1], {"d": "x"}, id=f"{(seconds - before_s) * 1_000}-0")
    await bus.client.hset(KEYS[0], "pos", f"{(seconds - 90) * 1_000}-0")
    assert 60_000 <= (await lag(bus))[2] < 70_000


async def test_counting_ends_at_the_bound(bus: Bus) -> None:
    for _ in range(5):
        await bus.client.xadd(KEYS[1], {"d": "x"})
    assert (await lag(bus, 3))[1] == 3


async def test_it_tells_how_far_the_newest_commit_came(bus: Bus) -> None:
    await bus.client.hset(KEYS[0], mapping={"epoch": "e", "n": "7", "pos": "5-1", "fenced": "2"})
    assert (await lag(bus))[3:] == [b"e", b"7", b"5-1", b"2"]
