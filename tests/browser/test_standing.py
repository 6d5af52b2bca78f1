"""What stands above every view: where each half comes from, how old its newest data is, and why."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import MARKS
from tests.browser.scenes import remember, simulate
from tests.gateway.support import World

pytestmark = MARKS


def badge(page: Page, half: str) -> Locator:
    return page.locator("pulse-standing .badge", has_text=half)


@pytest.mark.parametrize("half", ["Federation", "Memory"])
async def test_what_is_not_known_yet_has_no_age(page: Page, half: str) -> None:
    await expect(badge(page, half).locator(".age")).to_have_text("age unknown")


async def test_each_half_is_marked_by_its_own_word_and_the_window_by_both(page: Page, world: World) -> None:
    await simulate(world)
    await remember(world)
    await expect(badge(page, "Federation").locator(".origin")).to_have_text("simulated")
    await expect(badge(page, "Memory").locator(".origin")).to_have_text("live")
    await expect(page.locator("#sentence")).to_have_text(re.compile("^Federation is simulated.*sim-"))
    await expect(page).to_have_title("simulated / live \u2013 ARK Pulse")


async def test_a_page_on_which_all_is_live_says_only_that(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.summary()
    await remember(world)
    await expect(page.locator("#sentence")).to_have_text("Everything is live.")


async def test_a_stale_half_says_whose_sources_are_silent(page: Page, world: World) -> None:
    await world.heartbeat("reasoning")
    await world.memory()
    await expect(badge(page, "Memory").locator(".origin")).to_have_text("stale")
    await expect(page.locator("#sentence")).to_contain_text("Memory is stale: the sources of code are silent")


async def test_the_age_of_the_newest_data_is_always_there(page: Page, world: World) -> None:
    await world.summary()
    await expect(badge(page, "Federation").locator(".age")).to_have_text(re.compile(r"^\d+ s old$"))
