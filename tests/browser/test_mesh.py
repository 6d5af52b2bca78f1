"""The picture of the mesh: where peers stand, what it says of them in words, and what moves."""

import itertools
import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, Position, expect

from tests.browser.chromium import MARKS, Look
from tests.browser.scenes import EVIL, simulate
from tests.gateway.support import World, row, sync

pytestmark = MARKS

WIDTH, HEIGHT = 1_000, 700

PLACES = """
async ([width, height, rosters]) => {
  const { Crowd } = await import("/static/federation/mesh_layout.js");
  const tiers = ["core", "trusted", "verified", "unverified"];
  const rowsOf = ({ ids, ...values }) => Object.fromEntries(ids.map((number) => [`p${number}`, {
    status: "online", suspicion: 0, last_seen: number, tier: tiers[number % 4], latency_ms: 1.5 ** (number % 15),
    ...values, ...values[number],
  }]));
  const crowd = new Crowd();
  return rosters.map((roster) => {
    crowd.take(rowsOf(roster));
    const frame = crowd.place(width, height, false);
    return crowd.drawn.map(({ id, toX, toY }) => [id, [toX - frame.x, toY - frame.y]]);
  });
}
"""
"""Where the peers of each of some rosters are to stand, one after the other, from the middle of the picture, px. A
roster has numbers of peers, fields of all rows, and fields of some by number."""

Places = dict[str, tuple[float, float]]

MESH = "document.querySelector('pulse-mesh')"


async def places(page: Page, *rosters: dict[str, Any]) -> list[Places]:
    return [dict(found) for found in await page.evaluate(PLACES, [WIDTH, HEIGHT, rosters])]


def some(count: int, **values: Any) -> dict[str, Any]:
    """A roster of so many peers, of the four tiers in turn."""
    return {"ids": list(range(count)), **values}


def mesh(page: Page) -> Locator:
    return page.locator("pulse-mesh")


def picture(page: Page, words: str) -> Locator:
    return mesh(page).get_by_role("img", name=words, exact=True)


def surface(page: Page) -> Locator:
    """What is pointed at."""
    return mesh(page).locator("canvas").last


def distance(a: tuple[float, float], b: tuple[float, float] = (0, 0)) -> float:
    return float(((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5)


async def peer_at(page: Page, peer: str) -> Position:
    """Where a peer is drawn, as soon as it is, in the picture."""
    found = await page.wait_for_function(f"id => {MESH}.scene && {MESH}.crowd.nodes.get(id)", arg=peer)
    position: Position = await found.evaluate("({ x, y }) => ({ x, y })")
    return position


async def test_a_peer_stands_where_its_id_puts_it_whoever_came_before(page: Page) -> None:
    back = {"ids": list(reversed(range(500)))}
    first, second = await places(page, some(500), back)
    assert first == second


async def test_a_peer_that_comes_moves_nobody_far(page: Page) -> None:
    before, after = await places(page, some(200), some(201))
    assert max(distance(after[peer], place) for peer, place in before.items()) < 70


async def test_peers_of_many_stay_when_others_come_and_go(page: Page) -> None:
    before, after = await places(page, some(1_000), some(990))
    assert all(after[peer] == before[peer] for peer in after)


async def test_tiers_are_bands_from_the_core_outwards(page: Page) -> None:
    (found,) = await places(page, some(400))
    # As shares of both radii: an ellipse is as wide as the picture.
    width, height = (max(abs(place[side]) for place in found.values()) for side in (0, 1))
    bands: list[list[float]] = [[], [], [], []]
    for peer, (x, y) in found.items():
        bands[int(peer.removeprefix("p")) % 4].append(distance((x / width, y / height)))
    assert all(max(inner) < min(outer) for inner, outer in itertools.pairwise(bands))


async def test_a_lower_latency_is_nearer_and_an_unknown_one_farthest(page: Page) -> None:
    latencies = [0.2, 5.0, 50.0, 400.0, 5_000.0, None]
    far = [distance(found["p0"]) for found in await places(page, *(some(1, latency_ms=each) for each in latencies))]
    assert far[0] < far[1] < far[2] < far[3] < far[4] == far[5]


@pytest.mark.parametrize("tier", ["core", "verified"])
async def test_sixty_peers_of_a_tier_do_not_cover_each_other(page: Page, tier: str) -> None:
    (found,) = await places(page, some(60, tier=tier))
    assert min(distance(a, b) for a, b in itertools.combinations(found.values(), 2)) > 11


async def test_of_too_many_those_in_trouble_are_drawn_then_those_that_were(page: Page) -> None:
    trouble = {"7": {"status": "offline"}, "8": {"suspicion": 2.5}}
    usual, later, last = await places(
        page, some(3_000), some(3_000, **{"9": {"last_seen": 9_999}}), some(3_000, **trouble)
    )
    assert (len(usual), "p8" in usual) == (2_000, False)
    assert later.keys() == usual.keys()
    assert last.keys() - usual.keys() == {"p7", "p8"}
    assert len(last) == 2_000


async def test_the_picture_says_in_words_how_many_are_in_trouble(page: Page, world: World) -> None:
    await world.heartbeat()
    await expect(picture(page, "No peer is known.")).to_be_visible()
    others = {"d": row("d", status="syncing"), "e": row("e", status="offline", suspicion=9.0)}
    await world.roster({"a": row("a"), "b": row("b"), "c": row("c", suspicion=3.0)} | others)
    words = "5 peers: 2 online, 1 syncing, 1 suspicious, 1 offline."
    await expect(picture(page, f"{words} Names are in the table below.")).to_be_visible()
    await expect(mesh(page).get_by_text(words)).to_be_visible()


async def test_a_simulated_mesh_says_so(page: Page, world: World) -> None:
    await simulate(world)
    await expect(mesh(page).get_by_role("heading")).to_contain_text("simulated")


async def test_who_is_pointed_at_is_told_and_markup_in_a_name_is_text(page: Page, world: World) -> None:
    await world.heartbeat()
    await world.roster({"a": row("a", hostname=EVIL, tier=EVIL, latency_ms=12.5, suspicion=1.5, data_shared=2048)})
    await surface(page).hover(position=await peer_at(page, "a"))
    card = mesh(page).locator(".mesh-card")
    await expect(card).to_be_visible()
    assert await card.inner_text() == "\n".join(
        [EVIL, "a", "online", "Tier", EVIL, "Suspicion", "1.5", "Latency", "12.5 ms", "Shared", "2.0 KiB"]
    )
    await page.mouse.move(5, 5)
    await expect(card).to_be_hidden()


async def test_a_click_opens_a_peer(page: Page, world: World) -> None:
    await world.roster({"a/b c": row("a/b c")})
    await surface(page).click(position=await peer_at(page, "a/b c"))
    await expect(page).to_have_url(re.compile(r"#/peers/a%2Fb%20c$"))


async def test_a_sync_runs_as_a_light_and_then_all_rests(page: Page, world: World) -> None:
    await world.roster({"a": row("a"), "b": row("b")})
    await peer_at(page, "b")
    await world.sync(sync("a", ts=await world.now()))
    await page.wait_for_function(f"() => {MESH}.isLit")
    await page.wait_for_function(f"() => !{MESH}.isLit")


@pytest.mark.parametrize("look", [Look(still=True)])
async def test_nothing_moves_for_those_who_do_not_want_it(page: Page, world: World) -> None:
    await world.roster({"a": row("a"), "b": row("b")})
    await peer_at(page, "b")
    await world.sync(sync("a", ts=await world.now()))
    await page.wait_for_function(f"() => {MESH}.pairs.held.size === 1")
    await world.roster({"b": row("b", latency_ms=900.0)})
    await page.wait_for_function(f"() => {MESH}.crowd.nodes.get('b').row.latency_ms === 900")
    assert await page.evaluate("import('/static/core/frames.js').then(({ measure }) => measure())") is None
