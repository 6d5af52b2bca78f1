"""A page in Chromium, served by a real gateway from a real bus. A test of a view is

    pytestmark = MARKS  # of tests.browser.chromium

    async def test_a_change_appears(page: Page, world: World) -> None:
        await go(page, "#/memory")
        await world.memory(quarantine_count=18)
        await expect(page.get_by_text("18")).to_be_visible()

`page` is open, and its gateway knows nothing until the test writes with `world`; `gateway.cut("/ws")` cuts off its
connection. A test, or with a fixture of its own a module, chooses how the page looks:
`@pytest.mark.parametrize("look", [Look(375, theme="light")])`. What is to be there before the page is opened is written
first, with `tab` instead of `page`, and then `tab.goto(gateway.url)`. Whatever a page writes to its console fails the
test, but for what `forgiven` names.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import ConsoleMessage, Error, Page, async_playwright, expect
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from tests.browser.chromium import ARGUMENTS, CHROMIUM, PATIENCE_MS, Look
from tests.gateway.support import Gateway, World, eventually, running_gateway

expect.set_options(timeout=PATIENCE_MS)


# Chosen once, as with the page's button; the empty page has no storage.
CHOOSE_THEME: Final = """
location.protocol === "about:"
  || (localStorage.theme ??= matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def window() -> AsyncIterator[Page]:
    """One for all tests: another one takes as long as a test. Their gateways' ports, and so their origins, differ."""
    # In debug mode all that the browser says would take three times as long.
    asyncio.get_running_loop().set_debug(False)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        await page.add_init_script(CHOOSE_THEME)
        yield page
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def redis_client(server_url: str) -> AsyncIterator[Redis]:
    """As that of all tests, on the browser's event loop."""
    async with Redis.from_url(server_url) as client:
        await client.flushall()
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def bus(server_url: str, redis_client: Redis) -> AsyncIterator[Bus]:
    """As that of all tests, on the browser's event loop."""
    bus = Bus(server_url)
    await bus.open(16)
    yield bus
    await bus.close()


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with running_gateway(bus) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


@pytest.fixture
def look() -> Look:
    return Look()


@pytest.fixture
def forgiven() -> tuple[str, ...]:
    """Parts of lines in the console that are no fault of the page: the browser itself reports what it cannot load."""
    return ("WebSocket connection to",)


@pytest_asyncio.fixture(loop_scope="session")
async def tab(window: Page, look: Look, forgiven: tuple[str, ...], gateway: object) -> AsyncIterator[Page]:
    """An empty page. Fails the test if anything was written to its console: errors, or what its policy forbade.

    It is left before the gateway ends.
    """
    complaints: list[str] = []

    def note(said: ConsoleMessage | Error) -> None:
        complaints.append(said.text if isinstance(said, ConsoleMessage) else str(said))

    await window.set_viewport_size({"width": look.width, "height": look.height})
    await window.emulate_media(color_scheme=look.theme, reduced_motion="reduce" if look.still else "no-preference")
    window.on("console", note)
    window.on("pageerror", note)
    yield window
    await window.unroute_all()
    await window.goto("about:blank")
    await window.context.clear_cookies()  # they are of the host, whatever the port
    window.remove_listener("console", note)
    window.remove_listener("pageerror", note)
    assert [each for each in complaints if not any(part in each for part in forgiven)] == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab: Page, gateway: Gateway) -> Page:
    """A page that has been opened."""
    await tab.goto(gateway.url)
    return tab
