"""Clocks that are off by an hour: a process's own does not matter, and a writer's only to its own events."""

import time
from types import SimpleNamespace

import pytest

from processors.collectors.publisher import Publisher, SourceBatch
from processors.runtime import clock
from processors.runtime.bus import Bus
from schemas import streams
from schemas.events import Event, SyncOut
from schemas.metrics import FederationSummary
from tests.integration.aggregation import aggregating, summary_when

HOUR_S = 3_600
SYNCS = 120


async def rates_after(bus: Bus, off_s: int) -> FederationSummary:
    """What is shown once syncs were published whose times are off by so much."""
    publisher = Publisher(bus, "test", streams.live_partitions(16))
    await publisher.read_cursors()
    ts = bus.clock.now_ms() + off_s * 1_000
    events: list[Event] = [SyncOut(ts=ts, sender=f"p{each}", target="x", bytes=1, ok=True) for each in range(SYNCS)]
    await publisher.publish(SourceBatch("1", events))
    return await summary_when(bus, lambda summary: summary.sync_events_total == SYNCS)


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S], ids=["behind", "ahead"])
async def test_windows_are_right_although_an_aggregators_clock_is_off(
    bus: Bus, server_url: str, monkeypatch: pytest.MonkeyPatch, off_s: int
) -> None:
    shifted = SimpleNamespace(time=lambda: time.time() + off_s, monotonic=time.monotonic)
    monkeypatch.setattr(clock, "time", shifted)
    async with aggregating(server_url):
        summary = await rates_after(bus, 0)
    assert (summary.sync_rate, summary.late_total) == (SYNCS / 60, 0)


@pytest.mark.parametrize(
    ("off_s", "rate", "late"), [(-HOUR_S, 0, SYNCS), (HOUR_S, SYNCS / 60, 0)], ids=["behind", "ahead"]
)
async def test_what_a_writer_dates_an_hour_back_is_late_and_what_it_dates_ahead_is_of_now(
    bus: Bus, server_url: str, off_s: int, rate: float, late: int
) -> None:
    async with aggregating(server_url):
        summary = await rates_after(bus, off_s)
    assert (summary.sync_rate, summary.late_total) == (rate, late)
