"""The view of the sources and the pipeline: who feeds, works, keeps and reads the streams; what operators may do."""

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import Heartbeat
from schemas.metrics import DeadLetter
from schemas.streams import partition_of
from tests.browser.chromium import MARKS, go
from tests.browser.scenes import EVIL, report
from tests.gateway.support import Gateway, World, source

pytestmark = MARKS

# What the browser itself says of an answer that is a refusal.
REFUSED = pytest.mark.parametrize("forgiven", [("Failed to load resource",)], ids=["refused"])
NAMED = re.compile("node-1/peers")


@pytest_asyncio.fixture(loop_scope="session")
async def page(page: Page) -> AsyncIterator[Page]:
    """With the view open."""
    await go(page, "#/sources")
    yield page


async def write(client: Redis, excerpt: str, **values: Any) -> str:
    """Write a letter; returns its id."""
    body = codec.encode(DeadLetter(ts=1, rejected_by="aggregator", reason="why", excerpt=excerpt, whole=True, **values))
    name: Any = await client.xadd(streams.DEAD, codec.entry_fields("dead", 1, body))  # type: ignore[arg-type]
    return str(name.decode())


def sources(page: Page) -> Locator:
    return page.get_by_role("table", name="Sources").locator("tbody").get_by_role("row")


def letters(page: Page) -> Locator:
    return page.get_by_role("region", name="Dead letters").get_by_role("listitem")


def partition(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Partitions").get_by_role("listitem").filter(has_text=f"partition {name}")


async def test_each_source_is_a_row_and_a_change_of_it_makes_no_other(page: Page, world: World) -> None:
    await report(world, "sync_events", group="sync", published=1_234, rejected=5, as_of=await world.now())
    row = sources(page)
    cells: list[str | re.Pattern[str]] = [
        "sync_eventssync",
        "live",
        re.compile(r"^\d\d:\d\d:\d\d$"),
        "",
        re.compile(r"^\d+ s ago$"),
        "1,234",
        "5",
    ]
    await expect(row.get_by_role("cell").or_(row.get_by_role("rowheader"))).to_have_text([*cells, "Silence"])
    await report(world, "sync_events", group="sync", state="stale", reason="no answer", detail="48 items waited")
    await expect(row.locator(".state")).to_have_text("stale")
    await expect(row.locator(".why")).to_have_text("no answer; 48 items waited")
    await expect(page.get_by_role("region", name="Sources")).to_contain_text("1 stale")


async def test_trouble_comes_first_then_the_order_of_the_flow(page: Page, world: World) -> None:
    for group in ("code", "peers", "sync"):
        await report(world, group, group=group)
    await report(world, "reasoning", group="reasoning", state="stale", reason="locked")
    await expect(sources(page).get_by_role("rowheader").locator("b")).to_have_text(
        ["reasoning", "peers", "sync", "code"]
    )


async def test_what_never_answered_says_so_and_nodes_are_told_apart(page: Page, world: World) -> None:
    await report(world, node="a", state="down", as_of=None)
    await report(world, node="b", state="simulated")
    await expect(sources(page)).to_have_count(2)
    await expect(sources(page).first).to_contain_text("\u2014 never")
    await expect(sources(page).locator("th small")).to_have_text(["peers of a", "peers of b"])


async def test_markup_in_reasons_and_excerpts_is_shown_as_text(page: Page, world: World, redis_client: Redis) -> None:
    await report(world, EVIL, state="down", reason=EVIL)
    await write(redis_client, EVIL)
    await expect(sources(page)).to_contain_text(EVIL)
    await expect(letters(page)).to_contain_text(EVIL)
    assert await page.locator("main img").count() == 0
    assert await page.title() != "owned"


async def test_a_source_is_silenced_and_the_silence_ended_by_keyboard(page: Page, world: World) -> None:
    await report(world, state="stale", reason="gone")
    button = sources(page).get_by_role("button")
    await expect(button).to_have_accessible_name("Silence peers of node-1")
    await button.press("Enter")
    dialog = page.get_by_role("dialog", name="Silence peers of node-1")
    await expect(dialog.get_by_label("Minutes")).to_be_focused()
    await page.keyboard.type("30")
    await page.keyboard.press("Tab")
    await page.keyboard.type(f"disks {EVIL}")
    await page.keyboard.press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(sources(page)).to_contain_text(f": disks {EVIL}")
    await expect(page.get_by_role("status").filter(has_text=NAMED)).to_contain_text("is silenced until")
    await expect(button).to_be_focused()
    await expect(button).to_have_accessible_name("End the silence of peers of node-1")
    await button.press("Enter")
    await expect(page.get_by_role("status").filter(has_text=NAMED)).to_have_text(
        "node-1/peers is not silenced any more."
    )
    await expect(sources(page)).not_to_contain_text("disks")


@REFUSED
async def test_why_a_source_is_not_silenced_is_said_in_the_dialog(page: Page, world: World) -> None:
    await report(world)
    await page.route("**/api/v1/silences", lambda route: route.fulfill(status=409, json={"error": "at most 1 source"}))
    await sources(page).get_by_role("button").click()
    await page.get_by_role("button", name="Silence it").click()
    await expect(page.get_by_role("alert")).to_have_text("It is not silenced: at most 1 source.")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_a_letter_is_replayed_and_gone(page: Page, world: World, redis_client: Redis) -> None:
    letter = await write(
        redis_client, codec.encode(Heartbeat(peer="a", ts=1)).decode(), partition=partition_of("a", 16)
    )
    await letters(page).get_by_role("button", name=f"Replay the letter {letter}").click()
    await expect(page.get_by_role("status").filter(has_text=letter)).to_have_text(f"{letter} was replayed.")
    await expect(letters(page)).to_have_count(0)


@REFUSED
async def test_why_a_letter_stays_is_said(page: Page, world: World, redis_client: Redis) -> None:
    letter = await write(redis_client, "rubbish")
    await letters(page).get_by_role("button").click()
    said = page.get_by_role("status").filter(has_text=letter)
    await expect(said).to_have_text(re.compile(f"^{letter} was not replayed: ."))
    await expect(letters(page)).to_have_count(1)


async def test_viewers_are_offered_nothing_that_operators_may(page: Page, world: World, redis_client: Redis) -> None:
    await report(world)
    await write(redis_client, "x")
    await expect(letters(page).get_by_role("button")).to_be_visible()
    await page.evaluate("document.documentElement.dataset.access = 'viewer'")
    await expect(letters(page).get_by_role("button")).to_be_hidden()
    await expect(sources(page).get_by_role("button")).to_be_hidden()


async def test_partitions_tell_their_owner_and_what_waits_and_which_are_nobodys(page: Page, bus: Bus) -> None:
    lease: Any = {"owner": "host/1/one", "lease_until": bus.clock.now_ms() + 60_000}
    for name in ("1", "2"):
        await bus.client.hset(streams.meta_key(name), mapping=lease)
    for _ in range(101):
        await bus.client.xadd(streams.events_key("2"), {"d": "x"})
    await expect(partition(page, "2")).to_contain_text(re.compile(r"A.*100\+ waiting.*late"))
    await expect(partition(page, "1").first).to_contain_text(re.compile("A.*0 ms0 waiting"))
    await expect(partition(page, "sim")).to_contain_text("nobody")
    owners = page.get_by_role("list", name="Aggregators").get_by_role("listitem")
    await expect(owners).to_have_text(["!owned by nobody15 partitions", "Ahost/1/one2 partitions"])
    await expect(page.get_by_role("region", name="Partitions")).to_contain_text(re.compile(r"17, read at \d\d:"))


async def test_the_bus_and_the_clients_are_told(page: Page, redis_client: Redis) -> None:
    await redis_client.xadd(streams.DEAD, {"d": "x"})
    panel = page.get_by_role("region", name="Bus")
    await expect(panel).to_contain_text(re.compile("Dead letters1Clients of /ws1"))
    await expect(panel).to_contain_text("no limit")


@REFUSED
async def test_what_was_read_is_stale_when_the_connection_is_lost(page: Page, gateway: Gateway) -> None:
    panel = page.get_by_role("region", name="Partitions")
    await expect(panel.locator(".origin")).to_have_text("live")
    await page.route("**/api/v1/pipeline", lambda route: route.fulfill(status=503, json={"error": "no bus"}))
    await expect(panel.locator(".origin")).to_have_text("stale")
    await expect(panel).to_contain_text("no bus")


async def test_of_the_past_it_says_what_is_of_now_only(page: Page, gateway: Gateway, world: World) -> None:
    then = await world.now() - 10_000
    fields: Any = codec.entry_fields("source", then, codec.encode(source()))
    await world.client.xadd(streams.SOURCES, fields, id=f"{then}-1")
    await page.goto(f"{gateway.url}/?then#/sources?at={then + 1_000}&speed=0")
    await expect(page.get_by_role("region", name="Partitions")).to_contain_text("of now only")
    await expect(sources(page).get_by_role("button")).to_be_disabled()


async def test_nothing_is_asked_while_the_view_is_hidden(page: Page) -> None:
    await expect(page.get_by_role("region", name="Partitions")).to_contain_text("read at")
    await go(page, "#/memory")
    reading = "document.querySelector('pulse-pipeline').reading"
    assert await page.evaluate(f"{reading}.hurry(), {reading}.asked") is None


async def test_the_page_tells_what_it_costs(page: Page, world: World) -> None:
    panel = page.get_by_role("region", name="This page")
    await world.roster({})
    await expect(panel).to_contain_text(re.compile(r"Updates a second\d+Peers held0Heap\d+\.\d\sMiB"))


async def test_nothing_is_cut_off_sideways(page: Page, world: World, redis_client: Redis) -> None:
    await report(world, "x" * 64, reason="y" * 200, detail="z" * 90, published=2**53, rejected=2**53, state="simulated")
    await write(redis_client, "w" * 1_024)
    await expect(sources(page)).to_contain_text("y" * 200)
    await expect(letters(page)).to_contain_text("w" * 1_024)
    narrow = page.locator("pulse-pipeline .scroll")
    for width in (360, 1024, 1920):
        await page.set_viewport_size({"width": width, "height": 900})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await narrow.evaluate_all("all => all.filter(each => each.scrollWidth > each.clientWidth).length") == 0
