"""The page in Chromium, served by the real gateway from a real bus."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from schemas import codec, streams
from tests.browser.chromium import ARGUMENTS, CHROMIUM, MARKS
from tests.gateway.support import Gateway, World, eventually, log, row, running_gateway, source, sync

pytestmark = MARKS

# Two cores that also run the rest: what is to happen at once may take a while.
expect.set_options(timeout=15_000)


@pytest.fixture
async def gateway(bus: Bus) -> AsyncIterator[Gateway]:
    async with running_gateway(bus) as running:
        await eventually(lambda: running.state.bus_answers)
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
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    await expect(page.locator("#federation-notice")).to_contain_text("simulated")
    await expect(page.locator("#rows")).to_contain_text("sim-alpha")


async def test_a_live_mesh_is_marked_by_word(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.summary()
    await expect(page.locator("#federation-word")).to_have_text("LIVE")
    await expect(page.locator("#federation-notice")).to_be_hidden()


async def test_a_stale_mesh_says_since_when(page: Page, world: World) -> None:
    await world.summary()
    await expect(page.locator("#federation-word")).to_have_text("STALE")
    await expect(page.locator("#federation-detail")).to_have_text(re.compile(r"^since \d\d:\d\d:\d\d$"))


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
    await expect(page.locator("#federation-age")).to_have_text(re.compile(r"^\d+ s old$"))


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
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    gateway.cut("/ws/federation")
    await expect(page.locator("#federation-word")).to_have_text("DISCONNECTED")
    await expect(page.locator("#federation-detail")).to_have_text(re.compile(r"^since "))
    await expect(page.locator("#federation .grid")).to_have_css("opacity", "0.5")


async def test_a_page_whose_gateway_is_back_heals_by_itself(page: Page, gateway: Gateway, world: World) -> None:
    await simulate(world)
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    gateway.cut("/ws/federation")
    await expect(page.locator("#federation-word")).to_have_text("DISCONNECTED")
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    await expect(page.locator("#federation .grid")).to_have_css("opacity", "1")


MEMORY: dict[str, Any] = {
    "ingestion_rate": 0.25,
    "consolidation_rate": 1.5,
    "dedup_rate": 62.5,
    "quarantine_count": 17,
    "trust_distribution": {"core": 3, "sandbox": 1},
    "confidence_deltas": (0.25, -0.5, 0.125),
    "logs": (log("critic: confidence 0.42, why", severity="warning"), log("planner: confidence 0.91, how")),
    "sessions_total": 1_284,
    "stages_total": 5_531,
    "consolidated_total": 3_310,
    "nodes_total": 2,
}


async def remember(world: World, **values: Any) -> None:
    await world.heartbeat("reasoning", "code")
    await world.memory(**MEMORY | values)


async def test_the_memory_half_shows_its_values(page: Page, world: World) -> None:
    await remember(world)
    tiles = page.locator("#memory-tiles .tile dd:first-of-type")
    values = ["0.25sessions/s", "1.5stages/s", "62.5% of uses", "17runs", "1,284", "5,531", "3,310", "2"]
    await expect(tiles).to_have_text(values)


async def test_the_memory_half_follows_the_bus(page: Page, world: World) -> None:
    await remember(world)
    await expect(page.locator("#memory-tiles .tile", has_text="17runs")).to_contain_text("steady for")
    await remember(world, quarantine_count=18)
    await expect(page.locator("#memory-tiles")).to_contain_text("18runs")
    await expect(page.locator("#memory-tiles")).to_contain_text("17 to 18 in")


async def test_an_unknown_value_of_the_memory_half_is_no_zero(page: Page, world: World) -> None:
    await remember(world, dedup_rate=None, trust_distribution=None, confidence_deltas=None, logs=None)
    tile = page.locator(".tile", has_text="De-duplication")
    await expect(tile.locator("dd").first).to_have_text("\u2014unknown")
    for part in ("#trust", "#constellation", "#log"):
        await expect(page.locator(part)).to_have_text("\u2014 unknown")


async def test_trust_is_shown_by_tier_with_its_share(page: Page, world: World) -> None:
    await remember(world)
    await expect(page.locator("#trust-note")).to_have_text("4 indexed files")
    rows = ["core375.0\u00a0%", "trusted00.0\u00a0%", "sandbox125.0\u00a0%", "external00.0\u00a0%", "other00.0\u00a0%"]
    await expect(page.locator("#trust li")).to_have_text(rows)
    core, sandbox = [
        await part.evaluate("part => part.clientWidth") for part in await page.locator("#trust-bar i").all()
    ]
    assert core == pytest.approx(3 * sandbox, rel=0.02)


async def test_the_constellation_has_a_dot_for_each_difference_and_names_the_newest(page: Page, world: World) -> None:
    await remember(world)
    words = "The last 3 differences of confidence: 2 up, 1 down, the newest +0.13"
    await expect(page.locator("#constellation")).to_have_attribute("aria-label", words)
    heights = [await dot.get_attribute("cy") for dot in await page.locator("#constellation circle:not(.ring)").all()]
    zero = float(await page.locator("#constellation .zero").get_attribute("y1") or "nan")
    assert [float(height or "nan") < zero for height in heights] == [True, False, True]
    await expect(page.locator("#constellation .newest")).to_have_text("+0.13")


async def test_the_log_shows_its_newest_first_with_their_severity_by_word(page: Page, world: World) -> None:
    await remember(world)
    await expect(page.locator("#log .message")).to_have_text(
        ["planner: confidence 0.91, how", "critic: confidence 0.42, why"]
    )
    await expect(page.locator("#log .severity")).to_have_text(["consolidation", "warning"])


async def test_markup_in_a_message_is_shown_as_text(page: Page, world: World) -> None:
    evil = """<img src=x onerror="document.title='owned'">&amp;"""
    await remember(world, logs=(log(evil, node=evil),))
    await expect(page.locator("#log .message")).to_have_text(evil)
    assert await page.locator("#log img").count() == 0
    assert await page.title() != "owned"


async def test_each_half_is_marked_by_its_own_word(page: Page, world: World) -> None:
    await remember(world)
    await simulate(world)
    await expect(page.locator("#memory-word")).to_have_text("LIVE")
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    await expect(page).to_have_title("SIMULATED / LIVE \u2013 ARK Pulse")


async def test_a_stale_memory_half_says_what_is_silent(page: Page, world: World) -> None:
    await world.heartbeat("reasoning")
    await world.memory(**MEMORY)
    await expect(page.locator("#memory-word")).to_have_text("STALE")
    await expect(page.locator("#memory-notice")).to_contain_text("No news from the sources of code:")


async def test_a_lost_connection_dims_its_own_half_only(page: Page, gateway: Gateway, world: World) -> None:
    await simulate(world)
    await remember(world)
    await expect(page.locator("#memory-word")).to_have_text("LIVE")
    gateway.cut("/ws/memory")
    await expect(page.locator("#memory-word")).to_have_text("DISCONNECTED")
    await expect(page.locator("#memory .grid")).to_have_css("opacity", "0.5")
    await expect(page.locator("#federation .grid")).to_have_css("opacity", "1")
    await expect(page.locator("#memory-word")).to_have_text("LIVE")


async def report(world: World, collector: str = "peers", **values: Any) -> None:
    body = codec.encode(source(collector=collector, since=await world.now(), **values))
    await world.client.xadd(streams.SOURCES, codec.entry_fields("source", 1, body))  # type: ignore[arg-type]


async def test_each_source_is_a_row_of_a_table_with_a_caption(page: Page, world: World) -> None:
    await report(world, "sync_events", group="sync", published=1_234, rejected=5, as_of=await world.now())
    table = page.get_by_role("table", name="What each source says of itself")
    row = table.get_by_role("row", name="sync_events")
    cells: list[str | re.Pattern[str]] = [
        "LIVE",
        re.compile(r"^\d\d:\d\d:\d\d$"),
        "",
        re.compile(r"^\d+ s ago$"),
        "1,234",
        "5",
    ]
    await expect(row.get_by_role("cell")).to_have_text(cells)
    heads = ["Source", "State", "Since", "Why", "Last answer", "Published", "Rejected"]
    await expect(table.get_by_role("columnheader")).to_have_text(heads)


async def test_a_change_of_a_source_appears_without_another_row(page: Page, world: World) -> None:
    await report(world)
    rows = page.locator("#source-rows tr")
    await expect(rows).to_contain_text("LIVE")
    await report(world, state="stale", reason="Connection refused")
    await expect(rows).to_contain_text("STALE")
    await expect(rows).to_contain_text("Connection refused")
    await expect(rows).to_have_count(1)
    await expect(page.locator("#sources-note")).to_have_text("1 stale")


async def test_sources_are_asked_for_as_soon_as_a_frame_says_that_one_changed(page: Page, world: World) -> None:
    await simulate(world)
    await expect(page.locator("#federation-word")).to_have_text("SIMULATED")
    async with page.expect_response("**/api/v1/sources", timeout=3_000):
        await world.summary("live", "simulated")


async def test_a_source_that_never_answered_says_so_and_nodes_are_told_apart(page: Page, world: World) -> None:
    await report(world, node="a", state="down", as_of=None)
    await report(world, node="b", state="simulated")
    rows = page.locator("#source-rows tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("\u2014 never")
    await expect(rows.locator("small")).to_have_text(["a", "b"])
    await expect(page.locator("#sources-note")).to_have_text("1 down, 1 simulated")


async def test_markup_in_a_reason_is_shown_as_text(page: Page, world: World) -> None:
    evil = """<img src=x onerror="document.title='owned'">&amp;"""
    await report(world, evil, state="down", reason=evil, detail=evil)
    await expect(page.locator("#source-rows .why")).to_have_text(f"{evil}; {evil}")
    assert await page.locator("#source-rows img").count() == 0
    assert await page.title() != "owned"


@pytest.mark.parametrize("width", [375, 1024, 1920])
async def test_nothing_is_cut_off_sideways(page: Page, world: World, width: int) -> None:
    rows = {f"p{n}": row(f"p{n}", hostname="h" * 200, tier="verified", latency_ms=1e6) for n in range(30)}
    await world.roster(rows)
    await world.summary(
        sync_bytes_rate=2.0**60, avg_latency=123_456.7, latency_p99=1e6, latency_p95=1e6, latency_p50=1e6
    )
    huge = {"ingestion_rate": 1e6, "quarantine_count": 2**53, "sessions_total": 2**53, "confidence_deltas": (-1e6, 2e6)}
    await remember(world, logs=(log("x" * 512, node="n" * 256),) * 20, **huge)
    await report(world, "x" * 64, state="simulated", reason="y" * 200, detail="z" * 90, published=2**53, rejected=2**53)
    await page.set_viewport_size({"width": width, "height": 900})
    await expect(page.locator("#source-rows")).to_contain_text("y" * 200)
    await expect(page.locator("#log li")).to_have_count(20)
    await expect(page.locator("#rows tr")).to_have_count(30)
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
