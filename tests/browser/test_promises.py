"""What the page promises whatever it shows: it can be used by everybody, stays where it is, and never lies."""

import re
from typing import Any, Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from processors.gateway.assets import ASSETS
from schemas.metrics import FederationSummary
from tests.browser.chromium import MARKS, Look, go
from tests.browser.scenes import EVIL, ROUTES, furnish
from tests.gateway.support import Gateway, World, eventually, log, row, sync

pytestmark = MARKS

MOST_BYTES: Final = 150_000

# As browsers sum it up; 0.1 is what is called good.
MOST_MOVED: Final = 0.005

# All that moved without being asked to, but for what is drawn first: `shifts()` is how far.
WATCH_SHIFTS: Final = """
let moved = 0;
const seen = [];
window.shifts = () => [moved, seen];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    moved += entry.value;
    for (const { node, previousRect: { x, y }, currentRect } of entry.sources) {
      const what = node?.outerHTML?.slice(0, 80) ?? String(node?.textContent);
      seen.push(`${what} from ${x}, ${y} to ${currentRect.x}, ${currentRect.y}`);
    }
  }
}).observe({ type: "layout-shift", buffered: true });
"""

# The words for which the page has ever said how it stands, and the numbers it has ever shown first.
WATCH_STANDING: Final = """
window.stood = [];
window.shown = [];
const note = (list, value) => list.at(-1) === value || list.push(value);
const look = () => {
  note(stood, document.documentElement.dataset.standing);
  note(shown, document.querySelector(".tile .value")?.textContent);
};
look();
new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""

# What can be reached with the keyboard and is seen.
REACHABLE: Final = """
[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
  .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled
    && !each.matches("[tabindex='-1'], .skip"))
"""


@pytest_asyncio.fixture(loop_scope="session")
async def furnished(gateway: Gateway, world: World) -> World:
    await furnish(world)
    await eventually(lambda: gateway.mesh.summary and gateway.state.memory.summary and gateway.state.syncs.top)
    return world


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab: Page, gateway: Gateway, furnished: World) -> Page:
    """A page that shows something of everything."""
    await tab.goto(gateway.url)
    await expect(tab.locator("pulse-federation .tile").first).to_contain_text("66.7")
    await expect(tab.locator("pulse-peer-table")).to_contain_text("host-0")
    return tab


@pytest.mark.parametrize("route", ROUTES)
async def test_a_view_can_be_used_by_everybody(page: Page, route: str) -> None:
    await go(page, route)
    # All but the colours is the same in the other theme.
    for width, theme, options in (
        (1280, "dark", {}),
        (1280, "light", {"runOnly": ["color-contrast"]}),
        (375, "dark", {}),
    ):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        found = await Axe().run(page, options={"resultTypes": ["violations"], **options})
        assert found.violations_count == 0, found.generate_report()


async def test_the_page_weighs_little() -> None:
    weights = {name: len(asset.packed) for name, asset in ASSETS.items() if not name.endswith("docs.css")}
    assert sum(weights.values()) < MOST_BYTES, weights


async def test_every_module_is_asked_for_at_once_and_none_in_vain() -> None:
    texts = {name: asset.body.decode() for name, asset in ASSETS.items()}
    needed, waiting = set(), ["app.js"]
    while waiting:
        needed.add(name := waiting.pop())
        waiting += [each for each in re.findall(r'"/static/(\S+\.js)"', texts[name]) if each not in needed]
    told = re.findall(r'<link rel="modulepreload" href="/static/(\S+)">', texts["index.html"])
    assert sorted(told) == sorted(needed - {"app.js"})
    assert needed | {"core/early.js"} == {name for name in texts if name.endswith(".js")}


@pytest.mark.parametrize("look", [Look(375, 800), Look(1280, 900)], ids=lambda look: look.width)
async def test_nothing_moves_while_the_page_fills_and_changes(
    tab: Page, gateway: Gateway, world: World, look: Look
) -> None:
    for route in ROUTES:
        await tab.goto(f"{gateway.url}/{route}")
        await tab.reload()
        await tab.evaluate(WATCH_SHIFTS)
        await expect(tab.locator("html")).to_have_attribute("data-standing", "connected")
        await furnish(world)
        await expect(tab.locator(".view:not([hidden])")).to_contain_text(re.compile("live", re.IGNORECASE))
        await tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        moved, seen = await tab.evaluate("shifts()")
        assert moved < MOST_MOVED, f"{route}: {chr(10).join(seen)}"


async def test_a_lost_connection_is_seen_at_once_and_heals_without_a_jump(
    page: Page, gateway: Gateway, furnished: World
) -> None:
    await page.evaluate(WATCH_SHIFTS + WATCH_STANDING)
    await page.evaluate("Math.random = () => 1")  # it waits as long as it may
    gateway.cut("/ws")
    await expect(page.locator("#sentence")).to_have_text(re.compile(r"^Disconnected since \d\d:\d\d:\d\d"))
    await expect(page.locator("main")).not_to_have_css("opacity", "1")
    await expect(page.locator("html")).to_have_attribute("data-standing", "connected")
    await expect(page.locator("main")).to_have_css("opacity", "1")
    await furnished.summary(network_health=12.5, total_peers=12)
    await expect(page.locator("pulse-federation .tile").first).to_contain_text("12.5")
    assert await page.evaluate("stood") == ["connected", "lost", "connected"]
    assert await page.evaluate("shown") == ["66.7%", "12.5%"]
    moved, seen = await page.evaluate("shifts()")
    assert moved < MOST_MOVED, seen


@pytest.mark.parametrize("peer", ["ark-node-1", EVIL])
async def test_a_link_opens_the_view_of_any_peer(tab: Page, gateway: Gateway, world: World, peer: str) -> None:
    await world.roster({peer: row(peer, hostname="the one")})
    await world.summary(total_peers=1)
    await tab.goto(gateway.url)
    await tab.evaluate("id => { location.hash = `#/peers/${encodeURIComponent(id)}`; }", peer)
    await tab.reload()
    await expect(tab.locator("pulse-peer")).to_contain_text(peer)
    await expect(tab.locator("pulse-peer")).to_contain_text("the one")
    assert await tab.title() != "owned"


async def test_a_link_to_nowhere_opens_the_first_view(tab: Page, gateway: Gateway) -> None:
    await tab.goto(f"{gateway.url}/#/constructor")
    await expect(tab.locator("pulse-federation")).to_be_visible()
    await expect(tab.get_by_role("link", name="Federation", exact=True)).to_have_attribute("aria-current", "page")


async def test_nothing_is_wider_than_the_window(tab: Page, gateway: Gateway, world: World) -> None:
    await furnish(world)
    rows = {f"p{n}": row(f"p{n}", hostname="h" * 200, tier="verified", latency_ms=1e6) for n in range(30)}
    await world.roster(rows | {"i" * 256: row("i" * 256)})
    huge: dict[str, Any] = {name: 1e6 for name in FederationSummary.__struct_fields__ if name.startswith("latency_p")}
    await world.summary(sync_bytes_rate=2.0**60, avg_latency=123_456.7, total_peers=2**31, **huge)
    await world.sync(sync("s" * 256, target="t" * 256, action="a" * 64, bytes=2**53))
    await world.log(log("x" * 512, node="n" * 256))
    await world.memory(ingestion_rate=1e6, quarantine_count=2**53, sessions_total=2**53, confidence_deltas=(-1e6, 2e6))
    for route in ROUTES:
        await tab.goto(f"{gateway.url}/{route}")
        await expect(tab.locator("html")).to_have_attribute("data-standing", "connected")
        await expect(tab.locator(".view:not([hidden])")).to_contain_text(re.compile("live", re.IGNORECASE))
        for width in (360, 768, 1920, 3840):
            await tab.set_viewport_size({"width": width, "height": 900})
            assert await tab.evaluate("document.documentElement.scrollWidth") <= width, route


@pytest.mark.parametrize("route", ROUTES)
async def test_the_keyboard_reaches_everything_and_is_seen_where_it_is(page: Page, route: str) -> None:
    await go(page, route)
    # By name: rows that are scrolled out of view and back are other elements.
    parts = "each.tagName, each.getAttribute('href'), each.ariaLabel ?? each.textContent"
    name = f"window.named = (each) => [{parts}].join()"
    await page.evaluate(f"window.walked = new Set(); {name}; document.activeElement.blur(); scrollTo(0, 0)")
    unseen: list[str] = []
    for _ in range(250):
        await page.keyboard.press("Tab")
        step: dict[str, Any] = await page.evaluate("""async () => {
          // What scrolls into view is drawn in the next picture.
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          const { activeElement: at } = document;
          // A link may have its whole row tell it.
          const told = [at, at.closest(".row")].filter((each) => each !== null).map((each) => getComputedStyle(each));
          const isSeen = told.some(({ outlineStyle, boxShadow }) => outlineStyle !== "none" || boxShadow !== "none");
          const isNew = at !== document.body && !walked.has(named(at));
          walked.add(named(at));
          return { isNew, isSeen, what: at.outerHTML.slice(0, 90) };
        }""")
        if not step["isNew"]:
            break
        if not step["isSeen"]:
            unseen.append(step["what"])
    assert unseen == []
    missed = f"{REACHABLE}.filter((each) => !walked.has(named(each))).map((each) => each.outerHTML.slice(0, 90))"
    assert await page.evaluate(missed) == []


@pytest.mark.parametrize("look", [Look(still=True)], ids=["still"])
@pytest.mark.parametrize("route", ROUTES)
async def test_nothing_moves_by_itself_for_those_who_asked_for_that(page: Page, route: str, furnished: World) -> None:
    await go(page, route)
    await furnished.sync(sync("p1", target="p2", ts=await furnished.now()))
    steps = await page.evaluate("""() => new Promise((done) => {
      // Of twenty pictures, those in which something is drawn: a second has one or two.
      const ask = window.requestAnimationFrame.bind(window);
      let [own, all] = [0, 0];
      window.requestAnimationFrame = (step) => { own += 1; return ask(step); };
      const count = () => (++all < 20 ? ask(count) : done(own));
      ask(count);
    })""")
    assert steps <= 8
    assert await page.evaluate("document.getAnimations().filter((each) => each.playState === 'running').length") == 0
