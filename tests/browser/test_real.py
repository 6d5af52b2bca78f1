"""The page of a system as an operator runs it: real sources, all processes, and a gateway that dies."""

import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import pytest_asyncio
import redis
from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import MARKS, go
from tests.browser.scenes import EVIL
from tests.databases import write_session
from tests.integration.test_live import put_peer, put_sync
from tests.integration.test_memory import databases, put_execution, put_file, put_pattern
from tests.stack import Stack, running_stack

pytestmark = MARKS


class Real(NamedTuple):
    """A running system, and its sources."""

    stack: Stack
    mesh: redis.Redis
    reasoning: sqlite3.Connection
    code: sqlite3.Connection

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.stack.port}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """For all tests of the module: what each writes stays."""
    base = tmp_path_factory.mktemp("real")
    with (
        databases(base) as (reasoning, code),
        running_stack(base) as (stack, source),
        redis.Redis.from_url(source.url) as mesh,
    ):
        for name, tier in (("core-1", "core"), ("peer-1", "trusted"), ("peer-2", "verified")):
            put_peer(mesh, name, trust_tier=tier)
        write_session(reasoning, "first", [0.5, 0.75])
        put_pattern(code, "a", "one", 4)
        put_file(code, "f", "core")
        stack.federation(lambda s: s["source"] == "live" and s.get("total_peers", 0) >= 3)
        stack.memory(lambda s: s["source"] == "live" and s["stages_total"] == 2 and "trust_distribution" in s)
        yield Real(stack, mesh, reasoning, code)


@pytest.fixture
def forgiven() -> tuple[str, ...]:
    """A gateway that was killed answers nothing."""
    return ("WebSocket connection to", "Failed to load resource", "Failed to fetch")


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab: Page, gateway: Real) -> Page:
    await tab.goto(gateway.url)
    return tab


def value(page: Page, title: str) -> Locator:
    tiles = page.locator(".tile:visible").filter(has=page.locator("dt", has_text=re.compile(f"^{title}")))
    return tiles.first.locator(".value")


async def test_a_peer_and_its_syncs_appear_in_the_federation(page: Page, gateway: Real) -> None:
    await expect(page.locator("pulse-peer-table")).to_contain_text("core-1.local")
    put_peer(gateway.mesh, "late", hostname=EVIL)
    put_sync(gateway.mesh, source="late", target="core-1", event_type="identity_sync")
    await expect(page.locator("pulse-peer-table")).to_contain_text(EVIL)
    await expect(page.locator("pulse-sync-feed:visible")).to_contain_text("identity_sync")
    await expect(page.locator("pulse-standing .origin").first).to_have_text("live")
    assert await page.locator("main img").count() == 0


async def test_a_peer_has_a_view_of_its_own_that_follows_it(page: Page, gateway: Real) -> None:
    await go(page, "#/peers/peer-1")
    await expect(page.locator("pulse-peer h2")).to_have_text("peer-1.local")
    put_peer(gateway.mesh, "peer-1", latency="77.5")
    await expect(page.locator("pulse-peer")).to_contain_text("77.5")


async def test_a_session_and_code_appear_in_the_memory(page: Page, gateway: Real) -> None:
    await go(page, "#/memory")
    await expect(value(page, "De-duplication")).to_contain_text("75.0")
    write_session(gateway.reasoning, "second", [0.25, 0.9], query="what is new")
    put_execution(gateway.code, "bad", "timeout")
    await expect(page.locator("pulse-memory")).to_contain_text("planner: confidence 0.90: what is new")
    await expect(value(page, "Quarantine")).to_contain_text("1")


async def test_every_source_is_told_with_its_state_and_the_pipeline_with_its_owners(page: Page, gateway: Real) -> None:
    await go(page, "#/sources")
    table = page.get_by_role("table", name="Sources")
    for source in ("peers", "sync_events", "reasoning", "code_memory"):
        row = table.get_by_role("row").filter(has=page.get_by_text(source, exact=True)).first
        await expect(row).to_contain_text("live")
    await expect(page.locator("pulse-pipeline")).to_contain_text("17 partitions")
    gateway.mesh.lpush("sync_events", "no json")
    await expect(page.locator("pulse-pipeline")).to_contain_text("no json")


async def test_a_killed_gateway_is_told_at_once_and_missed_no_longer_than_it_is_away(page: Page, gateway: Real) -> None:
    await expect(page.locator("html")).to_have_attribute("data-standing", "connected")
    os.kill(gateway.stack.pid_of("gateway"), signal.SIGKILL)
    await expect(page.locator("html")).to_have_attribute("data-standing", "lost")
    put_peer(gateway.mesh, "meanwhile")
    await expect(page.locator("html")).to_have_attribute("data-standing", "connected")
    await expect(page.locator("pulse-peer-table")).to_contain_text("meanwhile.local")
    await expect(page.locator("pulse-standing .origin").first).to_have_text("live")
