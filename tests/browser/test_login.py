"""The page's login in Chromium, served by a gateway that asks for tokens."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from processors.gateway.gate import Gate
from processors.runtime.bus import Bus
from tests.browser.chromium import ARGUMENTS, CHROMIUM, MARKS
from tests.gateway.support import SETTINGS, eventually, running_gateway
from tests.gateway.test_gate import line, replace

pytestmark = MARKS


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with the token `anna`."""
    path = tmp_path / "tokens"
    path.write_text(line("anna"))
    return path


@pytest.fixture
async def page(bus: Bus, tokens: Path) -> AsyncIterator[Page]:
    """An open page. Fails the test if anything went wrong in it but what it was refused."""
    gate = Gate(dataclasses.replace(SETTINGS, ark_tokens_file=tokens))
    await gate.open()
    complaints: list[str] = []
    async with running_gateway(bus, gate=gate) as gateway, async_playwright() as playwright:
        await eventually(lambda: gateway.state.bus_answers)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = await browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(gateway.url)
        yield page
        await browser.close()
    assert [each for each in complaints if "WebSocket connection to" not in each and "401" not in each] == []


async def test_a_page_that_may_not_see_anything_asks_for_a_token(page: Page) -> None:
    await expect(page.get_by_role("dialog", name="Log in")).to_be_visible()
    await expect(page.get_by_label("Token")).to_be_focused()


async def test_a_token_that_is_typed_opens_the_page(page: Page) -> None:
    await page.get_by_label("Token").fill("anna")
    await page.keyboard.press("Enter")
    await expect(page.locator("#federation-word")).to_have_text("STALE")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    assert await page.evaluate("document.cookie") == ""


async def test_a_wrong_token_is_said_aloud_and_may_be_typed_again(page: Page) -> None:
    await page.get_by_label("Token").fill("eve")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_have_text(
        "This token is not valid. It may have expired, or been taken back."
    )
    await expect(page.get_by_label("Token")).to_be_focused()


async def test_a_page_whose_token_is_taken_back_asks_again(page: Page, tokens: Path) -> None:
    await page.get_by_label("Token").fill("anna")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    replace(tokens, "")
    await expect(page.get_by_role("dialog", name="Log in")).to_be_visible()
