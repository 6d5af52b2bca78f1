"""The page under load: how fast its pictures follow each other, when it is first seen, and what it weighs.

2,000 peers with 200 changes and 50 syncs a second, on a gateway of its own; Chromium draws without a graphics card, on
what the gateway and the bus leave of two cores. The frames are those that the page counts itself.
"""

import asyncio
import statistics
from typing import Any, Final

from playwright.async_api import Page

from tests.benchmarks.busy_mesh import CHANGES, PEERS, SYNCS, busy, frames, opened
from tests.benchmarks.gateways import GatewayRig, running_gateway
from tests.benchmarks.tables import table

__all__ = ["measure"]

_WARM_S: Final = 6
_SPAN_S: Final = 20
_OPENINGS: Final = 9
_PAINT: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
# Of everything that was loaded until the page was connected: as it is, and as it came over the wire.
_WEIGHT: Final = """
performance.getEntries().filter((each) => "transferSize" in each && !each.name.includes("/api/")).reduce(
  ([whole, sent, count], each) => [whole + each.decodedBodySize, sent + each.transferSize, count + 1], [0, 0, 0])
"""


async def _watch(rig: GatewayRig) -> list[list[Any]]:
    async with opened(rig) as page:
        paints, weights = await _open_often(page)
        async with busy(rig):
            await asyncio.sleep(_WARM_S)
            samples = []
            for _ in range(_SPAN_S):
                await asyncio.sleep(1)
                samples.append(await frames(page))
    speeds = [speed for speed, _ in samples]
    whole, sent, count = weights
    return [
        ["frames a second, median of 20 s", f"{statistics.median(speeds):.1f} (>= 50)"],
        ["frames a second, the worst five seconds", f"{min(speeds):.1f}"],
        ["longest frame, ms", f"{max(longest for _, longest in samples):.0f}"],
        [f"first paint, ms, median of {_OPENINGS}", f"{statistics.median(paints):.0f} (< 500)"],
        ["first paint, ms, the slowest", f"{max(paints):.0f}"],
        [f"weight of {count} files, KB; over the wire", f"{whole / 1e3:.0f} (< 150); {sent / 1e3:.0f}"],
    ]


async def _open_often(page: Page) -> tuple[list[float], tuple[int, int, int]]:
    """When it was first seen, each time with nothing kept; and what it weighs."""
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    await session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    paints = []
    for _ in range(_OPENINGS):
        await page.reload()
        await page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
        paints.append(await page.evaluate(_PAINT))
    await page.wait_for_selector("html[data-standing=connected]")
    return paints, await page.evaluate(_WEIGHT)


def measure() -> str:
    """The table."""
    with running_gateway() as rig:
        rows = rig.run(_watch(rig))
    return table([f"{PEERS:,} peers, {CHANGES} changes and {SYNCS} syncs a second", ""], rows)
