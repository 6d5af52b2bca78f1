"""Both clients at the real gateway, which is restarted under load."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest
from playwright.async_api import async_playwright
from redis.asyncio import Redis

from processors.client.channel_client import Pulse, connect
from processors.client.errors import Refused
from processors.client.updates import Outage, Records, State, Update
from processors.gateway.server import Server
from processors.runtime.bus import Bus
from processors.runtime.tasks import end_tasks
from schemas.metrics import FederationSummary, PeerRow, SyncRecord
from tests.browser.chromium import ARGUMENTS, CHROMIUM
from tests.client.scripted import eventually_async
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync

SYNCS = 120

Start: TypeAlias = Callable[[], AbstractAsyncContextManager[Gateway]]
"""Starts a gateway, each time at the same address."""


@pytest.fixture
def start(bus: Bus, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> Start:
    start_at = Server.start
    monkeypatch.setattr(Server, "start", lambda self, host, _port: start_at(self, host, unused_tcp_port))
    return lambda: running_gateway(bus)


@pytest.fixture
async def pulse(unused_tcp_port: int) -> AsyncIterator[Pulse]:
    async with connect(f"http://127.0.0.1:{unused_tcp_port}") as client:
        yield client


@pytest.fixture
async def world(redis_client: Redis) -> World:
    world = World(redis_client)
    await world.heartbeat()
    await world.summary(total_peers=0)
    await world.roster({"a": row("a"), "b": row("b")})
    await world.sync(sync("first"))
    return world


class Told:
    """All that a subscription told."""

    def __init__(self, updates: AsyncIterator[Update]) -> None:
        self.updates: list[Update] = []
        self.task = asyncio.create_task(self._listen(updates))

    async def _listen(self, updates: AsyncIterator[Update]) -> None:
        async for update in updates:
            self.updates.append(update)

    def state(self, channel: str) -> State:
        """The newest."""
        nothing = State(channel, {}, None, None, None, 0)
        states = [each for each in self.updates if isinstance(each, State) and each.channel == channel]
        return [nothing, *states][-1]

    @property
    def records(self) -> list[Any]:
        return [record for each in self.updates if isinstance(each, Records) for record in each.to(SyncRecord)]


async def test_what_the_channels_tell_has_the_types_of_the_schemas(start: Start, world: World, pulse: Pulse) -> None:
    async with start():
        told = Told(pulse.subscribe("federation", "peers", "sync"))
        await eventually(lambda: told.state("federation").value and told.state("peers").value and told.records)
        await end_tasks([told.task])
    assert told.state("federation").to(FederationSummary).total_peers == 0
    assert [*told.state("peers").to(dict[str, PeerRow])] == ["a", "b"]
    assert [record.sender for record in told.records] == ["first"]


async def test_a_channel_that_there_is_not_is_refused(start: Start, pulse: Pulse) -> None:
    async with start():
        with pytest.raises(Refused, match=r"^the gateway refuses: unknown_channel: "):
            await anext(pulse.subscribe("weather"))


async def restart_under_load(start: Start, world: World, count: Callable[[], Awaitable[int]]) -> None:
    """Syncs and summaries: with a gateway, with none, with another. `count`: of the syncs that came."""

    async def write(first: int, end: int) -> None:
        for n in range(first, end):
            await world.sync(sync(str(n)))
            await world.summary(total_peers=n + 1)

    async def has_come(least: int) -> None:
        async def is_enough() -> bool:
            return await count() >= least

        await eventually_async(is_enough, 20)

    async with start():
        await has_come(1)
        writing = asyncio.create_task(write(0, 80))
        await has_come(30)
    await writing
    async with start():
        await write(80, SYNCS)
        await has_come(1 + SYNCS)


SENDERS = ["first", *map(str, range(SYNCS))]


async def test_a_gateway_that_is_restarted_leaves_no_gap_and_tells_nothing_twice(
    start: Start, world: World, pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It comes back soon: while the gateway is still reading what there is.
    monkeypatch.setattr("processors.client.channel_client.random.random", lambda: 0.05)
    told = Told(pulse.subscribe("federation", "sync", rate=100))

    async def count() -> int:
        return len(told.records)

    await restart_under_load(start, world, count)
    await end_tasks([told.task])
    assert [record.sender for record in told.records] == SENDERS
    assert {type(each) for each in told.updates} == {State, Records, Outage}


FOLLOW = """
async (url) => {
  const { Pulse } = await import("/static/client.js");
  Math.random = () => 0.05;
  window.told = { senders: [], peers: 0, resets: 0 };
  new Pulse(url).subscribe(["federation", "sync"], { rate: 100 }, {
    state: ({ value }) => { told.peers = value.total_peers; },
    records: ({ records }) => { told.senders.push(...records.map(({ from }) => from)); },
    reset: () => { told.resets += 1; },
  });
}
"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_a_page_is_left_no_gap_and_told_nothing_twice_either(
    start: Start, world: World, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        async with start():
            await page.goto(f"{url}/healthz")
            await page.evaluate(FOLLOW, url)

        async def count() -> int:
            return int(await page.evaluate("told.senders.length"))

        await restart_under_load(start, world, count)
        told = await page.evaluate("told")
        await browser.close()
    assert told["senders"] == SENDERS
    assert told["resets"] == 0
