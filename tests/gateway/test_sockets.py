import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway.gate import Gate
from processors.runtime.bus import Bus
from schemas.positions import EntryId
from tests.gateway.support import (
    SETTINGS,
    Gateway,
    World,
    eventually,
    frame_where,
    hold,
    log,
    memory_summary,
    row,
    running_gateway,
    source,
    summary,
    sync,
    tasks_of_clients,
)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def ws(gateway: Gateway, session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client that has read the three frames of its start."""
    async with session.ws_connect(gateway.ws_url) as connected:
        for _ in range(3):
            await connected.receive_json()
        yield connected


@pytest.fixture
async def memory_ws(gateway: Gateway, session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A client of the memory half that has read the frame of its start."""
    async with session.ws_connect(gateway.memory_url) as connected:
        await connected.receive_json()
        yield connected


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


async def types(ws: aiohttp.ClientWebSocketResponse, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [(await ws.receive_json())["type"] for _ in range(count)]


async def types_until(ws: aiohttp.ClientWebSocketResponse, last: str) -> list[str]:
    found: list[str] = []
    while last not in found:
        found += await types(ws, 1)
    return found


async def closed_with(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    async with asyncio.timeout(5):
        async for _ in ws:
            pass
    return ws.close_code


async def test_a_client_gets_the_whole_state_at_once(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(gateway.ws_url) as ws:
        assert await types(ws, 3) == ["federation_update", "peer_update", "health_update"]


async def test_a_client_gets_a_frame_although_nothing_is_known(bus: Bus, session: aiohttp.ClientSession) -> None:
    async with running_gateway(bus, tail=False) as silent, session.ws_connect(silent.ws_url) as ws:
        frame = await ws.receive_json()
        assert (frame["source"], frame["as_of"]) == ("stale", None)
        assert "network_health" in frame["unknown"]


async def test_a_change_on_the_bus_reaches_the_client(world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
    await world.heartbeat()
    await world.summary(network_health=42.0)
    # Heartbeat and summary are read each by itself: either may come first.
    await frame_where(ws, lambda frame: (frame["network_health"], frame["source"]) == (42, "live"))


async def test_a_client_of_the_memory_half_gets_its_whole_state_at_once(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    async with session.ws_connect(gateway.memory_url) as ws:
        frame = await ws.receive_json()
        assert (frame["type"], frame["source"], frame["logs"]) == ("memory_update", "stale", [])


async def test_a_change_of_the_memory_half_reaches_its_client(
    world: World, memory_ws: aiohttp.ClientWebSocketResponse
) -> None:
    await world.heartbeat("reasoning", "code")
    await world.memory(ingestion_rate=0.1, logs=(log("<b>"),))
    frame = await frame_where(memory_ws, lambda frame: frame["source"] == "live")
    assert (frame["type"], frame["ingestion_rate"]) == ("memory_update", 0.1)
    assert frame["logs"][0]["message"] == "&lt;b&gt;"


async def test_a_client_of_one_half_hears_nothing_of_the_other(
    world: World, ws: aiohttp.ClientWebSocketResponse, memory_ws: aiohttp.ClientWebSocketResponse
) -> None:
    await world.summary(network_health=42.0)
    await frame_where(ws, lambda frame: frame["network_health"] == 42)
    await memory_ws.send_str("ping")
    assert await types(memory_ws, 1) == ["pong"]


async def test_a_newer_moment_of_the_memory_half_is_no_news(
    world: World, gateway: Gateway, memory_ws: aiohttp.ClientWebSocketResponse
) -> None:
    await world.heartbeat("reasoning", "code")
    await world.memory(ingestion_rate=0.1)
    await frame_where(memory_ws, lambda frame: frame["source"] == "live")
    await world.memory(ingestion_rate=0.1)
    await world.memory(ingestion_rate=0.1)
    await eventually(lambda: gateway.state.memory.summary is not None and gateway.state.memory.summary.n == world.n)
    await world.memory(ingestion_rate=0.2)
    assert (await memory_ws.receive_json())["ingestion_rate"] == 0.2


async def test_a_new_peer_reaches_the_client(world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
    await world.summary()
    await world.roster({"a": row("a", hostname="alpha")})
    frame = await frame_where(ws, lambda frame: frame["type"] == "peer_update" and frame["peers"])
    assert frame["peers"][0]["name"] == "alpha"


async def test_a_sync_reaches_the_client_as_an_event(world: World, ws: aiohttp.ClientWebSocketResponse) -> None:
    await world.summary()
    await frame_where(ws, lambda frame: frame["as_of"])
    await world.sync(sync("alpha"))
    frame = await frame_where(ws, lambda frame: frame["type"] == "sync_event")
    assert frame["event"]["peer"] == "alpha"


async def test_summary_roster_and_sync_of_one_moment_come_together(
    world: World, gateway: Gateway, ws: aiohttp.ClientWebSocketResponse
) -> None:
    await world.summary()
    await frame_where(ws, lambda frame: frame["as_of"])
    hold(gateway.mesh, summary(network_health=5.0))
    gateway.hub.note_change("federation")
    gateway.mesh.live.load("0", "e", EntryId(0, 1), {"a": row("a")})
    gateway.mesh.add_sync(EntryId(1, 1), sync("a"), fresh=True)
    gateway.hub.note_change("federation")
    assert await types(ws, 3) == ["peer_update", "health_update", "sync_event"]


async def test_silence_of_the_collectors_reaches_the_client_without_any_event(
    bus: Bus, session: aiohttp.ClientSession
) -> None:
    async with running_gateway(bus, tail=False) as gateway, session.ws_connect(gateway.ws_url) as ws:
        for group in ("peers", "sync"):
            gateway.state.sources.hear(bus.clock.now_ms() - 14_500, source(group))
        hold(gateway.mesh, summary(ts=bus.clock.now_ms()))
        gateway.hub.note_change("federation")
        await frame_where(ws, lambda frame: frame["source"] == "live")
        await frame_where(ws, lambda frame: frame["source"] == "stale", within_s=3)


async def test_silence_of_the_memory_halfs_collectors_reaches_its_client_without_any_event(
    bus: Bus, session: aiohttp.ClientSession
) -> None:
    async with running_gateway(bus, tail=False) as gateway, session.ws_connect(gateway.memory_url) as ws:
        for group in ("reasoning", "code"):
            gateway.state.sources.hear(bus.clock.now_ms() - 14_500, source(group))
        hold(gateway.state.memory, memory_summary(ts=bus.clock.now_ms()))
        gateway.hub.note_change("memory")
        await frame_where(ws, lambda frame: frame["source"] == "live")
        await frame_where(ws, lambda frame: frame["source"] == "stale", within_s=3)


@pytest.mark.parametrize("text", ["ping", '{"type":"ping"}'])
async def test_a_ping_is_answered_with_the_time_of_the_bus(
    bus: Bus, ws: aiohttp.ClientWebSocketResponse, text: str
) -> None:
    await ws.send_str(text)
    answer = await ws.receive_json()
    assert answer["type"] == "pong"
    assert abs(answer["timestamp"] - bus.clock.now_ms()) < 1_000


@pytest.mark.parametrize("text", ["refresh", '{"type":"refresh"}', '{"action":"refresh"}'])
async def test_a_refresh_is_answered_with_the_whole_state(ws: aiohttp.ClientWebSocketResponse, text: str) -> None:
    await ws.send_str(text)
    assert await types(ws, 3) == ["federation_update", "peer_update", "health_update"]


async def test_a_client_of_the_memory_half_may_ping_and_refresh(memory_ws: aiohttp.ClientWebSocketResponse) -> None:
    for text in ("ping", "refresh"):
        await memory_ws.send_str(text)
    assert await types(memory_ws, 2) == ["pong", "memory_update"]


async def test_an_unknown_message_is_answered_with_an_error(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_str("what?")
    assert await ws.receive_json() == {"type": "error", "message": "unknown message"}


async def test_a_client_is_told_of_its_error_once_a_second(ws: aiohttp.ClientWebSocketResponse) -> None:
    for _ in range(5):
        await ws.send_str("{")
    await ws.send_str("ping")
    assert await types(ws, 2) == ["error", "pong"]


async def test_a_hundred_refreshes_at_once_are_answered_with_few_states(ws: aiohttp.ClientWebSocketResponse) -> None:
    for _ in range(100):
        await ws.send_str("refresh")
    await ws.send_str("ping")
    before = await types_until(ws, "pong")
    await ws.send_str("refresh")
    # What they did not get at once, all of them get together.
    assert len(before) + len(await types(ws, 3)) <= 16


async def test_more_than_two_hundred_messages_a_second_close_the_connection(
    ws: aiohttp.ClientWebSocketResponse,
) -> None:
    for _ in range(201):
        await ws.send_str("ping")
    assert await closed_with(ws) == 4029


async def test_a_binary_message_closes_the_connection(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_bytes(b"ping")
    assert await closed_with(ws) == 1003


async def test_a_message_over_the_bound_closes_the_connection(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_str("x" * 70_000)
    assert await closed_with(ws) == 1009


async def test_a_message_that_is_not_utf8_closes_the_connection(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_frame(b"\xff\xfe", aiohttp.WSMsgType.TEXT)
    assert await closed_with(ws) == 1007


async def test_one_bad_client_does_not_disturb_another(
    gateway: Gateway, session: aiohttp.ClientSession, ws: aiohttp.ClientWebSocketResponse
) -> None:
    async with session.ws_connect(gateway.ws_url) as bad:
        await bad.send_bytes(b"\0")
        await closed_with(bad)
    await ws.send_str("ping")
    assert await types(ws, 1) == ["pong"]


async def test_a_page_of_another_origin_is_refused(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await session.ws_connect(gateway.ws_url, headers={"Origin": "http://evil.example"})
    assert refusal.value.status == 403


async def test_a_page_of_another_origin_is_refused_by_the_memory_half_too(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await session.ws_connect(gateway.memory_url, headers={"Origin": "http://evil.example"})
    assert refusal.value.status == 403


async def test_the_own_page_is_accepted(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(gateway.ws_url, headers={"Origin": gateway.url}) as ws:
        assert await types(ws, 1) == ["federation_update"]


async def test_clients_over_the_bound_are_refused_before_the_upgrade(bus: Bus, session: aiohttp.ClientSession) -> None:
    gate = Gate(dataclasses.replace(SETTINGS, ark_max_clients=3))
    async with running_gateway(bus, gate=gate) as gateway:
        clients = [await session.ws_connect(gateway.ws_url) for _ in range(3)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(gateway.ws_url)
        assert refusal.value.status == 503
        for client in clients:
            await client.close()


async def test_a_place_that_was_left_is_free_again(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    for _ in range(8):
        async with session.ws_connect(gateway.ws_url) as ws:
            assert await types(ws, 1) == ["federation_update"]
        await eventually(lambda: not gateway.gate.clients)


async def test_a_request_that_is_no_handshake_is_a_bad_one(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with session.get(gateway.ws_url) as answer:
        assert answer.status == 400
        assert json.loads(await answer.text()) == {"error": "a WebSocket handshake is expected here"}


async def test_clients_that_come_and_go_leave_nothing_behind(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    for _ in range(50):
        ws = await session.ws_connect(gateway.ws_url)
        await ws.send_str("refresh")
        await ws.close()
    await eventually(lambda: not gateway.gate.clients)
    await eventually(lambda: not tasks_of_clients())
