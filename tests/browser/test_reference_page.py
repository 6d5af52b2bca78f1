"""`/docs` in Chromium, under the gateway's policy."""

import pytest
from playwright.async_api import async_playwright

from processors.runtime.bus import Bus
from tests.browser.chromium import ARGUMENTS, CHROMIUM, MARKS
from tests.gateway.support import running_gateway

pytestmark = MARKS


@pytest.mark.parametrize("width", [360, 1280])
async def test_the_reference_is_styled_and_never_wider_than_the_window(bus: Bus, width: int) -> None:
    complaints: list[str] = []
    async with running_gateway(bus) as gateway, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: complaints.append(message.text))
        await page.goto(f"{gateway.url}/docs")
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate("getComputedStyle(document.body).maxWidth") == "900px"
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        await browser.close()
    assert complaints == []
