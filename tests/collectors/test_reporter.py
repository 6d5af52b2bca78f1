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


async def test_of_a_source_that_comes_and_goes_eight_changes_are_logged_and_then_how_it_is(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ark_pulse.collectors")
    reporter = Reporter(bus, "n", 60_000)
    flapping, calm = reporter.source("peers", "peers"), reporter.source("sync_events", "sync")
    for number in range(500):
        flapping.answered(number)
        flapping.failed(number, "connection refused")
    calm.answered(0)
    live, stale = "peers is live", "peers is stale: connection refused"
    assert caplog.messages == [*[live, stale] * 4, "sync_events is live"]
    flapping.answered(1_000)
    await reporter._write(everything=True)
    assert len(caplog.messages) == 9
    monkeypatch.setattr(module, "_LINES_WITHIN_S", 0.0)
    await reporter._write(everything=True)
    await reporter._write(everything=True)
    assert caplog.messages[9:] == [live]


async def test_a_source_that_only_gets_on_is_said_once(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ark_pulse.collectors")
    source = Reporter(bus, "n", 60_000).source("code_memory", "code", lived=True)
    for percent in range(1, 100):
        source.failed(percent, f"first sweep {percent} %")
    source.failed(100, "database is locked")
    assert caplog.messages == ["code_memory is stale: first sweep 1 %", "code_memory is stale: database is locked"]


async def test_a_source_that_ends_with_its_collector_is_no_trouble(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ark_pulse.collectors")
    reporter = Reporter(bus, "n", 60_000)
    reporter.source("peers", "peers").answered(1)
    await reporter.close()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "peers is live"),
        ("INFO", "peers is stale: collector stopped"),
    ]
