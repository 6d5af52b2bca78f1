"""The memory view: its values, its pictures in words, its log, and a node alone."""

import re
from typing import Any, Final

import pytest
from playwright.async_api import Locator, Page, expect

from schemas import codec, streams
from tests.browser.chromium import MARKS, Look, go
from tests.browser.scenes import EVIL, remember
from tests.gateway.support import World, log, node

pytestmark = MARKS

ROUTE: Final = "#/memory"
UNKNOWN: Final = "\u2014"


def tile(page: Page, title: str) -> Locator:
    return page.locator("pulse-memory .tile:visible").filter(has=page.locator("dt", has_text=re.compile(f"^{title}")))


def value_of(page: Page, title: str) -> Locator:
    return tile(page, title).locator(".value")


def panel(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def constellation(page: Page) -> Locator:
    return panel(page, "Confidence").get_by_role("slider")


def messages(page: Page) -> Locator:
    return panel(page, "Sessions").locator(".message")


async def tell(world: World, message: str, **values: Any) -> None:
    """One more session, as the log has it."""
    await world._add(streams.FEED_MEMORY, "memory", codec.encode(log(message, **values)))


async def tell_three(world: World) -> None:
    for severity in ("warning", "info", "consolidation"):
        await tell(world, f"a session of {severity}", severity=severity)


async def two_nodes(world: World, **values: Any) -> None:
    first = node(ts=await world.now(), quarantine_count=3, trust_distribution={"core": 1})
    second = node(ts=await world.now(), quarantine_count=14, confidence_deltas=(-0.5,), **values)
    await remember(world, nodes={"ark-1": first, "ark-2": second})


async def test_the_tiles_show_values_with_their_units(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    values = ["0.25sessions/s", "1.5stages/s", "62.5% of uses", "17runs", "1,284", "5,531", "3,310", "2"]
    await expect(page.locator("pulse-memory .tile:visible .value")).to_have_text(values)
    await expect(tile(page, "Consolidated")).to_contain_text("59.8 % of stages")


async def test_the_tiles_follow_the_bus(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    await expect(value_of(page, "Quarantine")).to_have_text("17runs")
    await remember(world, quarantine_count=18)
    await expect(value_of(page, "Quarantine")).to_have_text("18runs")


async def test_what_is_unknown_is_no_zero(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world, dedup_rate=None, trust_distribution=None, confidence_deltas=None, ingestion_rate=0.0)
    await expect(value_of(page, "Ingestion")).to_have_text("0sessions/s")
    await expect(value_of(page, "De-duplication")).to_have_text(f"{UNKNOWN}unknown")
    await expect(panel(page, "Over time").locator("dd").nth(2)).to_have_text(f"{UNKNOWN} unknown")
    await expect(panel(page, "Trust").locator("li").first).to_have_text(f"core{UNKNOWN}unknown")
    await expect(panel(page, "Confidence").locator(".told")).to_have_text(f"{UNKNOWN} unknown")


async def test_a_stale_group_marks_its_own_values_only(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await world.heartbeat("reasoning")
    await world.memory("live", "stale", quarantine_count=17, sessions_total=5, trust_distribution={"core": 1})
    await expect(tile(page, "Quarantine").locator(".origin")).to_have_text("stale")
    await expect(tile(page, "Sessions").locator(".origin")).to_have_text("live")
    await expect(panel(page, "Trust").locator(".heading .origin")).to_have_text("stale")
    await expect(panel(page, "Sessions").locator(".heading .origin")).to_have_text("live")


async def test_trust_is_told_by_tier_with_its_share(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    trust = panel(page, "Trust")
    await expect(trust).to_contain_text("4 indexed files")
    rows = ["core375.0\u00a0%", "trusted00.0\u00a0%", "sandbox125.0\u00a0%", "external00.0\u00a0%", "other00.0\u00a0%"]
    await expect(trust.locator("li")).to_have_text(rows)
    core, sandbox = [
        await part.evaluate("part => part.clientWidth") for part in await trust.locator(".bar i:visible").all()
    ]
    assert core == pytest.approx(3 * sandbox, rel=0.02)


async def test_the_constellation_has_a_star_for_each_difference(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    words = "Confidence: \u25b2 2 up, \u25bc 1 down, \u25cb 0 even, the newest +0.13"
    await expect(constellation(page)).to_have_accessible_name(words)
    stars = constellation(page).locator(".star")
    await expect(stars).to_have_class(["star up", "star down", "star up"])
    await expect(stars.last.locator(".ring")).to_be_visible()


async def test_the_stars_are_told_one_by_one_by_keyboard(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    await expect(constellation(page).locator(".star")).to_have_count(3)
    await constellation(page).focus()
    await page.keyboard.press("ArrowLeft")
    told = "\u25bc \u22120.500, 1 before the newest"
    await expect(constellation(page)).to_have_attribute("aria-valuetext", told)
    await expect(panel(page, "Confidence").locator(".told")).to_have_text(told)


@pytest.mark.parametrize("look", [Look(still=True)])
async def test_new_stars_do_not_slide_where_motion_is_reduced(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    await expect(constellation(page).locator(".star")).to_have_count(3)
    await remember(world, confidence_deltas=(0.25, -0.5, 0.125, 0.5))
    await expect(constellation(page).locator(".star")).to_have_count(4)
    assert await page.evaluate("document.getAnimations().length") == 0


async def test_new_stars_come_from_the_right(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    await expect(constellation(page).locator(".star")).to_have_count(3)
    await page.evaluate(
        "() => { Element.prototype.animate = function (frames) { this.dataset.came = frames.transform; }; }"
    )
    await remember(world, confidence_deltas=(0.25, -0.5, 0.125, 0.5))
    sky = constellation(page).locator("g[data-came]")
    await expect(sky).to_have_attribute("data-came", re.compile(r"^translateX\([\d.]+px\),translateX\(0\)$"))


async def test_a_moment_of_the_chart_is_told_by_keyboard(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    chart = page.get_by_role("slider", name="Moment of the chart")
    await expect(value_of(page, "Ingestion")).to_have_text("0.25sessions/s")
    await chart.focus()
    now = r"^[\d:]{8}, live: Ingestion 0.25 sessions/s, Consolidation 1.5 stages/s, .* 62.5 % of uses, .* 17 runs$"
    await expect(chart).to_have_attribute("aria-valuetext", re.compile(now))
    await page.keyboard.press("ArrowLeft")
    await expect(chart).to_have_attribute("aria-valuetext", re.compile("Ingestion \u2014 unknown"))
    await expect(panel(page, "Over time")).to_contain_text(re.compile(r"all nodes, at \d\d:\d\d:\d\d"))
    await page.keyboard.press("Escape")
    await expect(panel(page, "Over time")).to_contain_text("all nodes, now")


async def test_the_chart_shows_an_hour(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world)
    hour = page.get_by_role("button", name="1 hour")
    async with page.expect_response(re.compile("/api/v1/history.*points=300")):
        await hour.click()
    await expect(hour).to_have_attribute("aria-pressed", "true")
    await expect(panel(page, "Over time").locator(".trail.ingestion").last).to_have_attribute("d", re.compile("^M"))


async def test_an_hour_that_is_there_before_the_first_value_is_shown(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await expect(value_of(page, "Quarantine")).to_have_text(f"{UNKNOWN}unknown")
    samples = [{"ts": await world.now() - 60_000, "ingestion_rate": 0.25, "source": "live"}]
    await page.route(re.compile("/api/v1/history.*points=300"), lambda route: route.fulfill(json={"samples": samples}))
    await page.get_by_role("button", name="1 hour").click()
    line = panel(page, "Over time").locator(".picture .trail.ingestion")
    await expect(line).to_have_attribute("d", re.compile(r"^M[\d. ]+H[\d.]+$"))


async def test_the_log_is_newest_first_with_severities_by_word(page: Page, world: World) -> None:
    await tell_three(world)
    await go(page, ROUTE)
    await expect(messages(page)).to_have_text([f"a session of {each}" for each in ("consolidation", "info", "warning")])
    await expect(panel(page, "Sessions").locator("li .severity")).to_have_text(["consolidation", "info", "warning"])


async def test_the_log_is_filtered_by_severity(page: Page, world: World) -> None:
    await tell_three(world)
    await go(page, ROUTE)
    filters = page.get_by_role("button", name=re.compile("^(info|consolidation)"))
    await expect(filters).to_have_text(["info1", "consolidation1"])
    for each in await filters.all():
        await each.click()
        await expect(each).to_have_attribute("aria-pressed", "false")
    await expect(messages(page)).to_have_text(["a session of warning"])
    await page.get_by_role("button", name="warning").click()
    await expect(panel(page, "Sessions").locator("li")).to_have_text("None of these sessions is chosen.")


async def test_a_paused_log_holds_still_and_says_how_many_came(page: Page, world: World) -> None:
    await tell(world, "one")
    await go(page, ROUTE)
    await expect(messages(page)).to_have_text(["one"])
    pause = panel(page, "Sessions").get_by_role("button", name="Pause")
    await pause.click()
    await expect(pause).to_have_attribute("aria-pressed", "true")
    await tell(world, "two")
    await tell(world, "three")
    await expect(panel(page, "Sessions").locator(".fresh")).to_have_text("2 new")
    await expect(messages(page)).to_have_text(["one"])
    await pause.click()
    await expect(messages(page)).to_have_text(["three", "two", "one"])
    await expect(panel(page, "Sessions").locator(".fresh")).to_be_empty()


async def test_markup_in_messages_and_node_ids_is_shown_as_text(page: Page, world: World) -> None:
    await tell(world, EVIL, node=EVIL)
    await remember(world, nodes={EVIL: node(), "b": node()})
    await go(page, ROUTE)
    await expect(messages(page)).to_have_text(EVIL)
    await expect(panel(page, "Sessions").locator(".who")).to_contain_text(EVIL)
    await page.get_by_role("button", name=EVIL).click()
    await expect(page.get_by_role("heading", name="Memory")).to_contain_text(EVIL)
    assert await page.locator("pulse-memory img").count() == 0
    assert await page.title() != "owned"


async def test_a_node_is_chosen_by_its_button_and_left_again(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await two_nodes(world)
    await expect(page.get_by_role("row", name="all 2 nodes")).to_contain_text("17")
    await page.get_by_role("button", name="ark-2").click()
    await expect(value_of(page, "Quarantine")).to_have_text("14runs")
    await expect(constellation(page)).to_have_accessible_name(re.compile("1 down, .*the newest \u22120.50$"))
    await expect(page).to_have_url(re.compile(r"#/memory\?node=ark-2$"))
    await page.get_by_role("button", name="Back to all nodes").click()
    await expect(value_of(page, "Quarantine")).to_have_text("17runs")
    await expect(page).to_have_url(re.compile("#/memory$"))


async def test_a_link_opens_a_node(page: Page, world: World) -> None:
    await go(page, f"{ROUTE}?node=ark-2")
    await tell(world, "elsewhere", node="ark-1")
    await tell(world, "here", node="ark-2")
    await two_nodes(world)
    await expect(value_of(page, "Quarantine")).to_have_text("14runs")
    await expect(value_of(page, "Ingestion")).to_have_text(f"{UNKNOWN}unknown")
    await expect(page.get_by_role("button", name="ark-2")).to_have_attribute("aria-pressed", "true")
    await expect(messages(page)).to_have_text(["here"])


async def test_a_node_that_is_not_told_is_unknown(page: Page, world: World) -> None:
    await go(page, f"{ROUTE}?node=constructor")
    await two_nodes(world)
    await expect(page.get_by_role("heading", name="Memory")).to_contain_text("node constructor is not among")
    await expect(value_of(page, "Quarantine")).to_have_text(f"{UNKNOWN}unknown")


async def test_of_more_nodes_than_are_told_the_number_is_said(page: Page, world: World) -> None:
    await go(page, ROUTE)
    await remember(world, nodes={f"node-{n}": node() for n in range(32)}, nodes_total=50)
    await expect(panel(page, "Nodes")).to_contain_text("32 of 50 shown")
    await expect(panel(page, "Nodes").get_by_role("row")).to_have_count(34)
