"""What the reporter says of a bus that lost what was published."""

import pytest

from processors.collectors import reporter as module
from processors.collectors.delivery import Delivery
from processors.collectors.publisher import SourceBatch
from processors.collectors.reporter import Reporter
from processors.runtime.bus import Bus
from schemas import codec, streams
from tests.collectors.helpers import LIVE, running, until
from tests.reading import entries_of


async def test_after_a_wipe_nothing_is_said_to_be_live_that_is_not_published_again(bus: Bus) -> None:
    reporter = Reporter(bus, "n", 60_000)
    status = reporter.source("peers", "peers")
    delivery = Delivery(bus, "peers", LIVE, status)
    await delivery.resume()
    await delivery.send(SourceBatch("1"))
    status.answered(bus.clock.now_ms())

    async def heard() -> list[str]:
        return [codec.decode_source(fields).state for _, fields in await entries_of(bus, streams.SOURCES)]

    await bus.client.flushdb()
    async with running(reporter.run()):
        assert set(await until(heard)) == {"stale"}
    assert status.reason == "the bus was wiped: publishing again"
    assert await bus.client.get(streams.PARTITIONS) == b"16"


async def test_a_source_that_is_live_and_published_stays_so(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.02)
    reporter = Reporter(bus, "n", 60_000)
    status = reporter.source("peers", "peers")
    delivery = Delivery(bus, "peers", LIVE, status)
    await delivery.resume()
    await delivery.send(SourceBatch("1"))
    status.answered(bus.clock.now_ms())

    async def five() -> bool:
        return len(await entries_of(bus, streams.SOURCES)) >= 5

    async with running(reporter.run()):
        await until(five)
    assert status.state == "live"
