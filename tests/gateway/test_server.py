import asyncio
import socket
import time
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway.answers import etag
from processors.gateway.assets import ASSETS
from processors.gateway.half import View
from processors.gateway.server import Server
from processors.gateway.sockets import Sockets
from processors.gateway.sse import ServerSent
from processors.runtime.bus import Bus
from processors.runtime.errors import SettingsError
from processors.runtime.registry import MetricsRegistry
from schemas import codec, streams
from schemas.metrics import SourceState
from schemas.positions import EntryId, Position, decode_position
from tests.gateway.support import NOW, Gateway, World, eventually, memory_summary, node, row, running_gateway


@pytest.fixture
async def world(bus: Bus, redis_client: Redis, gateway: Gateway) -> World:
    """A world with live summaries, three peers and a node, known to the gateway."""
    world = World(redis_client)
    await world.heartbeat("peers", "sync", "reasoning", "code")
    await world.roster({"a": row("a"), "b": row("b", status="offline"), "c": row("c")})
    await world.summary(network_health=66.5, total_peers=3, online_peers=2)
    await world.memory(ingestion_rate=0.1, nodes={"node-1": node()}, nodes_total=1)
    await eventually(lambda: gateway.mesh.live.total == 3)
    for half in gateway.state.halves:
        await eventually(lambda half=half: half.view(bus.clock.now_ms()).source == "live")  # type: ignore[misc]
    return world


async def get(http: aiohttp.ClientSession, path: str, **more: Any) -> tuple[int, Any]:
    async with http.get(path, **more) as answer:
        return answer.status, await answer.json()


async def test_the_page_is_served(http: aiohttp.ClientSession) -> None:
    async with http.get("/") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "ARK" in await answer.text()


async def test_each_file_of_the_page_is_served_with_its_type(http: aiohttp.ClientSession) -> None:
    for name, asset in ASSETS.items():
        async with http.get(f"/static/{name}") as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, asset.content_type)
            assert await answer.read() == asset.body


async def test_a_file_is_packed_for_who_can_unpack_it_and_has_a_tag_of_its_own(http: aiohttp.ClientSession) -> None:
    tags = set()
    for encoding in ("gzip", "identity"):
        async with http.get("/static/app.js", headers={"Accept-Encoding": encoding}) as answer:
            assert answer.headers.get("Content-Encoding", "identity") == encoding
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert await answer.read() == ASSETS["app.js"].body
            tags.add(answer.headers["ETag"])
    assert len(tags) == 2


async def test_a_file_that_the_browser_has_is_not_sent_again(http: aiohttp.ClientSession) -> None:
    async with http.get("/static/app.js") as answer:
        tag = answer.headers["ETag"]
    async with http.get("/static/app.js", headers={"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/", "/static/app.js", "/status", "/api/health", "/api/v1/federation", "/api/v1/memory", "/nowhere"]
)
async def test_every_answer_forbids_what_the_page_does_not_need(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(path) as answer:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/nowhere", "/static/nothing.js", "/static/..%2fserver.py", "/api/v1/", "/%00"])
async def test_an_unknown_path_is_answered_in_json(http: aiohttp.ClientSession, path: str) -> None:
    assert await get(http, path) == (404, {"error": "not found"})


async def test_a_method_that_is_not_allowed_is_answered_in_json(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/v1/federation", data=b"x") as answer:
        assert (answer.status, await answer.json()) == (405, {"error": "method not allowed"})
        assert "GET" in answer.headers["Allow"]


async def test_the_status_is_one_line(http: aiohttp.ClientSession, world: World) -> None:
    async with http.get("/status") as answer:
        text = await answer.text()
    assert text.count("\n") == 1
    assert "live, 2 of 3 peers online, health 66.5 %; memory live, 0.10 sessions a second on 1 node\n" in text


async def test_the_status_says_when_nothing_is_known(http: aiohttp.ClientSession) -> None:
    async with http.get("/status") as answer:
        assert "nothing known: no summary on the bus yet" in await answer.text()


async def test_the_summary_is_what_the_bus_holds(http: aiohttp.ClientSession, world: World) -> None:
    status, body = await get(http, "/api/v1/federation")
    assert (status, body["network_health"], body["source"], body["epoch"]) == (200, 66.5, "live", "e1")
    assert "data_integrity" not in body


async def test_the_summary_of_the_memory_half_is_what_the_bus_holds(http: aiohttp.ClientSession, world: World) -> None:
    status, body = await get(http, "/api/v1/memory")
    assert (status, body["ingestion_rate"], body["source"], body["nodes_total"]) == (200, 0.1, "live", 1)
    assert body["nodes"]["node-1"]["source"] == "live"
    assert "dedup_rate" not in body


@pytest.mark.parametrize("half", ["federation", "memory"])
async def test_a_summarys_etag_is_its_position(http: aiohttp.ClientSession, world: World, half: str) -> None:
    async with http.get(f"/api/v1/{half}") as answer:
        body, tag = await answer.json(), answer.headers["ETag"].strip('"')
    position = decode_position(tag)
    assert isinstance(position, Position)
    assert (position.epoch, position.entry.n) == ("e1", body["n"])


@pytest.mark.parametrize("half", ["federation", "memory"])
async def test_a_summary_that_the_client_has_is_not_sent_again(
    http: aiohttp.ClientSession, world: World, half: str
) -> None:
    async with http.get(f"/api/v1/{half}") as answer:
        tag = answer.headers["ETag"]
    async with http.get(f"/api/v1/{half}", headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304


@pytest.mark.parametrize("half", ["federation", "memory"])
async def test_a_summary_that_became_stale_is_sent_again(
    http: aiohttp.ClientSession, gateway: Gateway, world: World, half: str
) -> None:
    async with http.get(f"/api/v1/{half}") as answer:
        tag = answer.headers["ETag"]
    gateway.state.doubt()
    status, body = await get(http, f"/api/v1/{half}", headers={"If-None-Match": tag})
    assert (status, body["source"]) == (200, "stale")


def test_a_summary_is_tagged_anew_when_more_of_it_becomes_stale() -> None:
    held = memory_summary()
    doubted = ((), (("a", "code"),), (("b", "code"),), (("a", "code"), ("b", "code")))
    position = Position("e1", EntryId(NOW, 1))
    assert len({etag(position, View(held, doubts)) for doubts in doubted}) == 4


@pytest.mark.parametrize("path", ["/api/v1/federation", "/api/v1/memory", "/api/v1/peers"])
async def test_before_the_first_summary_there_is_nothing_to_answer(http: aiohttp.ClientSession, path: str) -> None:
    assert await get(http, path) == (503, {"error": "no summary on the bus yet"})


async def test_peers_are_listed_by_id(http: aiohttp.ClientSession, world: World) -> None:
    status, body = await get(http, "/api/v1/peers")
    assert (status, [peer["id"] for peer in body["peers"]]) == (200, ["a", "b", "c"])
    assert (body["total"], body["source"]) == (3, "live")
    assert isinstance(body["as_of"], int)


async def test_peers_are_limited_and_the_total_is_not(http: aiohttp.ClientSession, world: World) -> None:
    _, body = await get(http, "/api/v1/peers?limit=1")
    assert (len(body["peers"]), body["total"]) == (1, 3)


async def test_peers_are_chosen_by_status(http: aiohttp.ClientSession, world: World) -> None:
    _, body = await get(http, "/api/v1/peers?status=offline")
    assert ([peer["id"] for peer in body["peers"]], body["total"]) == (["b"], 1)


@pytest.mark.parametrize("limit", ["0", "10001", "-1", "x", "", "1.5", "²", "9" * 5000])
async def test_a_bad_limit_is_refused(http: aiohttp.ClientSession, world: World, limit: str) -> None:
    assert await get(http, "/api/v1/peers", params={"limit": limit}) == (
        400,
        {"error": "limit must be between 1 and 10000"},
    )


async def test_a_bad_status_is_refused(http: aiohttp.ClientSession, world: World) -> None:
    assert await get(http, "/api/v1/peers?status=x") == (
        400,
        {"error": "status must be one of online, syncing, offline"},
    )


async def test_sources_are_listed_with_when_they_were_heard(http: aiohttp.ClientSession, world: World) -> None:
    status, body = await get(http, "/api/v1/sources")
    groups = [each["group"] for each in body["sources"]]
    assert (status, groups) == (200, ["code", "peers", "reasoning", "sync"])
    assert (body["bus"], body["timestamp"] >= body["sources"][0]["heard_at"]) == ("up", True)
    assert all(each["silent"] is False and each["heard_at"] > 0 for each in body["sources"])


async def test_a_source_tells_all_of_itself_also_what_is_zero_or_not_known(
    http: aiohttp.ClientSession, gateway: Gateway, redis_client: Redis
) -> None:
    body = codec.encode(SourceState(node="n", collector="c", group="code", state="down", since=5))
    await redis_client.xadd(streams.SOURCES, codec.entry_fields("source", 5, body))  # type: ignore[arg-type]
    await eventually(gateway.state.sources.by_name)
    [source] = (await get(http, "/api/v1/sources"))[1]["sources"]
    del source["heard_at"]
    assert source == {
        "node": "n", "collector": "c", "group": "code", "state": "down", "since": 5, "as_of": None, "reason": "",
        "detail": "", "published": 0, "rejected": 0, "silent": False, "silenced_until": None, "silence_reason": None,
    }  # fmt: skip


async def test_health_counts_the_clients_of_each_path(http: aiohttp.ClientSession, gateway: Gateway) -> None:
    async with http.ws_connect("/ws/federation"), http.ws_connect("/ws/memory"), http.ws_connect("/ws/memory"):
        await eventually(lambda: gateway.gate.clients == 3)
        counts = {"/ws": 0, "/ws/federation": 1, "/ws/memory": 2, "/sse": 0}
        assert (await get(http, "/api/health"))[1]["clients"] == counts
    await eventually(lambda: not gateway.gate.clients)
    assert (await get(http, "/api/health"))[1]["clients"] == dict.fromkeys(counts, 0)


async def test_health_is_ok_while_values_are_live(http: aiohttp.ClientSession, world: World) -> None:
    status, body = await get(http, "/api/health")
    assert (status, body["status"], body["source"], body["bus"]) == (200, "ok", "live", "up")


async def test_health_says_that_whoever_asks_may_do_all_where_no_tokens_are_asked_for(
    http: aiohttp.ClientSession,
) -> None:
    assert (await get(http, "/api/health"))[1]["access"] == "open"


async def test_health_is_down_before_the_first_summary(http: aiohttp.ClientSession) -> None:
    _, body = await get(http, "/api/health")
    assert (body["status"], body["reason"], body["as_of"]) == ("down", "no summary on the bus yet", None)


async def test_health_is_degraded_when_values_are_stale(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    gateway.state.doubt()
    _, body = await get(http, "/api/health")
    assert (body["status"], body["source"]) == ("degraded", "stale")


async def test_health_names_the_half_that_is_stale(http: aiohttp.ClientSession, gateway: Gateway, world: World) -> None:
    gateway.state.memory.doubt()
    _, body = await get(http, "/api/health")
    assert (body["status"], body["reason"]) == ("degraded", "no news from a source of the memory half")
    assert (body["source"], body["halves"]["memory"]["source"]) == ("live", "stale")


async def test_health_names_both_halves_if_both_are_stale(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    gateway.state.doubt()
    _, body = await get(http, "/api/health")
    assert body["reason"] == "no news from a source of the federation and the memory half"


async def test_a_half_without_a_summary_is_not_held_against_the_other(
    bus: Bus, http: aiohttp.ClientSession, gateway: Gateway, redis_client: Redis
) -> None:
    await World(redis_client).summary("simulated", "simulated")
    await eventually(lambda: gateway.mesh.summary)
    _, body = await get(http, "/api/health")
    assert (body["status"], body["halves"]["memory"]) == ("ok", {"source": "stale", "as_of": None})
    assert (await get(http, "/readyz"))[0] == 200
    assert (await get(http, "/api/v1/memory"))[0] == 503


async def test_it_is_alive_while_its_loop_runs(http: aiohttp.ClientSession) -> None:
    assert await get(http, "/healthz") == (200, {"status": "ok"})


async def test_it_is_not_ready_before_the_first_summary(http: aiohttp.ClientSession) -> None:
    assert await get(http, "/readyz") == (503, {"status": "not ready", "reason": "no summary on the bus yet"})


async def test_it_is_ready_with_a_summary(http: aiohttp.ClientSession, world: World) -> None:
    assert await get(http, "/readyz") == (200, {"status": "ready"})


async def test_it_says_that_the_bus_has_not_answered(bus: Bus) -> None:
    async with running_gateway(bus, tail=False) as silent, aiohttp.ClientSession(silent.url) as http:
        _, body = await get(http, "/readyz")
        assert body["reason"] == "the bus has not answered yet"


async def test_a_taken_port_is_named(gateway: Gateway) -> None:
    port = int(gateway.url.rpartition(":")[2])
    services = gateway.services
    second = Server(gateway.state, services, Sockets(services), ServerSent(services), MetricsRegistry("gateway"))
    with pytest.raises(SettingsError, match=rf"^ARK_HTTP_PORT {port} on 127\.0\.0\.1 is already in use$"):
        await second.start("127.0.0.1", port)


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_request_head_that_never_ends_is_cut_off_at_the_deadline(bus: Bus, begin: bytes) -> None:
    async with running_gateway(bus, tail=False, head_s=0.5) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        began = time.monotonic()
        writer.write(begin)

        async def trickle() -> None:
            while True:
                writer.write(b"x" if begin else b"")
                await asyncio.sleep(0.05)

        slow = asyncio.create_task(trickle())
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        slow.cancel()
        assert 0.4 < time.monotonic() - began < 1.5
        writer.close()


async def test_a_broken_request_is_answered_without_a_traceback(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(b"\x16\x03\x01 rubbish\r\n\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"Traceback" not in answer
    assert not caplog.records
    writer.close()


async def test_a_keep_alive_connection_serves_several_requests(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as raw:
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await loop.sock_sendall(raw, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                assert (await loop.sock_recv(raw, 4096)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8101", "127.0.0.1.evil.example", "[::1", "10.0.0.1"])
async def test_a_name_of_somebody_else_is_not_answered(http: aiohttp.ClientSession, world: World, host: str) -> None:
    for path in ("/api/v1/peers", "/ws/federation", "/ws/memory", "/"):
        status, body = await get(http, path, headers={"Host": host, "Origin": f"http://{host}"})
        assert (status, body) == (403, {"error": "Host must be this machine's loopback"})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8101", "127.0.0.1", "[::1]:8101"])
async def test_every_name_of_this_machine_is_answered(http: aiohttp.ClientSession, world: World, host: str) -> None:
    assert (await get(http, "/api/v1/peers", headers={"Host": host}))[0] == 200
