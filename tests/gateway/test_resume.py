"""Clients that come back: to the same gateway, to another one, after the bus was lost, wiped, or read by nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway import roster_log
from processors.gateway import tail as tail_module
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.positions import EntryId, Position, RosterPosition, decode_position, encode_position
from tests.gateway.model import NaiveClient
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync
from tests.gateway.talk import Talk, talking
from tests.gateway.test_tail import started

ALL = ("federation", "memory", "peers", "sync")


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


async def fill(world: World) -> None:
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.roster({"a": row("a"), "b": row("b")}, "0")
    await world.roster({"c": row("c")}, "1")
    await world.summary(network_health=1.0)
    await world.memory(ingestion_rate=1.0)
    await world.sync(sync("a", bytes=1))


async def change(world: World, n: int) -> None:
    await world.roster({"a": None, f"new-{n}": row(f"new-{n}")}, "0")
    await world.roster({"c": row("c", data_shared=n)}, "1")
    await world.summary(network_health=1.0 + n)
    await world.memory(ingestion_rate=1.0 + n)
    await world.sync(sync("a", bytes=1 + n))


@contextlib.asynccontextmanager
async def up(bus: Bus) -> AsyncIterator[Gateway]:
    async with running_gateway(bus) as gateway:
        await eventually(lambda: gateway.state.bus_answers)
        yield gateway


async def caught_up(talk: Talk, world: World, value: float) -> None:
    """Until it has what `change` wrote last."""
    await talk.until(lambda client: (client["federation"].data or {}).get("network_health") == value)
    await talk.until(lambda client: (client["memory"].data or {}).get("ingestion_rate") == value)
    await talk.until(lambda client: client["peers"].data and client["peers"].data["c"]["data_shared"] == value - 1)
    await talk.until(lambda client: client["sync"].data and client["sync"].data[-1]["bytes"] == value)


def positions(client: NaiveClient) -> dict[str, str]:
    return {name: held.pos for name, held in client.channels.items() if held.pos is not None}


async def test_a_client_goes_on_at_a_gateway_that_was_started_again(bus: Bus, world: World) -> None:
    await fill(world)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL) as talk:
        await caught_up(talk, world, 1.0)
    for n in range(1, 30):
        await change(world, n)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL, since=positions(talk.client)) as again:
        again.client = talk.client
        await caught_up(again, world, 30.0)
        async with talking(gateway.v1_url, *ALL) as fresh:
            await caught_up(fresh, world, 30.0)
    for name in ALL:
        assert again.client[name].resets == [], name
        if name != "sync":
            assert again.client[name].data == fresh.client[name].data
    assert [record["bytes"] for record in again.client["sync"].data] == list(range(1, 31))


async def test_a_client_that_missed_nothing_is_told_nothing_twice(bus: Bus, world: World) -> None:
    await fill(world)
    async with up(bus) as gateway:
        async with talking(gateway.v1_url, *ALL) as talk:
            await caught_up(talk, world, 1.0)
        before = {name: talk.client[name].data for name in ALL}
        async with talking(gateway.v1_url, *ALL, since=positions(talk.client)) as again:
            again.client = talk.client
            frames = {name: again.client[name].frames for name in ALL}
            await again.until(lambda client: all(client[name].frames > frames[name] for name in ALL))
            assert {name: again.client[name].frames - frames[name] for name in ALL} == dict.fromkeys(ALL, 1)
    assert {name: again.client[name].data for name in ALL} == before


@pytest.mark.parametrize(
    ("entry", "epoch", "reason"),
    [
        (EntryId(2**52, 5), "e1", "ahead"),
        (EntryId(1, 1), "e1", "gone"),
        (EntryId(1, 1), "other", "epoch"),
        (EntryId(2**63 - 1, 2**63 - 1), "e1", "ahead"),
        (EntryId(0, 0), "", "epoch"),
    ],
)
async def test_a_position_that_cannot_be_gone_on_from_is_answered_with_a_reset(
    bus: Bus, world: World, entry: EntryId, epoch: str, reason: str
) -> None:
    await fill(world)
    text = encode_position(Position(epoch, entry))
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL, since=dict.fromkeys(ALL, text)) as talk:
        await caught_up(talk, world, 1.0)
        for name in ALL:
            assert talk.client[name].resets == ["epoch" if name == "peers" else reason]


@pytest.mark.parametrize(("moved", "reason"), [(EntryId(2**52, 5), "ahead"), (EntryId(1, 1), "gone"), (None, "epoch")])
async def test_a_position_of_a_roster_likewise(bus: Bus, world: World, moved: EntryId | None, reason: str) -> None:
    await fill(world)
    async with up(bus) as gateway:
        async with talking(gateway.v1_url, "peers") as talk:
            await talk.hear("snapshot")
        held = decode_position(talk.client["peers"].pos or "")
        assert isinstance(held, RosterPosition)
        if moved is None:
            there = held._replace(epochs=held.epochs + 1)
        else:
            there = held._replace(entries=(moved, *held.entries[1:]))
        # The roster of partition 0 was read whole: what came before has to be read from its changes.
        await world.client.delete(streams.changes_key("0"))
        since = {"peers": encode_position(there)}
        async with talking(gateway.v1_url, "peers", since=since) as again:
            assert (await again.hear("reset"))["reason"] == reason
            await again.hear("snapshot")


async def test_channels_without_a_position_begin_anew(bus: Bus, world: World) -> None:
    await fill(world)
    text = encode_position(Position("e1", EntryId(1, 1)))
    since = {"sources": text, "peer:a": text}
    async with up(bus) as gateway, talking(gateway.v1_url, "sources", "peer:a", since=since) as talk:
        await talk.until(lambda client: all(client[name].data for name in since))
        assert [talk.client[name].resets for name in since] == [["gone"], ["gone"]]


async def test_a_herd_that_comes_back_shares_its_reads(bus: Bus, world: World) -> None:
    await fill(world)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL) as talk:
        await caught_up(talk, world, 1.0)
    for n in range(1, 60):
        await change(world, n)
    since = positions(talk.client)
    async with up(bus) as gateway, contextlib.AsyncExitStack() as clients:
        before = await calls(world.client)
        http = await clients.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        connections = [clients.enter_async_context(http.ws_connect(gateway.v1_url)) for _ in range(60)]
        herd = [Talk(ws) for ws in await asyncio.gather(*connections)]
        await asyncio.gather(*(each.say("subscribe", channels=ALL, since=since) for each in herd))
        for each in herd:
            for name in ALL:
                each.client[name].data = talk.client[name].data
        await asyncio.gather(*(caught_up(each, world, 60.0) for each in herd))
        after = await calls(world.client)
        # Of each stream that they missed something of, a page or two.
        assert after - before <= 12
        for each in herd:
            assert positions(each.client) == positions(herd[0].client)
            assert {name: each.client[name].data for name in ALL} == {name: herd[0].client[name].data for name in ALL}
            assert all(not each.client[name].resets for name in ALL)


async def calls(client: Redis) -> int:
    """How many times streams were read backwards."""
    stats = await client.info("commandstats")
    return int(stats.get("cmdstat_xrevrange", {"calls": 0})["calls"])


async def test_a_foreign_entry_among_what_was_missed_harms_nobody(bus: Bus, world: World) -> None:
    await fill(world)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL) as talk:
        await caught_up(talk, world, 1.0)
    for stream in (streams.FEED_SYNC, streams.METRICS_FEDERATION):
        now = await world.now()
        world.n += 1
        fields: dict[Any, Any] = {"v": "1", "t": "sync", "ts": str(now), "d": "{", "e": "e1"}
        await world.client.xadd(stream, fields, id=f"{now}-{world.n}")
    for n in range(1, 30):
        await change(world, n)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL, since=positions(talk.client)) as again:
        again.client = talk.client
        await caught_up(again, world, 30.0)
    assert [record["bytes"] for record in again.client["sync"].data] == list(range(1, 31))


async def test_a_roster_change_that_nobody_can_read_is_no_silent_hole(bus: Bus, world: World) -> None:
    await fill(world)
    async with up(bus) as gateway, talking(gateway.v1_url, "peers") as talk:
        await talk.hear("snapshot")
    now, previous = await world.now(), world.changes_ids["0"]
    world.n += 1
    entry = world.changes_ids["0"] = f"{now}-{world.n}"
    await world.client.hset(streams.peers_key("0"), "hidden", codec.encode(row("hidden")))
    fields: dict[Any, Any] = {"v": "1", "t": "roster", "ts": str(now), "d": "{", "e": "e1", "prev": previous}
    await world.client.xadd(streams.changes_key("0"), fields, id=entry)
    await change(world, 1)
    async with up(bus) as gateway, talking(gateway.v1_url, "peers", since=positions(talk.client)) as again:
        again.client = talk.client
        await again.until(lambda client: client["peers"].data and "hidden" in client["peers"].data)
        assert again.client["peers"].resets == ["gone"]


async def test_a_roster_whose_changes_are_forgotten_begins_anew(
    bus: Bus, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster_log, "MAX_IDS", 3)
    await fill(world)
    async with up(bus) as gateway:
        async with talking(gateway.v1_url, "peers") as talk:
            await talk.hear("snapshot")
        for n in range(1, 5):
            await change(world, n)
        await eventually(lambda: gateway.mesh.row("new-4"))
        await world.client.delete(streams.changes_key("0"))
        async with talking(gateway.v1_url, "peers", since=positions(talk.client)) as again:
            assert (await again.hear("reset"))["reason"] == "gone"
            await again.until(lambda client: len(client["peers"].data or ()) == 6)


async def test_a_wiped_bus_resets_its_followers(
    bus: Bus, world: World, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "CHECK_MS", 100)
    await fill(world)
    async with up(bus) as gateway, talking(gateway.v1_url, *ALL) as talk:
        await caught_up(talk, world, 1.0)
        await redis_client.flushall()
        await talk.until(lambda client: client["federation"].source == "stale")
        again = World(redis_client, "e2")
        await fill(again)
        await again.roster({"c": row("c", data_shared=6)}, "1")
        await again.summary(network_health=7.0)
        await again.memory(ingestion_rate=7.0)
        await again.sync(sync("z", bytes=7))
        await caught_up(talk, again, 7.0)
        for name in ALL:
            assert set(talk.client[name].resets) <= {"epoch", "gone"}, name
            assert talk.client[name].resets
        assert [record["bytes"] for record in talk.client["sync"].data][-1] == 7
        async with talking(gateway.v1_url, *ALL) as fresh:
            await caught_up(fresh, again, 7.0)
        for name in ("federation", "memory", "peers"):
            assert talk.client[name].data == fresh.client[name].data


async def test_a_bus_that_was_lost_and_came_back_resets_nobody(tmp_path: Path) -> None:
    server = await asyncio.to_thread(started, tmp_path)
    bus = Bus(server.url)
    try:
        await bus.open(16)
        async with Redis.from_url(server.url) as client:
            await fill(World(client))
        async with up(bus) as gateway, talking(gateway.v1_url, *ALL) as talk:
            await talk.until(lambda held: held["federation"].source == "live")
            await talk.until(lambda held: held["peers"].data and held["sync"].data and held["memory"].data)
            await asyncio.to_thread(server.kill)
            await talk.until(lambda held: held["federation"].source == "stale")
            await asyncio.to_thread(server.start)
            async with Redis.from_url(server.url) as client:
                world = World(client)
                world.n, world.changes_ids = 100, {"1": await newest(client, "1"), "0": await newest(client, "0")}
                await world.heartbeat("peers", "sync", "reasoning", "code")
                await change(world, 1)
            await caught_up(talk, world, 2.0)
            await talk.until(lambda held: held["federation"].source == "live")
        for name in ALL:
            assert talk.client[name].resets == [], name
        assert [record["bytes"] for record in talk.client["sync"].data] == [1, 2]
    finally:
        await bus.close()
        await asyncio.to_thread(server.stop)


async def newest(client: Redis, partition: str) -> str:
    entries: Any = await client.xrevrange(streams.changes_key(partition), count=1)
    return str(entries[0][0].decode())
