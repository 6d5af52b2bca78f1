import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from processors.runtime.health import CHECK_S, Finding, examine
from processors.runtime.settings import load_settings
from schemas import codec, streams
from schemas.metrics import SourceState
from tests.servers import free_port

Found = dict[str, Finding]


async def _examine(bus_url: str | None, **environment: str) -> Found:
    settings = await asyncio.to_thread(load_settings, {"ARK_HTTP_PORT": str(free_port()), **environment})
    return {finding.check: finding for finding in await examine(settings, bus_url)}


async def _report(client: Redis, state: str, collector: str = "peers", reason: str = "", **more: str) -> None:
    source = SourceState(node="n", collector=collector, group="peers", state=state, since=1, reason=reason)  # type: ignore[arg-type]
    fields = codec.entry_fields("source", 1, codec.encode(source))
    await client.xadd(streams.SOURCES, fields, **more)  # type: ignore[arg-type]


async def test_a_good_bus_is_ok(redis_client: Redis, server_url: str) -> None:
    await redis_client.set(streams.PARTITIONS, 16)
    found = await _examine(server_url)
    assert [found[check].level for check in ("bus", "partitions", "clock")] == ["ok", "ok", "ok"]


async def test_a_bus_that_evicts_is_trouble(redis_client: Redis, server_url: str) -> None:
    await redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = await _examine(server_url)
    finally:
        await redis_client.config_set("maxmemory-policy", "noeviction")
    assert found["bus"].text.endswith("has maxmemory-policy allkeys-lru, and may drop what is not yet counted")


async def test_a_bus_of_another_number_of_partitions_is_trouble(redis_client: Redis, server_url: str) -> None:
    await redis_client.set(streams.PARTITIONS, 8)
    found = (await _examine(server_url))["partitions"]
    assert (found.level, found.text) == ("trouble", "ARK_PARTITIONS is 16, but this bus was made with 8")


async def test_a_bus_that_does_not_answer_is_trouble_without_its_password() -> None:
    found = (await _examine(f"redis://:secret@127.0.0.1:{free_port()}/0"))["bus"]
    assert (found.level, "secret" in found.text) == ("trouble", False)


async def test_no_bus_is_trouble() -> None:
    assert (await _examine(None, ARK_STATE_DIR="nowhere"))["bus"].text == (
        "ARK_BUS_URL is unset and no embedded server runs in nowhere"
    )


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A listener that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_what_never_answers_is_given_up_in_time(silent_port: int) -> None:
    began = time.monotonic()
    url = f"redis://127.0.0.1:{silent_port}/0"
    await _examine(url, REDIS_URL=url, ARK_HTTP_PORT=str(silent_port))
    assert time.monotonic() - began < CHECK_S + 1


async def test_a_source_that_does_not_answer_is_a_warning() -> None:
    assert (await _examine(None, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"))["redis"].level == "warning"


async def test_a_source_without_notifications_is_a_warning(redis_client: Redis, server_url: str) -> None:
    await redis_client.config_set("notify-keyspace-events", "Ex")
    found = await _examine(None, REDIS_URL=server_url)
    await redis_client.config_set("notify-keyspace-events", "")
    assert (found["redis"].level, found["notifications"].text) == (
        "ok",
        'notify-keyspace-events is "xE", without Kghl',
    )


async def test_a_source_that_refuses_config_is_a_warning(redis_client: Redis, server_url: str) -> None:
    await redis_client.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"]
    )
    found = await _examine(None, REDIS_URL=server_url.replace("redis://", "redis://limited:pw@"))
    await redis_client.acl_deluser("limited")
    assert found["notifications"].text == "the server refuses CONFIG, so changes are found by scanning"


async def test_a_port_of_another_program_is_trouble() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = (await _examine(None, ARK_HTTP_PORT=str(port)))["gateway"]
    assert (found.level, found.text) == ("trouble", f"127.0.0.1:{port} is in use by another program")


async def test_a_simulated_source_is_a_warning_with_its_reason(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "simulated", "simulator", "never live here")
    found = (await _examine(server_url))["source simulator"]
    assert (found.level, found.text) == ("warning", "n: peers is simulated (never live here)")


async def test_the_newest_report_of_a_source_counts(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "stale")
    await _report(redis_client, "live")
    assert (await _examine(server_url))["source peers"].level == "ok"


async def test_a_source_that_fell_silent_is_a_warning(redis_client: Redis, server_url: str) -> None:
    seconds, _ = await redis_client.time()
    await _report(redis_client, "live", id=f"{(seconds - 60) * 1_000}-1")
    assert (await _examine(server_url))["source peers"].text.startswith("n has not reported for 6")


async def test_a_bus_on_which_nobody_reported_is_a_warning(redis_client: Redis, server_url: str) -> None:
    assert (await _examine(server_url))["sources"].text == "no collector has reported yet"
