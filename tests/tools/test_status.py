"""`ark-pulse status` on a real bus; what it prints is in test_screen."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from processors.runtime.settings import Settings, load_settings
from processors.tools.overview import Overview, troubles
from processors.tools.status import DEADLINE_S, observe, status
from schemas import codec, streams
from schemas.answers import PartitionSeen
from schemas.metrics import SourceState
from tests.gateway.support import World, eventually, running_gateway, summary
from tests.servers import free_port


def settings(bus_url: str | None, tmp_path: Path, port: int | None = None) -> Settings:
    environment = {"ARK_STATE_DIR": str(tmp_path), "ARK_HTTP_PORT": str(port or free_port())}
    return load_settings(environment | ({} if bus_url is None else {"ARK_BUS_URL": bus_url}))


async def seen(bus_url: str | None, tmp_path: Path, port: int | None = None) -> Overview:
    overview, _ = await observe(await asyncio.to_thread(settings, bus_url, tmp_path, port))
    return overview


async def report(client: Redis, state: str, *, collector: str = "peers", age_s: int = 0, **values: object) -> None:
    seconds, _ = await client.time()
    source = SourceState(node="n", collector=collector, group="peers", state=state, since=1, **values)  # type: ignore[arg-type]
    fields = codec.entry_fields("source", 1, codec.encode(source))
    await client.xadd(streams.SOURCES, fields, id=f"{(seconds - age_s) * 1_000}-*")  # type: ignore[arg-type]


async def test_what_is_not_there_is_said_and_is_trouble(tmp_path: Path) -> None:
    port = free_port()
    overview = await seen(None, tmp_path, port)
    assert overview.bus.problem == f"no embedded server runs in {tmp_path}"
    assert overview.gateway.problem == f"no gateway at 127.0.0.1:{port}"
    assert troubles(overview) == ["no bus", "no gateway"]


async def test_a_bus_that_does_not_answer_is_told_without_its_password(tmp_path: Path) -> None:
    overview = await seen(f"redis://:secret@127.0.0.1:{free_port()}/0", tmp_path)
    assert overview.bus.problem.startswith("redis://127.0.0.1:")
    assert "secret" not in repr(overview)


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A listener that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_what_never_answers_is_given_up_in_time(silent_port: int, tmp_path: Path) -> None:
    began = time.monotonic()
    overview = await seen(f"redis://127.0.0.1:{silent_port}/0", tmp_path, silent_port)
    assert time.monotonic() - began < DEADLINE_S + 1
    assert overview.bus.problem == f"redis://127.0.0.1:{silent_port}/0 does not answer within 2 s"
    assert overview.gateway.problem == f"127.0.0.1:{silent_port} does not answer within 2 s"


async def test_the_server_is_described(server_url: str, redis_client: Redis, tmp_path: Path) -> None:
    bus = (await seen(server_url, tmp_path)).bus
    assert (bus.address, bus.problem, bus.persistence) == (server_url, "", "append-only file")
    assert bus.server.startswith(("Valkey ", "Redis "))
    assert bus.used_bytes > 0
    assert abs(bus.skew_ms) < 1_000


async def test_the_last_word_of_each_source_counts(server_url: str, redis_client: Redis, tmp_path: Path) -> None:
    await report(redis_client, "down", reason="no such file")
    await report(redis_client, "live", published=7, rejected=2, detail="by scanning")
    [source] = (await seen(server_url, tmp_path)).sources
    assert (source.state, source.level, source.reason, source.detail) == ("live", "ok", "", "by scanning")
    assert (source.published, source.rejected, source.answered_ms) == (7, 2, None)


async def test_a_live_source_that_fell_silent_is_stale(server_url: str, redis_client: Redis, tmp_path: Path) -> None:
    await report(redis_client, "live", age_s=60)
    [source] = (await seen(server_url, tmp_path)).sources
    assert (source.state, source.level) == ("stale", "trouble")
    assert source.reason.startswith("not heard of for 6")


async def test_a_half_is_what_its_newest_summary_says(server_url: str, redis_client: Redis, tmp_path: Path) -> None:
    await World(redis_client).memory("simulated", "simulated")
    federation, memory = (await seen(server_url, tmp_path)).halves
    assert (federation.source, memory.source) == (None, "simulated")
    assert memory.age_ms is not None
    assert 0 <= memory.age_ms < 10_000


async def test_a_live_half_without_a_newer_summary_for_15_seconds_is_stale(
    server_url: str, redis_client: Redis, tmp_path: Path
) -> None:
    seconds, _ = await redis_client.time()
    body = codec.encode(summary(ts=(seconds - 20) * 1_000))
    await redis_client.xadd(streams.METRICS_FEDERATION, codec.entry_fields("federation", 1, body))  # type: ignore[arg-type]
    assert (await seen(server_url, tmp_path)).halves[0].source == "stale"


async def test_each_partition_has_its_owner_and_its_lag(bus: Bus, server_url: str, tmp_path: Path) -> None:
    seconds, _ = await bus.client.time()
    await bus.client.hset(streams.meta_key("0"), mapping={"owner": "a", "lease_until": (seconds + 60) * 1_000})
    await bus.client.hset(
        streams.meta_key("1"), mapping={"owner": "a", "lease_until": (seconds - 60) * 1_000, "pos": "1-0"}
    )
    for number in range(1, 4):
        await bus.client.xadd(streams.events_key("1"), {"d": "x"}, id=f"{number}-0")
    partitions = (await seen(server_url, tmp_path)).partitions
    assert [partition.name for partition in partitions] == [*streams.live_partitions(16), "sim"]
    assert partitions[0] == PartitionSeen(name="0", owner="a")
    assert (partitions[1].owner, partitions[1].lag_entries) == (None, 2)
    assert partitions[1].lag_ms > 1_000_000


async def test_partitions_are_those_of_the_bus_whatever_is_set_here(
    redis_client: Redis, server_url: str, tmp_path: Path
) -> None:
    await redis_client.set(streams.PARTITIONS, 2)
    partitions = (await seen(server_url, tmp_path)).partitions
    assert [partition.name for partition in partitions] == ["0", "1", "sim"]


async def test_at_most_a_hundred_waiting_entries_are_counted(bus: Bus, server_url: str, tmp_path: Path) -> None:
    for _ in range(120):
        await bus.client.xadd(streams.events_key("3"), {"d": "x"})
    assert (await seen(server_url, tmp_path)).partitions[3].lag_entries == 100


async def test_a_full_server_is_looked_at_all_the_same(bus: Bus, server_url: str, tmp_path: Path) -> None:
    await bus.client.config_set("maxmemory", "1")
    try:
        overview = await seen(server_url, tmp_path)
    finally:
        await bus.client.config_set("maxmemory", "0")
    assert (overview.bus.problem, overview.bus.most_bytes, len(overview.partitions)) == ("", 1, 17)


async def test_what_a_foreign_hand_wrote_is_one_clause(redis_client: Redis, server_url: str, tmp_path: Path) -> None:
    await redis_client.set(streams.SOURCES, "no stream")
    assert "WRONGTYPE" in (await seen(server_url, tmp_path)).bus.problem


async def test_clients_are_counted_by_path(bus: Bus, server_url: str, tmp_path: Path) -> None:
    async with (
        running_gateway(bus) as gateway,
        aiohttp.ClientSession() as http,
        http.ws_connect(gateway.ws_url),
        http.ws_connect(gateway.ws_url),
        http.ws_connect(gateway.memory_url),
    ):
        await eventually(lambda: gateway.gate.clients == 3)
        overview = await seen(server_url, tmp_path, int(gateway.url.rpartition(":")[2]))
    assert overview.gateway.problem == ""
    assert overview.gateway.clients == {"/ws": 0, "/ws/federation": 2, "/ws/memory": 1, "/sse": 0}


async def test_a_port_of_another_program_is_no_gateway(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        problem = (await seen(None, tmp_path, port)).gateway.problem
    assert problem == f"no gateway: 127.0.0.1:{port} is in use by another program"


def test_json_is_one_object_and_trouble_is_exit_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(settings(None, tmp_path), json_text=True, watch=False) == 4
    assert json.loads(capsys.readouterr().out)["troubles"] == ["no bus", "no gateway"]


def test_names_cannot_drive_the_terminal(server_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def write() -> None:
        async with Redis.from_url(server_url) as client:
            await client.flushall()
            await report(client, "down", collector="\x1b[2Jx", reason="one\ntwo")

    asyncio.run(write())
    status(settings(server_url, tmp_path), json_text=False, watch=False)
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "one\\ntwo" in output


def test_nothing_is_cut_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = tmp_path / ("folder-" * 20)
    status(settings(None, deep), json_text=False, watch=False)
    assert f"bus              no embedded server runs in {deep}\n" in capsys.readouterr().out


def test_there_is_no_colour_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status(settings(None, tmp_path), json_text=False, watch=False)
    assert "\x1b" not in capsys.readouterr().out
