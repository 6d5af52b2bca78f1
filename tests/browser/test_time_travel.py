"""The page shown the past: how it is chosen, told apart from the present, linked to, and left again."""

import re
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect
from redis.asyncio import Redis

from processors.gateway.past import MAX_PLAYERS
from tests.browser.chromium import MARKS, Look, go
from tests.gateway.support import Gateway, World, eventually

pytestmark = MARKS

MINUTE_MS = 60_000


class Earlier(World):
    """Writes the bus as it was some time ago; the oldest first."""

    ago_ms = 0

    async def now(self) -> int:
        return await super().now() - self.ago_ms

    async def whole(self, health: float, ago_ms: int) -> None:
        self.ago_ms = ago_ms
        await self.summary(network_health=health, total_peers=4)
        await self.memory()


@pytest_asyncio.fixture(loop_scope="session")
async def world(redis_client: Redis, gateway: Gateway) -> Earlier:
    """Ten minutes in which the network recovered."""
    world = Earlier(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    for health, minutes in ((10.0, 10), (50.0, 5), (90.0, 0)):
        await world.whole(health, minutes * MINUTE_MS)
    await eventually(lambda: gateway.mesh.summary and gateway.mesh.summary.network_health == 90.0)
    return world


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab: Page, gateway: Gateway, world: Earlier) -> Page:
    """A page that knows how far back it can go."""
    await tab.goto(gateway.url)
    await expect(slider(tab)).to_be_enabled()
    await shows(tab, "90")
    return tab


def slider(page: Page) -> Locator:
    return page.get_by_role("slider", name="Moment that is shown")


async def shows(page: Page, health: str) -> None:
    value = page.locator(".tile", has_text="Network health").locator(".value b")
    await expect(value).to_have_text(re.compile(rf"^{health}\b"))


async def says(page: Page, word: str) -> None:
    await expect(page.locator("pulse-timeline .word")).to_have_text(word)


async def link(page: Page, gateway: Gateway, world: World, ago_ms: int, speed: int = 0) -> None:
    """Open the moment that was `ago_ms` before the present."""
    world.ago_ms = 0  # type: ignore[attr-defined]
    await page.goto(f"{gateway.url}/#/federation?at={await world.now() - ago_ms}&speed={speed}")


async def test_the_slider_reaches_from_the_oldest_moment_to_the_present(page: Page) -> None:
    await expect(slider(page)).to_have_attribute("min", re.compile("^-59[0-9]$|^-58[0-9]$"))
    await expect(slider(page)).to_have_value("0")
    await expect(slider(page)).to_have_attribute("aria-valuetext", "the present")
    assert len(await page.locator(".tick", has_text=re.compile(r"^\d\d:\d\d$")).all()) >= 3
    await expect(page.locator(".scale path")).to_have_attribute("d", re.compile("^M.*V.*V"))


async def test_what_the_oldest_moment_was_is_shown_as_the_past_of_the_whole_page(page: Page) -> None:
    await slider(page).press("Home")
    await shows(page, "10")
    await says(page, "Past")
    await expect(page.locator("html")).to_have_attribute("data-past", "")
    await expect(page.locator("pulse-timeline .ago")).to_have_text(re.compile(r"^(9|10) min \d+ s ago$"))
    assert await page.evaluate("getComputedStyle(document.body, '::after').borderTopStyle") == "double"


async def test_one_button_returns_to_the_present_and_leaves_no_trace_in_the_address(page: Page) -> None:
    await slider(page).press("Home")
    await says(page, "Past")
    assert "at=" in page.url
    await page.get_by_role("button", name="Back to live").click()
    await says(page, "Present")
    await shows(page, "90")
    assert page.url.endswith("#/federation")
    await expect(page.locator("html")).not_to_have_attribute("data-past", "")
    await expect(slider(page)).to_be_focused()


async def test_two_keys_return_to_the_present(page: Page) -> None:
    for key in ("Escape", "End"):
        await slider(page).press("Home")
        await says(page, "Past")
        await slider(page).press(key)
        await says(page, "Present")


async def test_keys_go_by_seconds_and_minutes_and_say_where(page: Page) -> None:
    for key, words in (("PageDown", "1 min [01] s"), ("ArrowRight", "5[012] s")):
        await slider(page).press(key)
        said = re.compile(rf"^\d\d:\d\d:\d\d, {words} ago$")
        await expect(slider(page)).to_have_attribute("aria-valuetext", said)
        await says(page, "Past")


async def test_a_handle_that_is_dragged_names_the_moment_and_goes_there_where_it_rests(page: Page) -> None:
    box = await slider(page).bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    await page.mouse.move(box["x"] + box["width"] - 8, middle)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    await expect(page.locator("pulse-timeline .ago")).to_have_text(re.compile(r"^(6|7) min"))
    await shows(page, "10")  # and it is held still
    await page.mouse.up()
    await says(page, "Past")


async def test_a_link_opens_the_same_moment(tab: Page, gateway: Gateway, world: Earlier) -> None:
    await link(tab, gateway, world, 4 * MINUTE_MS)
    await shows(tab, "50")
    await says(tab, "Past")
    await expect(tab.get_by_role("button", name="Play on")).to_be_visible()


async def test_a_link_out_of_reach_says_so(tab: Page, gateway: Gateway, world: Earlier) -> None:
    await link(tab, gateway, world, 60 * MINUTE_MS)
    await says(tab, "Out of reach")
    await tab.get_by_role("button", name="Back to live").click()
    await shows(tab, "90")


async def test_a_past_that_has_no_room_left_leaves_the_present_and_says_why(page: Page, gateway: Gateway) -> None:
    gateway.services.players.count = MAX_PLAYERS
    await slider(page).press("Home")
    words = "The past cannot be shown now: at most 8 clients are shown the past at once."
    await expect(page.locator("#sentence")).to_contain_text(words)
    await expect(page.locator("html")).to_have_attribute("data-standing", "connected")
    await says(page, "Present")
    assert "at=" not in page.url


async def test_another_view_shows_the_same_moment(page: Page) -> None:
    await slider(page).press("Home")
    await says(page, "Past")
    await go(page, "#/memory")
    await expect(page).to_have_url(re.compile(r"#/memory\?at=\d+&speed=1$"))
    await says(page, "Past")


async def test_the_past_is_paused_and_played_faster(page: Page) -> None:
    await slider(page).press("Home")
    await says(page, "Past")
    await page.get_by_role("button", name="Pause the whole page").click()
    await expect(page).to_have_url(re.compile("speed=0$"))
    await page.get_by_role("button", name="60\u00d7").click()
    await expect(page.get_by_role("button", name="60\u00d7")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_role("button", name="Pause the whole page")).to_be_visible()


async def test_a_past_that_has_come_up_with_the_present_is_live_again(
    tab: Page, gateway: Gateway, world: Earlier
) -> None:
    await link(tab, gateway, world, 20_000, speed=60)
    await says(tab, "Past")
    await says(tab, "Present")
    await shows(tab, "90")
    await world.whole(95.0, 0)
    await shows(tab, "95")
    assert "at=" not in tab.url


async def test_the_present_can_be_halted(page: Page) -> None:
    await page.get_by_role("button", name="Pause the whole page").click()
    await says(page, "Past")
    await expect(page.get_by_role("button", name="Play on")).to_be_visible()


@pytest.mark.parametrize("look", [Look(360, 700), Look(1920)], ids=lambda look: look.width)
async def test_nothing_moves_between_past_and_present(page: Page) -> None:
    async def where() -> list[Any]:
        parts = ("#content", ".scale", "pulse-timeline .play", "pulse-timeline .speed >> nth=0")
        boxes = [await page.locator(each).bounding_box() for each in parts]
        return [box and (box["x"], box["y"], box["width"]) for box in boxes]

    before = await where()
    await slider(page).press("Home")
    await says(page, "Past")
    assert await where() == before
