"""The service as its clients see it, on a real server."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.federation import server
from processors.federation.gate import Gate
from processors.federation.manifest import MAX_BODY
from processors.runtime.bus import Bus
from processors.runtime.errors import SettingsError
from schemas import streams
from tests.collectors.helpers import until
from tests.federation.support import Node, Service, base64_of, running_service

NAME = "must be text of 1 to 256 printable characters without markup"


def now() -> int:
    return int(time.time() * 1000)


async def test_a_signed_manifest_registers_its_node(service: Service, ark: Redis) -> None:
    node = Node()
    answer = await service.post(node.body(hostname="one.local", trust_tier="verified", latency=12.5))
    assert answer == (200, {"status": "registered", "node_id": "ark-node-1"})
    found = await ark.hgetall("peer:ark-node-1")
    assert abs(now() - int(found.pop("last_seen"))) < 10_000
    assert found == {
        "node_id": "ark-node-1",
        "hostname": "one.local",
        "trust_tier": "verified",
        "status": "online",
        "latency": "12.5",
        "learnt_from": "manifest",
    }


async def test_a_registered_peer_expires_after_two_minutes(service: Service, ark: Redis) -> None:
    await service.post(Node().body())
    assert 110_000 < await ark.pttl("peer:ark-node-1") <= 120_000


async def test_a_registered_peer_expires_with_its_manifest(service: Service, ark: Redis) -> None:
    await service.post(Node().body(expires_at=now() + 30_000))
    assert 20_000 < await ark.pttl("peer:ark-node-1") <= 30_000


@pytest.mark.parametrize("kind", ["hash", "list", "string"])
async def test_nothing_of_what_was_there_before_lingers(service: Service, ark: Redis, kind: str) -> None:
    if kind == "hash":
        await ark.hset("peer:ark-node-1", mapping={"old": "x", "trust_tier": "core"})
    elif kind == "list":
        await ark.rpush("peer:ark-node-1", "x")
    else:
        await ark.set("peer:ark-node-1", "x")
    await service.post(Node().body())
    assert set(await ark.hgetall("peer:ark-node-1")) == {"node_id", "trust_tier", "status", "last_seen", "learnt_from"}
    assert await ark.pttl("peer:ark-node-1") > 0


async def test_hash_and_expiry_are_one_step(service: Service, ark: Redis) -> None:
    async with ark.monitor() as monitor:
        await service.post(Node().body())
        commands: list[str] = []
        while "EXEC" not in commands:
            command = await monitor.next_command()
            if command["db"] == 3:
                commands.append(command["command"].split()[0])
    assert commands[commands.index("MULTI") :] == ["MULTI", "DEL", "HSET", "PEXPIRE", "EXEC"]


async def test_the_same_manifest_again_is_a_heartbeat_where_the_node_does_not_number_them(
    service: Service, ark: Redis
) -> None:
    body = Node().body()
    await service.post(body)
    await ark.hset("peer:ark-node-1", "last_seen", "1")
    assert (await service.post(body))[0] == 200
    assert abs(now() - int(await ark.hget("peer:ark-node-1", "last_seen") or 0)) < 10_000


async def test_a_replay_is_refused_once_a_node_numbers_its_manifests(service: Service) -> None:
    node = Node()
    old, numbered = node.body(), node.body(seq=5)
    assert (await service.post(old))[0] == 200
    assert (await service.post(numbered))[0] == 200
    assert await service.post(numbered) == (409, {"error": "seq must be above 5"})
    assert await service.post(old) == (409, {"error": "seq is missing, and this node has used it"})
    assert (await service.post(node.body(seq=6)))[0] == 200


async def test_a_replay_is_refused_once_a_node_dates_its_manifests(service: Service) -> None:
    node, moment = Node(), now()
    body = node.body(issued_at=moment)
    assert (await service.post(body))[0] == 200
    assert await service.post(body) == (409, {"error": f"issued_at must be after {moment}"})
    assert await service.post(node.body()) == (409, {"error": "issued_at is missing, and this node has used it"})


async def test_a_refused_replay_changes_nothing(service: Service, ark: Redis) -> None:
    node = Node()
    old, new = node.body(seq=1, hostname="old"), node.body(seq=2, hostname="new")
    await service.post(old)
    await service.post(new)
    before = await ark.hgetall("peer:ark-node-1")
    await service.post(old)
    assert await ark.hgetall("peer:ark-node-1") == before


async def test_another_key_cannot_take_a_node_id(service: Service, ark: Redis) -> None:
    await service.post(Node().body(hostname="mine"))
    answer = await service.post(Node().body(hostname="stolen"))
    assert answer == (403, {"error": "node_id is pinned to another pubkey"})
    assert await ark.hget("peer:ark-node-1", "hostname") == "mine"


async def test_a_pin_outlives_a_flush_of_arks_redis(service: Service, ark: Redis) -> None:
    await service.post(Node().body())
    await ark.flushdb()
    assert (await service.post(Node().body()))[0] == 403


async def test_of_two_manifests_at_once_the_hash_is_of_the_newer_pin(service: Service, ark: Redis, bus: Bus) -> None:
    node = Node()
    bodies = [node.body(seq=number, hostname=f"h{number}") for number in range(1, 41)]
    answers = await asyncio.gather(*map(service.post, bodies))
    assert {status for status, _ in answers} <= {200, 409}
    pin = json.loads(await bus.client.hget(streams.FEDERATION_PINS, "ark-node-1") or b"")
    assert await ark.hget("peer:ark-node-1", "hostname") == f"h{pin['seq']}" == "h40"


@pytest.mark.parametrize("claim", ["core", "trusted", " CORE ", "verified", None])
async def test_a_node_that_nobody_listed_is_verified_at_most(service: Service, ark: Redis, claim: str | None) -> None:
    await service.post(Node().body(trust_tier=claim))
    assert await ark.hget("peer:ark-node-1", "trust_tier") == "verified"


async def test_a_listed_key_gets_its_tier_and_the_id_from_whoever_had_it(
    bus: Bus, ark: Redis, ark_url: str, tmp_path: Path
) -> None:
    node, squatter, file = Node(), Node(), tmp_path / "keys"
    file.write_text(f"core {base64_of(node.pubkey)} ark-node-1\n")
    async with running_service(bus, ark_url) as service:
        assert (await service.post(squatter.body(seq=2**53 - 1)))[0] == 200
    async with running_service(bus, ark_url, trusted=file) as service:
        assert (await service.post(node.body(trust_tier="core", seq=1)))[0] == 200
        assert await ark.hget("peer:ark-node-1", "trust_tier") == "core"
        clause = "node_id belongs to a trusted key, and pubkey is another"
        assert await service.post(squatter.body()) == (403, {"error": clause})


@pytest.mark.parametrize(
    ("body", "status", "clause"),
    [
        (b"", 400, "body must be JSON"),
        (b"[1]", 400, "body must be a JSON object"),
        (b'"x"', 400, "body must be a JSON object"),
        (b"{}", 400, "manifest is missing"),
        (b"[" * MAX_BODY, 400, "body is nested too deeply"),
        (b" " * (MAX_BODY + 1), 413, "body must have at most 65536 bytes"),
        (Node().body(capabilities=["a"]), 400, "capabilities must not be nested"),
        (Node("<b>").body(), 400, f"node_id {NAME}"),
        (Node().body(hostname="a\n"), 400, f"hostname {NAME}"),
        (Node().body(expires_at=1), 400, "expires_at must be in the future"),
        (Node().body(issued_at=1), 400, "issued_at must be within 60 s of this server's clock"),
        (Node().body(issued_at=4_000_000_000), 400, "issued_at must be within 60 s of this server's clock"),
        (json.dumps(Node().request() | {"pubkey": "!"}).encode(), 400, "pubkey must be base64 of 32 bytes"),
        (
            json.dumps(Node().request() | {"pubkey": base64_of(bytes(32))}).encode(),
            400,
            "pubkey must not be a point of small order, nor one in another spelling",
        ),
        (json.dumps(Node().request() | {"pubkey": base64_of(Node().pubkey)}).encode(), 401, "invalid signature"),
        (json.dumps(Node().request() | {"manifest": {"node_id": "b"}}).encode(), 401, "invalid signature"),
    ],
)
async def test_a_bad_request_is_answered_and_leaves_nothing(
    service: Service, bus: Bus, ark: Redis, body: bytes, status: int, clause: str
) -> None:
    assert await service.post(body) == (status, {"error": clause})
    assert await ark.dbsize() == 0
    assert await bus.client.exists(streams.FEDERATION_PINS) == 0


def post_whole(url: str, body: bytes) -> tuple[int, Any]:
    """As a client does that reads nothing before it has sent everything."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("POST", "/manifest", body)
        answer = connection.getresponse()
        return answer.status, json.load(answer)
    finally:
        connection.close()


async def test_a_body_of_100_mb_is_refused(service: Service) -> None:
    answer = await asyncio.to_thread(post_whole, service.url, b"x" * 100_000_000)
    assert answer == (413, {"error": "body must have at most 65536 bytes"})


async def test_a_body_that_does_not_say_its_length_is_bounded_too(service: Service) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 10_000

    async with service.http.post("/manifest", data=endless()) as answer:
        assert (answer.status, await answer.json()) == (413, {"error": "body must have at most 65536 bytes"})


async def test_a_body_that_would_unpack_to_more_is_refused(service: Service) -> None:
    answer = await service.post(b"x", **{"Content-Encoding": "gzip"})
    assert answer == (415, {"error": "body must not be encoded"})


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9001"])
async def test_a_page_cannot_register_a_node(service: Service, origin: str) -> None:
    answer = await service.post(Node().body(), Origin=origin)
    assert answer == (403, {"error": "a manifest must come from a node, not from a page"})


async def raw(service: Service, text: bytes) -> bytes:
    """What comes back for `text`, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]))
    writer.write(text)
    try:
        async with asyncio.timeout(8):
            return await reader.read()
    finally:
        writer.close()


POST = b"POST /manifest HTTP/1.1\r\nHost: localhost\r\n"


async def test_a_body_that_never_ends_is_answered_at_the_deadline(bus: Bus, ark: Redis, ark_url: str) -> None:
    async with running_service(bus, ark_url, body_s=0.2) as service:
        answer = await raw(service, POST + b"Content-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert answer.endswith(b'{"error":"body must arrive within 0.2 s"}')


async def test_a_head_that_never_ends_is_cut_off_at_the_deadline(bus: Bus, ark: Redis, ark_url: str) -> None:
    async with running_service(bus, ark_url, head_s=0.3) as service:
        assert await raw(service, POST) == b""


async def test_a_body_that_breaks_off_harms_nobody(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    port = int(service.url.rpartition(":")[2])
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"Content-Length: 10\r\n\r\n{")
        await writer.drain()
        writer.close()
    assert (await service.post(Node().body()))[0] == 200
    assert "Traceback" not in caplog.text


async def test_a_body_in_broken_chunks_is_a_bad_request_without_a_traceback(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await raw(service, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"Traceback" not in answer
    assert "Traceback" not in caplog.text


async def test_slow_bodies_do_not_keep_a_neighbour_waiting(service: Service) -> None:
    port = int(service.url.rpartition(":")[2])
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
    for _, writer in slow:
        writer.write(POST + b"Content-Length: 10\r\n\r\n{")
        await writer.drain()
    async with asyncio.timeout(5):
        assert (await service.post(Node().body()))[0] == 200
    for _, writer in slow:
        writer.close()


async def test_too_many_manifests_of_one_address_are_told_to_wait(bus: Bus, ark: Redis, ark_url: str) -> None:
    async with running_service(bus, ark_url, gate=Gate(most=0)) as service:
        async with service.http.post("/manifest", data=b"") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
            assert await answer.json() == {"error": "more than 0 manifests in 5 s from this address"}
        assert await service.discover() == {}


async def test_more_manifests_at_once_than_a_pool_has_connections_are_all_taken(service: Service) -> None:
    answers = await asyncio.gather(*(service.post(Node(f"n{number}").body()) for number in range(120)))
    assert {status for status, _ in answers} == {200}
    assert len(await service.discover()) == 120


async def test_no_redis_of_arks_is_told_with_when_to_come_again(bus: Bus) -> None:
    async with running_service(bus, "redis://127.0.0.1:1/0") as service:
        async with service.http.post("/manifest", data=Node().body()) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert await answer.json() == {"error": "ARK's Redis does not answer"}
        async with service.http.get("/discover") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert await answer.json() == {"error": "ARK's Redis does not answer"}


async def test_no_bus_is_told_with_when_to_come_again(ark: Redis, ark_url: str) -> None:
    bus = Bus("redis://127.0.0.1:1/0")
    await bus.broker.connect()
    async with running_service(bus, ark_url) as service, service.http.post("/manifest", data=Node().body()) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert await answer.json() == {"error": "the bus does not answer"}
    await bus.close()


async def test_refusals_are_logged_once_for_all(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ark_pulse")
    for _ in range(5):
        await service.post(b"[]")
    assert [record.getMessage() for record in caplog.records] == ["refused 1 with 400 (body must be a JSON object)"]


async def test_discovery_lists_all_hashes_as_they_are(service: Service, ark: Redis) -> None:
    await ark.hset("peer:by-hand", mapping={"hostname": "<b>", "latency": "12.50"})
    await ark.set("peer:text", "x")
    await ark.hset("other:thing", "a", "b")
    await service.post(Node().body())
    found = await service.discover()
    assert set(found) == {"by-hand", "ark-node-1"}
    assert found["by-hand"] == {"node_id": "by-hand", "hostname": "<b>", "latency": "12.50"}
    assert found["ark-node-1"] == await ark.hgetall("peer:ark-node-1")


async def test_discovery_of_nobody_is_an_empty_list(service: Service) -> None:
    async with service.http.get("/discover") as answer:
        assert await answer.json() == {"peers": [], "count": 0}


async def test_a_client_that_never_reads_who_is_there_is_cut_off(
    bus: Bus, ark: Redis, ark_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_READERS", 1)
    for number in range(15):
        await ark.hset(f"peer:n{number}", "note", "x" * 1_000_000)
    async with running_service(bus, ark_url, send_s=0.5) as service:
        answer = {"error": "too many requests at once"}
        with socket.create_connection(("127.0.0.1", int(service.url.rpartition(":")[2]))) as never_reading:
            never_reading.sendall(b"GET /discover HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: discovered(service, 503, answer))
            await until(lambda: discovered(service, 200, None))


async def test_clients_that_go_while_they_are_told_leave_no_traceback(
    service: Service, ark: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(15):
        await ark.hset(f"peer:n{number}", "note", "x" * 1_000_000)
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(service.url.rpartition(":")[2]), limit=1_024)
        writer.write(b"GET /discover HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.transport.abort()
    assert len(await service.discover()) == 15
    assert "Traceback" not in caplog.text


async def discovered(service: Service, status: int, body: object) -> bool:
    """Whether the answer has this status, and this body if one is given."""
    async with service.http.get("/discover") as answer:
        return answer.status == status and (body is None or await answer.json() == body)


@pytest.mark.parametrize(
    ("method", "path", "status", "clause"),
    [
        ("GET", "/manifest", 405, "method not allowed"),
        ("POST", "/discover", 405, "method not allowed"),
        ("GET", "/", 404, "not found"),
        ("GET", "/manifest/../etc", 404, "not found"),
    ],
)
async def test_what_is_not_served_is_answered_in_json(
    service: Service, method: str, path: str, status: int, clause: str
) -> None:
    async with service.http.request(method, path) as answer:
        assert (answer.status, await answer.json()) == (status, {"error": clause})
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9001", "10.0.0.1", "[::1"])
async def test_on_loopback_a_name_of_somebody_else_is_not_answered(service: Service, host: str) -> None:
    async with service.http.get("/discover", headers={"Host": host}) as answer:
        assert (answer.status, await answer.json()) == (403, {"error": "Host must be this machine's loopback"})


async def test_on_other_addresses_every_name_is_answered(bus: Bus, ark: Redis, ark_url: str) -> None:
    # No other machine reaches it, but it is none of the names that a server on loopback answers to.
    async with running_service(bus, ark_url, host="127.0.0.2") as service:
        url = service.url.replace("127.0.0.1", "127.0.0.2")
        async with service.http.get(f"{url}/discover", headers={"Host": "mesh.example"}) as answer:
            assert answer.status == 200


async def test_a_taken_port_is_named(bus: Bus, ark_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        with pytest.raises(SettingsError) as error:
            await _start(bus, ark_url, port)
    assert str(error.value) == f"FEDERATION_PORT {port} on 127.0.0.1 is already in use"


async def _start(bus: Bus, ark_url: str, port: int) -> Any:
    async with running_service(bus, ark_url, port=port):
        pass
