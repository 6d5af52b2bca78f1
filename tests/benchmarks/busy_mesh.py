"""A mesh on which much happens, and the page in Chromium that shows it: 200 changes of peers and 50 syncs a second."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Final

from playwright.async_api import Page, async_playwright, expect

from processors.runtime.tasks import end_tasks
from schemas.metrics import PeerRow
from tests.benchmarks.gateways import GatewayRig
from tests.browser.chromium import ARGUMENTS, CHROMIUM
from tests.gateway.support import World, row, sync

__all__ = ["CHANGES", "PEERS", "SYNCS", "busy", "frames", "opened"]

PEERS: Final = 2_000
CHANGES: Final = 200
SYNCS: Final = 50
"""How many peers there are, and how many change, and syncs come, in a second."""

_TICKS: Final = 10
_PARTITIONS: Final = 16
_HEARTBEAT_TICKS: Final = 50
_TIERS: Final = ("core", "trusted", "verified", "sandbox")
_STATUSES: Final = ("online",) * 8 + ("syncing", "offline")


class _Mesh:
    """Writes what aggregators would."""

    def __init__(self, world: World, peers: int) -> None:
        self._world = world
        self._chance = random.Random(7)
        self._peers = [f"ark-node-{number}" for number in range(peers)]

    async def begin(self) -> None:
        """All peers."""
        for partition in range(_PARTITIONS):
            now = await self._world.now()
            rows = {peer: self._row(peer, now) for peer in self._peers[partition::_PARTITIONS]}
            await self._world.roster(rows, str(partition))

    async def run(self) -> None:
        """Changes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        began, tick = loop.time(), 0
        while True:
            if tick % _HEARTBEAT_TICKS == 0:
                await self._world.heartbeat("peers", "sync", "reasoning", "code")
            await self._tick(tick)
            tick += 1
            await asyncio.sleep(began + tick / _TICKS - loop.time())

    async def _tick(self, tick: int) -> None:
        now = await self._world.now()
        partition = tick % _PARTITIONS
        own = self._peers[partition::_PARTITIONS]
        changed = self._chance.sample(own, min(len(own), CHANGES // _TICKS))
        await self._world.roster({peer: self._row(peer, now) for peer in changed}, str(partition))
        for _ in range(SYNCS // _TICKS):
            sender, target = self._chance.sample(self._peers, 2)
            await self._world.sync(sync(sender, target=target, ts=now, bytes=self._chance.randrange(1 << 20)))
        await self._world.summary(
            network_health=80 + self._chance.random() * 20, data_integrity=90.0, avg_latency=40.0, latency_p50=38.0,
            latency_p95=80.0, latency_p99=95.0, total_peers=len(self._peers), online_peers=len(self._peers) * 4 // 5,
            sync_rate=float(SYNCS), sync_bytes_rate=2.5e7, active_syncs=400, sync_events_total=tick,
        )  # fmt: skip

    def _row(self, peer: str, now: int) -> PeerRow:
        chance = self._chance
        tier = _TIERS[int(peer.rpartition("-")[2]) % len(_TIERS)]
        return row(
            peer, hostname=f"{peer}.local", tier=tier, status=chance.choice(_STATUSES), last_seen=now,
            latency_ms=round(5 + chance.expovariate(1 / 30), 1), suspicion=round(chance.random() ** 4, 3),
            data_shared=chance.randrange(1 << 30),
        )  # fmt: skip


@contextlib.asynccontextmanager
async def busy(rig: GatewayRig, peers: int = PEERS) -> AsyncIterator[None]:
    """Changes come meanwhile."""
    mesh = _Mesh(rig.world, peers)
    await mesh.begin()
    task = asyncio.create_task(mesh.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        await end_tasks([task])


@contextlib.asynccontextmanager
async def opened(rig: GatewayRig) -> AsyncIterator[Page]:
    """The page, as soon as it is connected."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            page = await browser.new_page(viewport={"width": 1920, "height": 1080})
            await page.goto(f"http://127.0.0.1:{rig.port}")
            await expect(page.locator("html")).to_have_attribute("data-standing", "connected")
            yield page
        finally:
            await browser.close()


async def frames(page: Page) -> tuple[float, float]:
    """Frames a second, and the longest one in ms, by the page's own measure of the last five seconds."""
    found = await page.evaluate("import('/static/core/frames.js').then(({ measure }) => measure())")
    assert found is not None, "nothing has moved"
    return found["perSecond"], found["worstMs"]
