"""The past beside the present: how it ends, and what it leaves behind."""

import asyncio
from typing import Any

import aiohttp
import pytest

from processors.gateway import past, player
from processors.gateway.meter import EXCESS_PER_S
from tests.gateway.support import Gateway, World, eventually, sync
from tests.gateway.talk import Talk, talking

ALL = ("federation", "peers", "sync")


class Gate:
    """Holds whoever goes back to the present until it is opened."""

    def __init__(self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()
        begin = gateway.services.recovery.begin

        async def held(*args: Any) -> Any:
            self.reached.set()
            await self.opened.wait()
            return await begin(*args)

        monkeypatch.setattr(gateway.services.recovery, "begin", held)


async def show(talk: Talk, world: World, *channels: str, **fields: Any) -> None:
    """Show the present as the past: it is reached at once."""
    await talk.say("subscribe", channels=channels, **({"at": await world.now()} | fields))


async def test_a_client_that_leaves_on_its_way_to_the_present_is_forgotten(
    gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(gateway, monkeypatch)
    async with talking(gateway.v1_url) as talk:
        await show(talk, world, *ALL)
        await asyncio.wait_for(gate.reached.wait(), 8)
    gate.opened.set()
    await eventually(lambda: gateway.gate.clients == 0)
    assert not gateway.hub._places
    assert not gateway.hub._groups
    assert gateway.services.players.count == 0


async def test_what_is_given_up_on_the_way_to_the_present_stays_given_up(
    gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(gateway, monkeypatch)
    async with talking(gateway.v1_url) as talk:
        await show(talk, world, "federation", "sync")
        await asyncio.wait_for(gate.reached.wait(), 8)
        await talk.say("unsubscribe", channels=["sync"])
        gate.opened.set()
        await talk.say("refresh", channels=["sync"])
        assert (await talk.hear("error"))["code"] == "not_subscribed"
        [place] = gateway.hub._places.values()
        assert place.wants.keys() == {"federation"}


async def test_more_than_a_page_is_played_without_a_pause(
    gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "_PAGE", 2)
    monkeypatch.setattr(player, "_LONGEST_S", 60.0)
    at = await world.now()
    for number in range(2, 20):
        await world.sync(sync("a", bytes=number))
    async with talking(gateway.v1_url, "sync", at=at) as talk:
        await talk.until(lambda client: (client["sync"].data or [{}])[-1].get("bytes") == 19)
        assert [record["bytes"] for record in talk.client["sync"].data] == [*range(1, 20)]


async def test_a_moment_that_stands_gives_its_place_up_in_time(
    gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "MAX_SHOWN_S", 0.2)
    async with talking(gateway.v1_url) as talk:
        await show(talk, world, "federation", speed=0)
        await talk.hear("snapshot", channel="federation")
        await eventually(lambda: gateway.services.players.count == 0)
        await world.summary(network_health=2.0, total_peers=1)
        await talk.until(lambda client: client["federation"].data["network_health"] == 2.0)


async def test_there_are_only_so_many_players(gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past, "MAX_PLAYERS", 1)
    async with talking(gateway.v1_url) as first, talking(gateway.v1_url) as second:
        await show(first, world, "federation", speed=0)
        await first.hear("snapshot")
        await show(second, world, "federation", speed=0)
        assert (await second.hear("error"))["code"] == "busy"
        # Another moment of the same client takes the place of the first.
        await show(first, world, "sync", speed=0)
        await first.hear("snapshot", channel="sync")
    await eventually(lambda: gateway.services.players.count == 0)


@pytest.mark.parametrize("late", [1, 2**50])
async def test_a_moment_that_the_streams_do_not_reach_is_an_error(gateway: Gateway, world: World, late: int) -> None:
    async with talking(gateway.v1_url, "federation", at=late) as talk:
        assert (await talk.hear("error"))["code"] == "out_of_reach"
        assert gateway.services.players.count == 0


@pytest.mark.parametrize("flood", ["ping", "pong"])
async def test_control_frames_are_messages_too(gateway: Gateway, world: World, flood: str) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(gateway.v1_url, autoping=False) as ws:
        for _ in range(EXCESS_PER_S + 1):
            await getattr(ws, flood)()
        async for message in ws:
            assert message.type is not aiohttp.WSMsgType.ERROR
        assert ws.close_code == 4029
