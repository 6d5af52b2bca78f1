"""The browser that the tests drive, where it is installed, and how they look through it."""

import dataclasses
import shutil
from typing import Final, Literal

import pytest
from playwright.async_api import Page, expect

__all__ = ["ARGUMENTS", "CHROMIUM", "MARKS", "PATIENCE_MS", "VIEWS", "Look", "go"]

CHROMIUM = shutil.which("chromium")

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="session"),
]
"""Of each module that needs it. One browser, and so one event loop, for all of them: it takes a second or three to
start."""

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

PATIENCE_MS: Final = 15_000
"""How long what is to happen at once may take on two cores that also run the rest."""

VIEWS: Final = {
    "#/federation": "pulse-federation",
    "#/peers/": "pulse-peer",
    "#/memory": "pulse-memory",
    "#/sources": "pulse-pipeline",
}
"""The element that shows a route, by how the route begins."""


@dataclasses.dataclass(frozen=True)
class Look:
    """The window that a page is shown in, and what its user has asked the system for."""

    width: int = 1280
    height: int = 900
    theme: Literal["dark", "light"] = "dark"
    # Whether nothing is to move by itself.
    still: bool = False


async def go(page: Page, route: str) -> None:
    """Follow a link within the page, as `#/memory`, until its view is shown."""
    await page.evaluate("hash => { location.hash = hash; }", route)
    view = next(element for begin, element in VIEWS.items() if route.startswith(begin))
    await expect(page.locator(view)).to_be_visible()
