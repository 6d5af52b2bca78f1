"""The page, open for a long time while much happens: what it holds may not grow."""

import asyncio
import statistics
from typing import Final, NamedTuple

from playwright.async_api import CDPSession, Page

from tests.benchmarks.busy_mesh import PEERS, busy, opened
from tests.benchmarks.gateways import GatewayRig, running_gateway
from tests.browser.chromium import go
from tests.browser.scenes import ROUTES

__all__ = ["MOST_GROWTH", "PageReport", "run_page"]

MOST_GROWTH: Final = 1.1
"""What the heap of the last third may be, as a multiple of the second third's: in the first, histories still fill."""

_MIB: Final = 1 << 20


class PageReport(NamedTuple):
    """What was seen of an open page."""

    # MiB in use after a collection, and how many nodes the document has, once a round through all views.
    heaps: list[float]
    nodes: list[int]

    @property
    def growth(self) -> float:
        """The median heap of the last third, as a multiple of that of the second."""
        third = len(self.heaps) // 3
        return statistics.median(self.heaps[-third:]) / statistics.median(self.heaps[third : 2 * third])


async def _watch(rig: GatewayRig, rounds: int, view_s: float, peers: int) -> PageReport:
    report = PageReport([], [])
    async with opened(rig) as page, busy(rig, peers):
        session = await page.context.new_cdp_session(page)
        for _ in range(rounds):
            for route in (*ROUTES[1:], ROUTES[0]):
                await go(page, route)
                await asyncio.sleep(view_s)
            heap_mib, nodes = await _held(page, session)
            report.heaps.append(heap_mib)
            report.nodes.append(nodes)
    return report


async def _held(page: Page, session: CDPSession) -> tuple[float, int]:
    await session.send("HeapProfiler.collectGarbage")
    used = (await session.send("Runtime.getHeapUsage"))["usedSize"]
    return used / _MIB, await page.evaluate("document.querySelectorAll('*').length")


def run_page(seconds: float, view_s: float = 5.0, peers: int = PEERS) -> PageReport:
    """Open the page for so long, from view to view, `view_s` in each."""
    rounds = max(3, round(seconds / (view_s * len(ROUTES))))
    with running_gateway() as rig:
        return rig.run(_watch(rig, rounds, view_s, peers))
