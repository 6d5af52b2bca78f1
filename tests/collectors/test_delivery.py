"""Two collectors of one source: one works it, the other stands by."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from processors.collectors import delivery as module
from processors.collectors import lease
from processors.collectors.delivery import Delivery
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from schemas import streams
from tests.collectors.helpers import LIVE, running, until


@dataclass
class Worker:
    """A collector that has nothing to tell."""

    delivery: Delivery
    status: SourceStatus
    changes: list[tuple[str | None, str]]
    resumes: int = 0

    async def run(self) -> None:
        async with self.delivery.held():
            await self.work()

    async def work(self) -> None:
        resumed = False
        while True:
            try:
                if not resumed:
                    await self.delivery.resume()
                    await self.delivery.send(SourceBatch(self.delivery.signature()))
                    self.resumes += 1
                    resumed = True
                await self.delivery.confirm()
                await asyncio.sleep(0.01)
            except CursorConflict as conflict:
                resumed = False
                await self.delivery.begin_again(conflict)


def worker(bus: Bus, node: str) -> Worker:
    changes: list[tuple[str | None, str]] = []
    status = SourceStatus("peers", "peers", node=node, changed=lambda s: changes.append((s.state, s.reason)))
    return Worker(Delivery(bus, "peers", LIVE, status), status, changes)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHECK_S", 0.05)
    monkeypatch.setattr(module, "_STAND_BY_S", 0.05)


@contextlib.asynccontextmanager
async def two(bus: Bus, *, nodes: tuple[str, str]) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers, of which the second started later and works."""
    first, second = worker(bus, nodes[0]), worker(bus, nodes[1])
    async with running(first.run()):
        await until(lambda: first.status.state == "live")
        async with running(second.run()):
            await until(lambda: second.status.state == "live" and first.status.state != "live")
            yield first, second
        assert second.changes[-1] == ("live", "")
        await until(lambda: first.status.state == "live")


async def test_the_later_one_is_not_disturbed_and_the_other_goes_on_when_it_ends(bus: Bus) -> None:
    async with two(bus, nodes=("n", "n")) as (first, second):
        await asyncio.sleep(0.3)
        assert (first.resumes, second.resumes) == (1, 1)
    assert first.resumes == 2


async def test_of_one_node_the_one_that_stands_by_is_silent_also_at_its_end(bus: Bus) -> None:
    async with two(bus, nodes=("n", "n")) as (first, _):
        assert first.status.report() is None
        assert first.changes[-1] == (None, "the collector of n works this source")
        first.status.stopped(5)
        assert first.status.report() is None


async def test_the_collector_of_another_node_that_stands_by_says_who_works(bus: Bus) -> None:
    async with two(bus, nodes=("one", "two")) as (first, _):
        assert (first.status.state, first.status.reason) == ("down", "the collector of two works this source")


async def test_the_lease_of_one_that_was_killed_ends_by_itself(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = worker(bus, "n"), worker(bus, "n")
    async with running(first.run()):
        await until(lambda: first.status.state == "live")
        async with running(second.work()):
            await until(lambda: second.status.state == "live" and first.status.state is None)
            monkeypatch.setattr(lease, "LEASE_MS", 200)

            async def is_short() -> bool:
                return int(await bus.client.pttl(streams.lease_key("peers"))) <= 200

            await until(is_short)
        await until(lambda: first.status.state == "live")


async def test_a_wiped_bus_is_published_again_by_the_same_one(bus: Bus) -> None:
    only = worker(bus, "n")
    async with running(only.run()):
        await until(lambda: only.status.state == "live")
        await bus.client.flushdb()
        await until(lambda: only.resumes == 2)
        await until(lambda: only.status.state == "live")
    assert [state for state, _ in only.changes] == ["live", "stale", "live"]


async def test_a_source_that_the_bus_may_have_lost_is_compared_before_it_is_live_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECK_S", 3_600)
    only = worker(bus, "n")
    async with running(only.run()):
        await until(lambda: only.status.state == "live")
        await bus.client.flushdb()
        only.status.lost(5)
        await until(lambda: only.resumes == 2)
    assert [state for state, _ in only.changes][:2] == ["live", "stale"]
