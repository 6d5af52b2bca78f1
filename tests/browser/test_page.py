"""The page in Chromium, served by the real gateway from a real bus."""

import re
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright, expect
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from schemas import streams
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

# Two cores that also run the rest: what is to happen at once may take a while.
expect.set_options(timeout=15_000)

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with running_gateway(bus) as running:
        await eventually(lambda: running.mesh.bus_answers)
        yield running


@pytest.fixture
async def world(redis_client: Redis) -> World:
    return World(redis_client)


@pytest.fixture
async def page(gateway: Gateway) -> AsyncIterator[Page]:
    """An open page. Fails the test if anything was written to its console: errors, or what its policy forbade."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(gateway.url)
        yield page
        await browser.close()
    # A connection that a test has cut is reported by the browser itself, whatever a page does.
    assert [each for each in complaints if "WebSocket connection to" not in each] == []


async def simulate(world: World) -> None:
    await world.roster({"sim-1": row("sim-1", hostname="sim-alpha", tier="core", latency_ms=9.5)}, streams.SIMULATED)
    await world.summary("simulated", "simulated", total_peers=1, online_peers=1, network_health=100.0)


async def test_a_simulated_mesh_is_marked_by_word(page: Page, world: World) -> None:
    await simulate(world)
    await expect(page.locator("#badge-word")).to_have_text("SIMULATED")
    await expect(page.locator("#notice")).to_contain_text("simulated")
    await expect(page.locator("#rows")).to_contain_text("sim-alpha")


async def test_a_live_mesh_is_marked_by_word(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.summary()
    await expect(page.locator("#badge-word")).to_have_text("LIVE")
    await expect(page.locator("#notice")).to_be_hidden()


async def test_a_stale_mesh_says_since_when(page: Page, world: World) -> None:
    await world.summary()
    await expect(page.locator("#badge-word")).to_have_text("STALE")
    await expect(page.locator("#badge-detail")).to_have_text(re.compile(r"^since \d\d:\d\d:\d\d$"))


async def test_a_change_on_the_bus_appears(page: Page, world: World) -> None:
    await world.summary(network_health=81.2)
    await expect(page.locator("#tiles")).to_contain_text("81.2%")
    await world.summary(network_health=99.9)
    await expect(page.locator("#tiles")).to_contain_text("99.9%")


async def test_a_new_sync_appears_in_the_feed(page: Page, world: World) -> None:
    await world.summary()
    await world.sync(sync("alpha", action="identity_sync"))
    await expect(page.locator("#feed")).to_contain_text("identity_sync")


async def test_the_age_of_the_newest_data_is_shown(page: Page, world: World) -> None:
    await world.summary()
    await expect(page.locator("#age-value")).to_have_text(re.compile(r"^\d+ s old$"))


async def test_an_unknown_value_is_an_em_dash_and_the_word(page: Page, world: World) -> None:
    await world.summary(total_peers=0, online_peers=0)
    tile = page.locator(".tile", has_text="Data integrity")
    await expect(tile.locator("dd").first).to_have_text("\u2014unknown")
    await expect(page.locator(".tile", has_text="Peers online").locator("dd").first).to_have_text("0")


async def test_markup_in_a_hostname_is_shown_as_text(page: Page, world: World) -> None:
    evil = """<img src=x onerror="document.title='owned'">&amp;"""
    await world.roster({"a": row("a", hostname=evil)})
    await world.summary()
    await expect(page.locator("#rows td.name")).to_contain_text(evil)
    assert await page.locator("#rows img").count() == 0
    assert await page.title() != "owned"


async def test_the_table_is_sorted_by_keyboard(page: Page, world: World) -> None:
    await world.roster({"a": row("a", latency_ms=30.0), "b": row("b", latency_ms=10.0)})
    await world.summary()
    await expect(page.locator("#rows tr")).to_have_count(2)
    await page.get_by_role("button", name="Latency").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#rows tr").first).to_contain_text("10.0 ms")
    await page.keyboard.press("Enter")
    await expect(page.locator("#rows tr").first).to_contain_text("30.0 ms")


async def test_a_lost_connection_dims_the_page_and_says_since_when(page: Page, gateway: Gateway, world: World) -> None:
    await simulate(world)
    await expect(page.locator("#badge-word")).to_have_text("SIMULATED")
    for client in list(gateway.broadcast.fanout._clients):
        client.transport.abort()
    await expect(page.locator("#badge-word")).to_have_text("DISCONNECTED")
    await expect(page.locator("#badge-detail")).to_have_text(re.compile(r"^since "))
    await expect(page.locator("main")).to_have_css("opacity", "0.5")


async def test_a_page_whose_gateway_is_back_heals_by_itself(page: Page, gateway: Gateway, world: World) -> None:
    await simulate(world)
    await expect(page.locator("#badge-word")).to_have_text("SIMULATED")
    for client in list(gateway.broadcast.fanout._clients):
        client.transport.abort()
    await expect(page.locator("#badge-word")).to_have_text("DISCONNECTED")
    await expect(page.locator("#badge-word")).to_have_text("SIMULATED")
    await expect(page.locator("main")).to_have_css("opacity", "1")


@pytest.mark.parametrize("width", [390, 1024, 1920])
async def test_nothing_is_cut_off_sideways(page: Page, world: World, width: int) -> None:
    rows = {f"p{n}": row(f"p{n}", hostname="h" * 200, tier="verified", latency_ms=1e6) for n in range(30)}
    await world.roster(rows)
    await world.summary(
        sync_bytes_rate=2.0**60, avg_latency=123_456.7, latency_p99=1e6, latency_p95=1e6, latency_p50=1e6
    )
    await page.set_viewport_size({"width": width, "height": 900})
    await expect(page.locator("#rows tr")).to_have_count(30)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
