"""The JavaScript client in Chromium, under the page's policy, against a gateway that does what a test asks."""

import copy
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import ConsoleMessage, Page

from processors.gateway.assets import ASSETS
from schemas.frames import CLOSE_CODES
from tests.browser.chromium import MARKS
from tests.client.scripted import FEED, STATES, ScriptedGateway, eventually, eventually_async, scripted_gateway
from tests.client.test_held import by_the_book
from tests.docs.blocks import ROOT, blocks_of

pytestmark = MARKS

PAGE = '<!doctype html><script type="module" src="/boot.js"></script>'
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'"

# Follows channels as the options say, and keeps all that it is told in `told`, and what it believes in `held`.
BOOT = """
import { Pulse, merge } from "/static/client.js";
const draw = { value: 0 };
Math.random = () => draw.value;
const held = { states: {}, records: [] };
const told = [];
const take = (kind, update) => {
  told.push({ kind, ...update });
  if (kind === "state") held.states[update.channel] = update.value;
  if (kind === "records") held.records = update.snapshot ? update.records : held.records.concat(update.records);
};
const kinds = ["state", "records", "reset", "outage", "refused"];
const handlers = Object.fromEntries(kinds.map((kind) => [kind, (update) => take(kind, update)]));
const connections = [];
handlers.connected = () => connections.push(told.length);
Object.assign(window, {
  held, told, draw, connections,
  follow: (channels, wish, options) => {
    window.pulse = new Pulse(location.origin, options ?? {});
    window.pulse.subscribe(channels, wish ?? {}, handlers);
  },
  mergeAll: (text) => JSON.stringify(JSON.parse(text).map(([target, patch]) => merge(target, patch))),
});
"""


def _file(text: str, kind: str) -> Callable[[web.Request], Any]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind, headers={"Content-Security-Policy": POLICY})

    return answer


@pytest_asyncio.fixture(loop_scope="session")
async def gateway() -> AsyncIterator[ScriptedGateway]:
    routes = (
        web.get("/", _file(PAGE, "text/html")),
        web.get("/boot.js", _file(BOOT, "text/javascript")),
        web.get("/static/client.js", _file(ASSETS["client.js"].body.decode(), "text/javascript")),
    )
    async with scripted_gateway(*routes) as running:
        yield running


@pytest.fixture
def forgiven() -> tuple[str, ...]:
    """The browser reports what the gateway does to connections, and that it has no icon."""
    return ("WebSocket connection to", "Failed to load resource")


@pytest_asyncio.fixture(loop_scope="session")
async def page(tab: Page, gateway: ScriptedGateway) -> Page:
    """An open page that follows nothing yet."""
    await tab.goto(gateway.url)
    return tab


async def told(page: Page, condition: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
    """All that was told, as soon as it meets `condition`."""
    found: list[dict[str, Any]] = []

    async def is_met() -> object:
        found[:] = await page.evaluate("told")
        return condition(found)

    await eventually_async(is_met)
    return found


def kinds(updates: list[dict[str, Any]]) -> list[str]:
    return [update["kind"] for update in updates]


@pytest.mark.parametrize("forgiven", [("live", "a ->", "Failed to load resource")])
async def test_the_example_of_the_documents_logs_what_the_gateway_tells(tab: Page, gateway: ScriptedGateway) -> None:
    (example,) = [block.text for block in blocks_of(ROOT / "docs" / "clients.md") if block.language == "js"]
    body = example.replace("http://127.0.0.1:8101", gateway.url)
    await tab.route("**/boot.js", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    lines: list[str] = []

    def note(said: ConsoleMessage) -> None:
        lines.append(said.text)

    tab.on("console", note)
    await tab.goto(gateway.url)
    await gateway.set("federation", {"online_peers": 3})
    await gateway.add({"from": "a", "to": "b"})
    await eventually(lambda: {"live false 3", "a -> b"} <= {*lines})
    tab.remove_listener("console", note)


async def test_merges_are_as_the_book_has_them(page: Page) -> None:
    chance = random.Random(6)

    def value(depth: int) -> Any:
        if depth == 0 or chance.random() < 0.3:
            return chance.choice([None, 1, "x", True, [], [{"a": None}]])
        names = chance.sample(["a", "b", "__proto__", "constructor", "toString"], chance.randrange(4))
        return {name: value(depth - 1) for name in names}

    pairs = [(value(3), value(3)) for _ in range(1_000)]
    merged = json.loads(await page.evaluate("mergeAll", json.dumps(pairs)))
    assert merged == [by_the_book(target, patch) for target, patch in copy.deepcopy(pairs)]
    assert await page.evaluate("Object.keys(Object.prototype).length === 0 && ({}).a === undefined")


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_is_lost_and_when_the_end_is_that_of_the_gateway(
    page: Page, gateway: ScriptedGateway, seed: int
) -> None:
    chance = random.Random(seed)
    gateway.piece = 3
    await page.evaluate("follow(['federation', 'peers', 'sync'], { rate: 0 })")
    await told(page, lambda updates: len(updates) == 3)
    for _ in range(80):
        await gateway.let_happen(chance)
        if chance.random() < 0.5:
            await page.evaluate("1")  # the page may do something in between
    for channel in STATES:
        await gateway.set(channel, {"end": {"__proto__": 1}})
    await gateway.add({"end": True})

    async def is_right() -> bool:
        held = json.loads(await page.evaluate("JSON.stringify(held)"))
        return bool(held == {"states": gateway.state, "records": gateway.records})

    await eventually_async(is_right)
    assert all(asked["rate"] == 0 and asked["channels"] == [*STATES, FEED] for asked in gateway.asked)


@pytest.mark.parametrize("name", ["going_away", "full", "too_slow"])
async def test_a_page_that_was_closed_says_why_and_comes_back(page: Page, gateway: ScriptedGateway, name: str) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: updates)
    await page.evaluate("draw.value = 0.1")
    code = CLOSE_CODES[name].code
    await gateway.close(code)
    (_, outage, _) = await told(page, lambda updates: len(updates) == 3)
    delays_ms = {"going_away": 200, "full": 25, "too_slow": 0}
    assert outage == {"kind": "outage", "reason": f"closed with {code}", "retryInMs": delays_ms[name], "code": code}
    assert [asked["since"] for asked in gateway.asked] == [{}, {"federation": "1.0"}]


@pytest.mark.parametrize("name", ["policy", "expired"])
async def test_a_page_that_is_not_to_come_back_does_not(page: Page, gateway: ScriptedGateway, name: str) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: updates)
    await gateway.close(CLOSE_CODES[name].code)
    (_, refused) = await told(page, lambda updates: len(updates) == 2)
    assert (refused["kind"], refused["code"]) == ("refused", CLOSE_CODES[name].code)
    await page.evaluate("dispatchEvent(new Event('online'))")
    assert await page.evaluate("[...pulse.subscriptions][0].socket") is None


async def test_an_error_of_what_was_asked_for_is_told(page: Page, gateway: ScriptedGateway) -> None:
    gateway.instead = ['{"type":"error","code":"unknown_channel","message":"weather is none"}']
    await page.evaluate("follow(['weather'])")
    assert await told(page, lambda updates: updates) == [
        {"kind": "refused", "code": "unknown_channel", "message": "weather is none"}
    ]


async def test_one_channel_that_is_refused_leaves_the_others_alone(page: Page, gateway: ScriptedGateway) -> None:
    error = {"type": "error", "code": "out_of_reach", "message": "it begins later", "channel": "peers"}
    gateway.instead = [json.dumps(error)]
    await page.evaluate("follow(['federation', 'peers'], { at: 1, speed: 0 })")
    told_ = {name: value for name, value in error.items() if name != "type"}
    assert await told(page, lambda updates: updates) == [{"kind": "refused"} | told_]
    gateway.cut()
    await told(page, lambda updates: any(update["kind"] == "state" for update in updates))
    assert [asked["channels"] for asked in gateway.asked] == [["federation", "peers"], ["federation"]]


async def test_a_connection_that_stands_is_told_once_before_what_it_brings(
    page: Page, gateway: ScriptedGateway
) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: kinds(updates) == ["state"])
    gateway.cut()
    await told(page, lambda updates: kinds(updates) == ["state", "outage", "state"])
    assert await page.evaluate("connections") == [0, 2]


async def test_a_connection_is_known_to_stand_where_nothing_is_to_be_told(page: Page, gateway: ScriptedGateway) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: updates)
    gateway.instead = ['{"type":"welcome","ts":1}']
    await page.evaluate("connections.length = 0")
    gateway.cut()
    await eventually_async(lambda: page.evaluate("connections.length === 1"))


async def test_a_token_is_shown_before_anything_is_asked_for(page: Page, gateway: ScriptedGateway) -> None:
    await page.evaluate("follow(['federation'], {}, { token: 'secret' })")
    await told(page, lambda updates: updates)
    assert gateway.said == [{"op": "auth", "token": "secret"}]


async def test_what_was_left_out_and_a_reset_are_told(page: Page, gateway: ScriptedGateway) -> None:
    await page.evaluate("follow(['sync'])")
    await told(page, lambda updates: updates)
    await gateway.say({"type": "skipped", "channel": "sync", "count": 9}, {"type": "of tomorrow"})
    await gateway.add({"n": 1})
    await gateway.begin_again()
    updates = await told(page, lambda updates: len(updates) == 4)
    assert kinds(updates) == ["records", "records", "reset", "records"]
    assert [(each.get("skipped"), each.get("snapshot")) for each in updates] == [
        (0, True), (9, False), (None, None), (0, True)
    ]  # fmt: skip


async def test_a_silent_gateway_makes_the_state_stale_and_the_connection_new(
    page: Page, gateway: ScriptedGateway
) -> None:
    gateway.is_silent = True
    await page.evaluate("follow(['federation'], {}, { silentMs: 300 })")
    updates = await told(page, lambda updates: len(updates) >= 4)
    assert kinds(updates)[:4] == ["state", "outage", "state", "state"]
    assert [each.get("stale") for each in updates[:4]] == [False, None, True, False]
    assert updates[1]["reason"] == "nothing was heard for 0.3 s"


async def test_a_state_becomes_stale_while_the_gateway_is_away(page: Page, gateway: ScriptedGateway) -> None:
    await page.evaluate("follow(['federation'], {}, { silentMs: 100 })")
    await told(page, lambda updates: updates)
    await page.evaluate("draw.value = 1")
    gateway.refusals = [503] * 99
    gateway.cut()
    updates = await told(page, lambda updates: any(each.get("stale") for each in updates))
    assert kinds(updates)[1] == "outage"


@pytest.mark.parametrize(
    "event",
    ["window.dispatchEvent(new Event('online'))", "document.dispatchEvent(new Event('visibilitychange'))"],
)
async def test_a_page_that_is_back_does_not_wait(page: Page, gateway: ScriptedGateway, event: str) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: updates)
    await page.evaluate("draw.value = 1e6")
    await gateway.close(1013)
    await told(page, lambda updates: len(updates) == 2)
    await page.evaluate(event)
    assert kinds(await told(page, lambda updates: len(updates) == 3)) == ["state", "outage", "state"]


async def test_what_is_closed_tells_nothing_more(page: Page, gateway: ScriptedGateway) -> None:
    await page.evaluate("follow(['federation'])")
    await told(page, lambda updates: updates)
    await page.evaluate("pulse.close()")

    async def is_gone() -> bool:
        return not gateway.clients

    await eventually_async(is_gone)
    assert len(await page.evaluate("told")) == 1
