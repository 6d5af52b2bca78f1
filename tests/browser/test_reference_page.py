"""`/docs` in Chromium, under the gateway's policy."""

import pytest
from playwright.async_api import Page

from tests.browser.chromium import MARKS, Look
from tests.gateway.support import Gateway

pytestmark = MARKS


@pytest.mark.parametrize("look", [Look(360), Look(1280)], ids=lambda look: look.width)
async def test_the_reference_is_styled_and_never_wider_than_the_window(tab: Page, gateway: Gateway, look: Look) -> None:
    await tab.goto(f"{gateway.url}/docs")
    assert await tab.evaluate("document.documentElement.scrollWidth") == look.width
    assert await tab.evaluate("getComputedStyle(document.body).maxWidth") == "900px"
    await tab.keyboard.press("Tab")
    assert await tab.evaluate("document.activeElement.textContent") == "Skip to the content"
