"""Protocol v1 over a real socket, from the bus to the frame."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from tests.gateway.support import Gateway, World, eventually, row, sync
from tests.gateway.talk import Talk, talking


@pytest.fixture
async def world(bus: Bus, redis_client: Redis, gateway: Gateway) -> World:
    world = World(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.roster({"a": row("a"), "b": row("b", status="offline", hostname="b.local")})
    await world.summary(network_health=66.5, total_peers=3, online_peers=2)
    await world.memory(ingestion_rate=0.1)
    await world.sync(sync("a", bytes=1))
    await eventually(lambda: gateway.mesh.live.total == 2 and gateway.state.syncs.top)
    for half in gateway.state.halves:
        await eventually(lambda half=half: half.view(bus.clock.now_ms()).source == "live")  # type: ignore[misc]
    return world


async def test_a_client_is_greeted_and_gets_snapshots_of_what_it_subscribes(talk: Talk) -> None:
    welcome = await talk.hear("welcome")
    assert (welcome["v"], welcome["role"]) == (1, "operator")
    await talk.say("subscribe", channels=["federation", "peers", "peer:b", "memory", "sync", "logs", "sources"])
    got = {}
    for _ in range(7):
        frame = await talk.hear("snapshot")
        got[frame["channel"]] = frame
    assert got["federation"]["data"]["network_health"] == 66.5
    assert got["federation"]["source"] == "live"
    assert {"epoch", "n", "partials"}.isdisjoint(got["federation"]["data"])
    assert got["peers"]["data"]["b"]["hostname"] == "b.local"
    assert got["peer:b"]["data"]["status"] == "offline"
    assert got["memory"]["data"]["ingestion_rate"] == 0.1
    assert [each["bytes"] for each in got["sync"]["data"]] == [1]
    assert got["logs"]["data"] == []
    assert got["sources"]["data"]["node-1/peers-collector"]["silent"] is False


async def test_changes_come_as_patches_and_records(talk: Talk, world: World) -> None:
    await talk.say("subscribe", channels=["federation", "peers", "peer:b", "peer:c", "sync"])
    await talk.hear("snapshot", channel="sync")
    await world.summary(network_health=70.0, total_peers=3)
    delta = await talk.hear("delta", channel="federation")
    assert (delta["data"]["network_health"], delta["data"]["online_peers"]) == (70.0, None)
    assert "total_peers" not in delta["data"]
    await world.roster({"b": None, "c": row("c")})
    assert (await talk.hear("snapshot", channel="peer:b"))["data"] is None
    assert (await talk.hear("snapshot", channel="peer:c"))["data"]["status"] == "online"
    patch = (await talk.hear("delta", channel="peers"))["data"]
    assert patch["b"] is None
    assert patch["c"]["hostname"] is None
    await world.sync(sync("a", bytes=2))
    assert [each["bytes"] for each in (await talk.hear("event", channel="sync"))["data"]] == [2]


async def test_a_client_goes_on_where_it_was(talk: Talk, gateway: Gateway, world: World) -> None:
    await talk.say("subscribe", channels=["federation", "peers", "sync"])
    since = {name: (await talk.hear("snapshot", channel=name))["pos"] for name in ("federation", "peers", "sync")}
    await talk.ws.close()
    await world.summary(network_health=70.0)
    await world.roster({"b": None})
    await world.sync(sync("a", bytes=2))
    async with talking(gateway.v1_url) as again:
        await again.say("subscribe", channels=["federation", "peers", "sync"], since=since)
        assert (await again.hear("delta", channel="federation"))["data"]["network_health"] == 70.0
        assert (await again.hear("delta", channel="peers"))["data"] == {"b": None}
        assert [each["bytes"] for each in (await again.hear("event", channel="sync"))["data"]] == [2]


async def test_the_past_is_played_until_the_present(talk: Talk, world: World, gateway: Gateway) -> None:
    at = await world.now()
    await world.summary(network_health=70.0)
    await world.roster({"b": None, "c": row("c")})
    await world.sync(sync("a", bytes=2))
    await eventually(lambda: gateway.mesh.row("c"))
    await talk.say("subscribe", channels=["federation", "peers", "peer:b", "sync", "sources"], at=at, speed=2)
    assert (await talk.hear("snapshot", channel="federation"))["data"]["network_health"] == 66.5
    assert (await talk.hear("snapshot", channel="peer:b"))["data"]["hostname"] == "b.local"
    assert (await talk.hear("snapshot", channel="peers"))["data"].keys() == {"a", "b"}
    await talk.hear("snapshot", channel="sources")
    assert [each["bytes"] for each in (await talk.hear("snapshot", channel="sync"))["data"]] == [1]
    told: dict[str, list[Any]] = {"federation": [], "peers": [], "peer:b": [], "sync": []}
    frame: dict[str, Any] = {"channel": ""}
    while frame["channel"] != "sources":  # its next snapshot is of the present
        async with asyncio.timeout(8):
            frame = await talk.ws.receive_json()
        assert frame["type"] not in {"reset", "error", "skipped"}
        told.setdefault(frame["channel"], []).append(frame["data"])
    assert [data["network_health"] for data in told["federation"] if "network_health" in data] == [70.0]
    patches = [(peer, row and row["id"]) for data in told["peers"] for peer, row in data.items()]
    assert dict(patches) == {"b": None, "c": "c"}
    assert told["peer:b"][0] is None
    # The events of the present come after the sources'.
    sent = [each["bytes"] for data in told["sync"] for each in data]
    assert sent + ([] if sent else [each["bytes"] for each in (await talk.hear("event"))["data"]]) == [2]
