"""A peer's own view: opened by a link, it follows the peer, and says so when there is none."""

import re
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import MARKS, go
from tests.gateway.support import World, row, sync

pytestmark = MARKS


def fact(page: Page, title: str) -> Locator:
    return page.locator("pulse-peer .tile", has=page.locator("dt", has_text=title)).locator(".value")


async def test_a_peer_is_shown_with_all_that_is_known_of_it(page: Page, world: World) -> None:
    await world.heartbeat()
    values = {"hostname": "alpha.local", "tier": "core", "latency_ms": 12.34, "data_shared": 4096, "suspicion": 2.41}
    await world.roster({"a": row("a", last_seen=await world.now() - 7_000, **values)})
    await world.summary()
    await go(page, "#/peers/a")
    await expect(page.locator("pulse-peer h2")).to_have_text("alpha.local")
    await expect(page.locator("pulse-peer .id")).to_have_text("a")
    await expect(fact(page, "Status")).to_have_text("online")
    await expect(fact(page, "Tier")).to_have_text("core")
    await expect(fact(page, "Suspicion")).to_have_text("2.4of 8")
    await expect(page.get_by_text("its heartbeat is late")).to_be_visible()
    await expect(fact(page, "Latency")).to_have_text("12.3ms")
    await expect(fact(page, "Data shared")).to_have_text("4.0KiB")
    await expect(fact(page, "Last seen")).to_have_text(re.compile(r"^\d+ sago$"))
    await expect(fact(page, "Learnt from")).to_have_text("redis")
    await expect(page.locator("pulse-peer .tiles .origin")).to_have_text(["live"] * 7)
    await expect(page).to_have_title(re.compile("^a \u2013 "))


async def test_the_view_follows_its_peer(page: Page, world: World) -> None:
    await world.roster({"a": row("a", latency_ms=5.0)})
    await go(page, "#/peers/a")
    await expect(fact(page, "Latency")).to_have_text("5.0ms")
    await world.roster({"a": row("a", latency_ms=9.0, status="offline", suspicion=8.5)})
    await expect(fact(page, "Latency")).to_have_text("9.0ms")
    await expect(fact(page, "Status")).to_have_text("offline")
    await expect(page.locator("pulse-peer .range")).to_have_text(re.compile(r"^5\.0 to 9\.0 in \d+ s$"))


async def test_what_is_not_known_of_a_peer_is_no_zero(page: Page, world: World) -> None:
    await world.roster({"a": row("a")})
    await go(page, "#/peers/a")
    await expect(fact(page, "Latency")).to_have_text("\u2014unknown")
    await expect(fact(page, "Tier")).to_have_text("\u2014unknown")
    await expect(fact(page, "Data shared")).to_have_text("0B")


async def test_a_peer_that_is_not_in_the_roster_is_called_not_known(page: Page, world: World) -> None:
    await world.roster({"a": row("a")})
    await go(page, "#/peers/constructor")
    await expect(page.locator("pulse-peer .notice")).to_contain_text("This peer is not known")
    await expect(page.locator("pulse-peer h2")).to_have_text("constructor")
    await expect(fact(page, "Status")).to_have_text("unknown")
    await expect(fact(page, "Data shared")).to_have_text("\u2014unknown")
    await world.roster({"constructor": row("constructor")})
    await expect(page.locator("pulse-peer .notice")).to_be_hidden()
    await expect(fact(page, "Status")).to_have_text("online")


async def test_a_peer_that_left_is_said_to_be_gone_since_when_with_what_was_known_last(
    page: Page, world: World
) -> None:
    await world.roster({"a": row("a", tier="core"), "b": row("b")})
    await go(page, "#/peers/a")
    await expect(fact(page, "Tier")).to_have_text("core")
    await world.roster({"a": None})
    await expect(page.locator("pulse-peer .notice")).to_have_text(re.compile(r"left the roster at \d\d:\d\d:\d\d:"))
    await expect(fact(page, "Tier")).to_have_text("core")
    await expect(page.locator("pulse-peer .tiles .origin").first).to_have_text("stale")


async def test_its_syncs_are_shown_with_how_many_succeeded_and_with_whom(page: Page, world: World) -> None:
    await world.sync(sync("a", target="b"))
    await world.sync(sync("b", target="c"))
    await world.sync(sync("b", target="a", ok=False))
    await world.sync(sync("c", target="a", ok=None))
    await go(page, "#/peers/a")
    feed = page.locator("pulse-peer .syncs li")
    await expect(feed.locator(".ends")).to_have_text(["c\u2192a", "b\u2192a", "a\u2192b"])
    await expect(page.locator("pulse-peer .success")).to_have_text("1 of 2 finished syncs succeeded, 50.0 %")
    await expect(page.locator("pulse-peer .ranking li:visible")).to_have_text(["b2", "c1"])
    await world.sync(sync("c", target="b"))
    await world.sync(sync("d", target="a"))
    await expect(feed.first.locator(".ends")).to_have_text("d\u2192a")
    await expect(page.locator("pulse-peer .success")).to_have_text("2 of 3 finished syncs succeeded, 66.7 %")
    await page.locator("pulse-peer .ranking").get_by_role("link", name="c").click()
    await expect(page.locator("pulse-peer h2")).to_have_text("c")
    await expect(feed.locator(".ends")).to_have_text(["c\u2192b", "c\u2192a", "b\u2192c"])


@pytest.mark.parametrize("peer", ["a/b?c#d", "__proto__", "\U0001f98a 100%" + "x" * 249])
async def test_an_odd_id_opens_by_its_link(page: Page, world: World, peer: str) -> None:
    await world.roster({peer: row(peer, tier="core"), "other": row("other")})
    await page.locator("pulse-peer-table .row", has_text=peer).get_by_role("link").click()
    await expect(page.locator("pulse-peer h2")).to_have_text(peer)
    await expect(fact(page, "Tier")).to_have_text("core")
    assert page.url.endswith(f"#/peers/{quote(peer, safe='')}")
    await page.reload()
    await expect(page.locator("pulse-peer h2")).to_have_text(peer)


async def test_the_way_back_leads_to_the_table_as_it_was_left(page: Page, world: World) -> None:
    await world.roster({"a": row("a", tier="core"), "b": row("b")})
    await go(page, "#/federation?filter=core&sort=-name")
    await page.get_by_role("link", name="a", exact=True).press("Enter")
    await page.get_by_role("link", name="All peers").click()
    await expect(page.locator("pulse-peer-table .body a")).to_have_text(["a"])
    assert page.url.endswith("#/federation?filter=core&sort=-name")


async def test_markup_in_a_name_is_shown_as_text(page: Page, world: World) -> None:
    evil = """<img src=x onerror="document.title='owned'">&amp;"""
    await world.roster({evil: row(evil, hostname=f"host {evil}")})
    await go(page, f"#/peers/{quote(evil, safe='')}")
    await expect(page.locator("pulse-peer h2")).to_have_text(f"host {evil}")
    await expect(page.locator("pulse-peer .id")).to_have_text(evil)
    assert await page.locator("pulse-peer img").count() == 0
