"""The page's login in Chromium, served by a gateway that asks for tokens."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from processors.gateway.gate import Gate
from processors.runtime.bus import Bus
from tests.browser.chromium import MARKS
from tests.gateway.support import SETTINGS, Gateway, eventually, running_gateway
from tests.gateway.test_gate import line, replace

pytestmark = MARKS


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file with the token `anna`."""
    path = tmp_path / "tokens"
    path.write_text(line("anna"))
    return path


@pytest.fixture
def forgiven() -> tuple[str, ...]:
    """What it was refused."""
    return ("WebSocket connection to", "401")


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(bus: Bus, tokens: Path) -> AsyncIterator[Gateway]:
    gate = Gate(dataclasses.replace(SETTINGS, ark_tokens_file=tokens))
    await gate.open()
    async with running_gateway(bus, gate=gate) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running


async def test_a_page_that_may_not_see_anything_asks_for_a_token(page: Page) -> None:
    await expect(page.get_by_role("dialog", name="Log in")).to_be_visible()
    await expect(page.get_by_label("Token")).to_be_focused()


async def test_a_token_that_is_typed_opens_the_page(page: Page) -> None:
    await page.get_by_label("Token").fill("anna")
    await page.keyboard.press("Enter")
    await expect(page.locator("#sentence")).to_contain_text("Federation: nothing is known yet.")
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
