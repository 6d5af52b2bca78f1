"""Who runs, as the aggregators hear of each other."""

from processors.aggregators.ownership import join, leave
from processors.runtime.bus import Bus
from schemas.streams import AGGREGATORS

HOUR = 3_600_000


async def test_all_that_run_hear_of_each_other(bus: Bus) -> None:
    assert await join(bus, "one") == ["one"]
    assert sorted(await join(bus, "two")) == ["one", "two"]
    assert sorted(await join(bus, "one")) == ["one", "two"]


async def test_who_leaves_is_gone_at_once(bus: Bus) -> None:
    await join(bus, "one")
    await join(bus, "two")
    await leave(bus, "one")
    assert await join(bus, "two") == ["two"]


async def test_who_was_not_heard_of_for_longer_than_a_lease_is_gone(bus: Bus) -> None:
    await join(bus, "one")
    await bus.client.zadd(AGGREGATORS, {"one": bus.clock.now_ms() - 1_300})
    assert await join(bus, "two") == ["two"]


async def test_who_was_heard_of_at_a_time_that_is_still_to_come_is_gone(bus: Bus) -> None:
    # The server's clock went back: one that runs says so again before its lease would end.
    await join(bus, "one")
    await bus.client.zadd(AGGREGATORS, {"one": bus.clock.now_ms() + HOUR})
    assert await join(bus, "two") == ["two"]


async def test_more_aggregators_than_a_script_can_return_do_no_harm(bus: Bus) -> None:
    await join(bus, "one")
    await bus.client.zadd(AGGREGATORS, {f"member {number}": bus.clock.now_ms() for number in range(9_000)})
    assert len(await join(bus, "one")) == 1_000
