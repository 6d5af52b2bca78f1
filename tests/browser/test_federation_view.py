"""The federation view: its numbers, the table of peers, the feed of syncs, who sent most."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from schemas.metrics import Talker
from tests.browser.chromium import MARKS, Look, go
from tests.gateway.support import Gateway, World, row, sync

pytestmark = MARKS

EVIL = """<img src=x onerror="document.title='owned'">&amp;"""


def peers(page: Page) -> Locator:
    """The rows of the table, without its heads."""
    return page.locator("pulse-peer-table .body .row")


def names(page: Page) -> Locator:
    return page.locator("pulse-peer-table .body a")


def syncs(page: Page) -> Locator:
    return page.locator("pulse-federation .syncs li")


def tile(page: Page, title: str) -> Locator:
    return page.locator("pulse-federation .tile", has=page.locator("dt", has_text=re.compile(f"^{title}(?! s)")))


async def mesh_of(world: World, count: int) -> None:
    await world.roster({f"p{n}": row(f"p{n}", latency_ms=float(n)) for n in range(count)})


async def test_the_tiles_show_the_summary_with_its_units(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.summary(
        network_health=81.25, data_integrity=100.0, total_peers=2_000, online_peers=1_625, latency_p50=8.25,
        latency_p95=20.0, latency_p99=240.4, sync_bytes_rate=2048.0, sync_rate=0.25,
    )  # fmt: skip
    await expect(tile(page, "Network health").locator(".value")).to_have_text("81.3%")
    await expect(tile(page, "Data integrity").locator(".value")).to_have_text("100%")
    await expect(tile(page, "Peers online")).to_contain_text("1,625of 2,000 known")
    await expect(tile(page, "Latency p50")).to_contain_text("8.3msp95 20.0 \u00b7 p99 240")
    await expect(tile(page, "Transfer").locator(".value")).to_have_text("2.0KiB/s")
    await expect(tile(page, "Syncs").first.locator(".value")).to_have_text("0.25/s")


async def test_an_unknown_value_is_an_em_dash_and_the_word_and_no_zero(page: Page, world: World) -> None:
    await world.roster({"a": row("a")})
    await world.summary(total_peers=0, online_peers=0)
    await expect(tile(page, "Data integrity").locator(".value")).to_have_text("\u2014unknown")
    await expect(tile(page, "Data integrity").locator(".origin")).to_have_text("unknown")
    await expect(tile(page, "Peers online").locator(".value")).to_have_text("0")
    await expect(peers(page).locator(".of-latency")).to_have_text("\u2014 unknown")
    await expect(peers(page).locator(".of-tier")).to_have_text("\u2014 unknown")


async def test_a_line_shows_nothing_of_what_was_simulated_once_it_is_live(page: Page, world: World) -> None:
    health = tile(page, "Network health")
    await world.summary("simulated", "simulated", network_health=58.0)
    await expect(health.locator(".value")).to_have_text("58.0%")
    await world.heartbeat()
    await world.summary(network_health=83.0)
    await expect(health.locator(".value")).to_have_text("83.0%")
    await expect(health.locator(".range")).to_have_text(re.compile("^steady for"))


async def test_a_stale_group_marks_its_own_values_only(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.summary("live", "stale", network_health=100.0, sync_rate=1.0, data_integrity=90.0)
    await expect(tile(page, "Network health").locator(".origin")).to_have_text("live")
    await expect(tile(page, "Transfer").locator(".origin")).to_have_text("unknown")
    await expect(tile(page, "Data integrity").locator(".origin")).to_have_text("stale")
    await expect(page.locator("pulse-federation pulse-sync-feed h3 .origin")).to_have_text("stale")


async def test_a_peer_is_a_row_with_what_is_known_of_it(page: Page, world: World) -> None:
    values = {"hostname": "alpha.local", "tier": "core", "latency_ms": 12.34, "data_shared": 4096, "suspicion": 2.41}
    await world.roster({"a": row("a", last_seen=await world.now() - 7_000, status="syncing", **values)})
    await expect(peers(page)).to_have_count(1)
    cells: list[str | re.Pattern[str]] = [
        "syncingalpha.locala", "core", "syncing", "2.4", "12.3 ms", "4.0 KiB", re.compile(r"^\d+ s ago$"), "redis",
        re.compile("^(live|stale)$"),
    ]  # fmt: skip
    await expect(page.get_by_role("table", name="Peers").get_by_role("cell")).to_have_text(cells)


async def test_the_table_is_sorted_by_keyboard_and_the_address_says_how(page: Page, world: World) -> None:
    await world.roster({"a": row("a", latency_ms=30.0), "b": row("b", latency_ms=10.0), "c": row("c")})
    await expect(names(page)).to_have_text(["a", "b", "c"])
    await page.get_by_role("button", name="Latency").press("Enter")
    await expect(names(page)).to_have_text(["b", "a", "c"])
    await page.keyboard.press("Enter")
    await expect(names(page)).to_have_text(["a", "b", "c"])
    await expect(page.get_by_role("columnheader", name="Latency")).to_have_attribute("aria-sort", "descending")
    assert page.url.endswith("?sort=-latency")


async def test_numbers_in_names_count_as_numbers(page: Page, world: World) -> None:
    await world.roster({peer: row(peer) for peer in ("node-10", "node-9", "node-100")})
    await expect(names(page)).to_have_text(["node-9", "node-10", "node-100"])


async def test_a_change_finds_its_place_among_the_sorted(page: Page, world: World) -> None:
    await mesh_of(world, 3)
    await go(page, "#/federation?sort=-latency")
    await expect(names(page)).to_have_text(["p2", "p1", "p0"])
    await world.roster({"p0": row("p0", latency_ms=1.5), "p2": None, "q": row("q", latency_ms=9.0)})
    await expect(names(page)).to_have_text(["q", "p0", "p1"])
    await expect(page.locator("pulse-peer-table h3 small")).to_have_text("3 of 3 shown")


async def test_a_filter_keeps_rows_with_all_of_its_words(page: Page, world: World) -> None:
    await world.roster({
        "a1": row("a1", hostname="Alpha", tier="core"),
        "a2": row("a2", hostname="alphabet", status="offline"),
        "b": row("b", hostname="beta", tier="core"),
    })  # fmt: skip
    await expect(names(page)).to_have_count(3)
    filtering = page.get_by_role("searchbox", name="Filter")
    await filtering.fill("alpha")
    await expect(names(page)).to_have_text(["Alpha", "alphabet"])
    await filtering.fill("alpha status:off")
    await expect(names(page)).to_have_text(["alphabet"])
    await expect(page.locator("pulse-peer-table h3 small")).to_have_text("1 of 3 shown")
    await world.roster({"a2": row("a2", hostname="alphabet")})
    await expect(page.get_by_text("No peer has all of these words.")).to_be_visible()


async def test_a_link_opens_the_table_sorted_and_filtered(page: Page, world: World) -> None:
    await world.roster({"a": row("a", tier="core"), "b": row("b"), "c": row("c", tier="core")})
    await go(page, "#/federation?filter=tier%3Acore&sort=-name")
    await expect(names(page)).to_have_text(["c", "a"])
    await expect(page.get_by_role("searchbox", name="Filter")).to_have_value("tier:core")
    await go(page, "#/federation")
    await expect(names(page)).to_have_text(["a", "b", "c"])


async def test_of_many_peers_only_those_in_view_are_in_the_document(page: Page, world: World) -> None:
    await mesh_of(world, 2_000)
    table = page.get_by_role("table", name="Peers")
    await expect(table).to_have_attribute("aria-rowcount", "2001")
    await names(page).first.focus()
    await page.keyboard.press("End")
    await expect(page.locator(":focus")).to_have_text("p1999")
    await expect(page.locator(".row:focus-within")).to_have_attribute("aria-rowindex", "2001")
    assert await peers(page).count() < 60
    await page.keyboard.press("Home")
    await expect(page.locator(":focus")).to_have_text("p0")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(":focus")).to_have_text("p1")
    await expect(page.locator(":focus")).to_be_in_viewport()


async def test_the_focus_stays_with_its_peer_when_rows_change_places(page: Page, world: World) -> None:
    await mesh_of(world, 500)
    await go(page, "#/federation?sort=latency")
    await page.get_by_role("link", name="p0", exact=True).focus()
    await world.roster({"p0": row("p0", latency_ms=1e6)})
    await expect(page.locator(".row:focus-within")).to_have_attribute("aria-rowindex", "501")
    await world.roster({"p0": None})
    await expect(page.locator(":focus")).to_have_text("p499")


async def test_a_row_leads_to_its_peer(page: Page, world: World) -> None:
    await mesh_of(world, 3)
    await peers(page).nth(1).click(position={"x": 300, "y": 20})
    await expect(page.locator("pulse-peer h2")).to_have_text("p1")
    assert page.url.endswith("#/peers/p1")


@pytest.mark.parametrize("look", [Look(width=375, height=800)])
async def test_a_phone_shows_the_status_beside_the_name(page: Page, world: World) -> None:
    await world.roster({"a": row("a", status="offline")})
    await expect(peers(page).locator(".of-name .status")).to_be_visible()
    await expect(peers(page).locator(".of-name .status")).to_have_text("offline")
    await expect(peers(page).locator(".of-status")).to_be_hidden()


async def test_markup_in_names_and_actions_is_shown_as_text(page: Page, world: World) -> None:
    await world.roster({EVIL: row(EVIL, hostname=f"host {EVIL}", tier=EVIL, learnt_from=EVIL)})
    await world.sync(sync(EVIL, target=EVIL, action=EVIL))
    await world.summary(top_talkers=(Talker(id=EVIL, bytes=1),))
    await expect(names(page)).to_have_text(f"host {EVIL}")
    await expect(syncs(page).locator(".what")).to_have_text(EVIL)
    await expect(page.locator("pulse-talkers a:visible")).to_have_text([EVIL])
    assert await page.locator("pulse-federation img").count() == 0
    assert await page.title() != "owned"


async def test_a_table_without_peers_says_so_and_shows_no_number(page: Page, world: World) -> None:
    await world.summary(total_peers=0)
    await expect(page.locator("pulse-peer-table .empty")).to_have_text("No peer is known yet.")
    await expect(page.locator("pulse-peer-table h3 small")).to_have_text("")


async def test_the_newest_sync_comes_first_with_what_became_of_it(page: Page, world: World) -> None:
    await world.sync(sync("a", target="b", ok=True, bytes=2048))
    await world.sync(sync("b", target="c", ok=False))
    await world.sync(sync("c", target="a", ok=None, source="simulated"))
    await expect(syncs(page).locator(".ends")).to_have_text(["c\u2192a", "b\u2192c", "a\u2192b"])
    await expect(syncs(page).locator(".outcome")).to_have_text(["under way", "failed", "complete"])
    await expect(syncs(page).locator(".origin")).to_have_text(["simulated", "live", "live"])
    await expect(syncs(page).last.locator(".number")).to_have_text("2.0 KiB")


async def test_the_paused_feed_stands_still_says_how_many_came_and_goes_on(page: Page, world: World) -> None:
    await world.sync(sync("a"))
    await expect(syncs(page)).to_have_count(1)
    feed = page.locator("pulse-federation pulse-sync-feed")
    await feed.get_by_role("button", name="Pause").press("Space")
    await expect(feed.get_by_role("button")).to_have_attribute("aria-pressed", "true")
    await world.sync(sync("b"))
    await world.sync(sync("c"))
    await expect(feed.locator(".fresh")).to_have_text("2 new")
    await expect(syncs(page).locator(".ends")).to_have_text(["a\u2192b"])
    await page.keyboard.press("Space")
    await expect(syncs(page).locator(".ends")).to_have_text(["c\u2192b", "b\u2192b", "a\u2192b"])
    await expect(feed.locator(".fresh")).to_have_text("")


async def test_the_feed_stands_still_while_the_keyboard_is_in_it(page: Page, world: World) -> None:
    await world.sync(sync("a"))
    await world.sync(sync("b"))
    await expect(syncs(page)).to_have_count(2)
    await page.get_by_label("Syncs, newest first").first.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await world.sync(sync("c"))
    await expect(page.locator("pulse-federation .fresh")).to_have_text("1 new")
    await expect(page.locator(":focus")).to_have_text("a")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(page.locator("pulse-peer h2")).to_have_text("b")


async def test_who_sent_most_comes_with_the_longest_bar_and_leads_to_its_view(page: Page, world: World) -> None:
    await world.summary(top_talkers=(Talker(id="a/b", bytes=4096), Talker(id="c", bytes=1024)))
    talkers = page.locator("pulse-talkers li:visible")
    await expect(talkers).to_have_text(["a/b4.0 KiB", "c1.0 KiB"])
    shares = await talkers.locator(".bar").evaluate_all(
        "bars => bars.map((bar) => bar.style.getPropertyValue('--share'))"
    )
    assert shares == ["1", "0.25"]
    await talkers.get_by_role("link", name="a/b").click()
    await expect(page.locator("pulse-peer h2")).to_have_text("a/b")


async def test_nothing_is_lost_from_view_by_a_lost_connection(page: Page, gateway: Gateway, world: World) -> None:
    await world.heartbeat()
    await mesh_of(world, 2)
    await world.summary(network_health=50.0)
    await expect(tile(page, "Network health").locator(".origin")).to_have_text("live")
    await expect(names(page)).to_have_count(2)
    gateway.cut("/ws")
    await expect(names(page)).to_have_count(2)
    await expect(tile(page, "Network health").locator(".value")).to_have_text("50.0%")
