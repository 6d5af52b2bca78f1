"""What a collector tells of itself in metrics."""

import asyncio

import pytest

from processors.collectors.delivery import Delivery
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.reporter import Reporter
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.metrics import Histogram
from schemas import streams
from schemas.events import Heartbeat, Rejected
from tests.collectors.helpers import LIVE, new_status, until


def told(status: SourceStatus) -> dict[tuple[str, ...], float]:
    """Each value by the end of its name and its labels, but for the collector's; durations as their number."""
    return {
        (sample.family.name.removeprefix("ark_pulse_collector_"), *sample.labels[1:]): sum(sample.value.counts)
        if isinstance(sample.value, Histogram)
        else sample.value
        for sample in status.read()
    }


def batch(cursor: str) -> SourceBatch:
    rejected = Rejected(collector="peers", reason="bad", excerpt="", ts=1)
    return SourceBatch(cursor, [Heartbeat(peer="a", ts=1), Heartbeat(peer="b", ts=1), rejected])


async def test_what_is_published_and_rejected_is_counted(bus: Bus) -> None:
    status = new_status()
    delivery = Delivery(bus, "peers", LIVE, status)
    await delivery.resume()
    await delivery.send(batch("1"))
    found = told(status)
    assert (found["published_events_total",], found["rejected_items_total",], found["publish_seconds",]) == (3, 1, 1)
    assert [found["publish_refusals_total", why] for why in ("full", "conflict", "bus")] == [0, 0, 0]


async def test_a_try_that_fails_is_counted_by_why(bus: Bus) -> None:
    status = new_status()
    delivery = Delivery(bus, "peers", LIVE, status)
    await delivery.resume()
    await bus.client.config_set("maxmemory", 1)
    sending = asyncio.create_task(delivery.send(batch("1")))
    await until(lambda: told(status)["publish_refusals_total", "full"])
    await bus.client.config_set("maxmemory", 0)
    await sending
    home = streams.events_key(streams.partition_of("a", 16))
    await bus.client.set(home, "no stream")
    sending = asyncio.create_task(delivery.send(batch("2")))
    await until(lambda: told(status)["publish_refusals_total", "bus"])
    await bus.client.delete(home)
    await sending
    await bus.client.hset(streams.cursors_key("3"), "peers", "other")
    with pytest.raises(CursorConflict):
        await delivery.send(batch("3"))
    found = told(status)
    assert (found["publish_refusals_total", "conflict"], found["publish_seconds",]) == (1, 2)


@pytest.mark.parametrize("state", ["live", "stale", "simulated", "down", "standing_by"])
def test_a_source_is_in_one_state(state: str) -> None:
    status = new_status()
    assert not any(told(status)["state", each] for each in ("live", "stale", "simulated", "down", "standing_by"))
    match state:
        case "live":
            status.answered(1)
        case "stale":
            status.answered(1)
            status.failed(2, "why")
        case "simulated":
            status.simulating(1)
        case "down":
            status.failed(1, "why")
        case "standing_by":
            status.standing_by(1, "another")
    found = told(status)
    assert [key[1] for key, value in found.items() if key[0] == "state" and value] == [state]


async def test_a_reporter_tells_of_all_its_sources(bus: Bus) -> None:
    reporter = Reporter(bus, "n", 1_000)
    reporter.source("peers", "peers")
    reporter.source("sync_events", "sync")
    assert {sample.labels[0] for sample in reporter.read()} == {"peers", "sync_events"}
