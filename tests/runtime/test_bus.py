"""Subscriptions of the bus: what the server refuses to read is tried again, and costs nothing meanwhile."""

from processors.runtime.bus import Bus, Entry
from tests.collectors.helpers import until

STREAM = "ark:{0}:events"


async def test_a_subscription_outlives_a_key_of_another_type(bus: Bus) -> None:
    found: list[bytes] = []

    async def handle(entries: list[Entry]) -> None:
        found.extend(entry for entry, _ in entries)

    async def refused_again() -> bool:
        errors = await bus.client.info("errorstats")
        return bool(errors.get("errorstat_WRONGTYPE", {"count": 0})["count"] >= before + 2)

    before = (await bus.client.info("errorstats")).get("errorstat_WRONGTYPE", {"count": 0})["count"]
    await bus.client.set(STREAM, "no stream")
    subscription = await bus.subscribe(STREAM, "0-0", handle)
    try:
        await until(refused_again)
        # A task that ended is kept by FastStream beside the one that took its place.
        assert len(subscription.tasks) == 1
        await bus.client.delete(STREAM)
        added = await bus.client.xadd(STREAM, {"v": "1"})
        await until(lambda: found)
    finally:
        await subscription.stop()
    assert found == [added]
