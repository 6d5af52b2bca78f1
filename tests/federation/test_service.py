"""The stage as its process runs it, and what becomes of a manifest on its way to the mesh."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.collectors.peer_reader import PeerCollector
from processors.federation.service import serve
from processors.runtime.bus import Bus
from processors.runtime.errors import SettingsError
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, load_settings
from schemas.events import Heartbeat
from tests.collectors.helpers import LIVE, new_status, published, running, until
from tests.federation.support import Node, Service, base64_of
from tests.servers import free_port


@pytest.fixture
def settings(ark_url: str) -> Settings:
    return load_settings({"REDIS_URL": ark_url, "FEDERATION_PORT": str(free_port())})


@contextlib.asynccontextmanager
async def serving(bus: Bus, settings: Settings) -> AsyncIterator[Service]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(bus, settings, stop, MetricsRegistry("federation")))
    url = f"http://{settings.federation_host}:{settings.federation_port}"
    async with aiohttp.ClientSession(url) as http:
        await until(lambda: answers(http))
        yield Service(url, http)
    stop.set()
    await asyncio.wait_for(task, 3)


@pytest.fixture
async def service(bus: Bus, ark: Redis, settings: Settings) -> AsyncIterator[Service]:
    async with serving(bus, settings) as running_service:
        yield running_service


async def answers(http: aiohttp.ClientSession) -> bool:
    try:
        async with http.get("/discover") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectorError:
        return False


async def test_a_manifest_becomes_one_heartbeat_that_says_where_it_was_learnt(
    bus: Bus, service: Service, ark_url: str
) -> None:
    async with running(PeerCollector(bus, ark_url, LIVE, new_status()).run()):
        await service.post(Node().body(hostname="one.local", latency=3, trust_tier="core"))
        await until(lambda: published(bus))
        await service.post(Node("last").body())
        events = await until(lambda: heartbeats_of(bus, "last"))
    [heartbeat] = [event for event in events if event.peer == "ark-node-1"]
    assert said_in(heartbeat) == {
        "hostname": "one.local",
        "tier": "verified",
        "status": "online",
        "latency_ms": 3.0,
        "learnt_from": "manifest",
        "expires": True,
    }


async def heartbeats_of(bus: Bus, peer: str) -> list[Heartbeat]:
    """All heartbeats, once one of `peer` is there."""
    found = [event for event in await published(bus) if isinstance(event, Heartbeat)]
    return found if any(event.peer == peer for event in found) else []


def said_in(heartbeat: Heartbeat) -> dict[str, object]:
    names = ("hostname", "tier", "status", "latency_ms", "learnt_from", "expires")
    return {name: getattr(heartbeat, name) for name in names}


async def test_a_stop_ends_it_while_a_request_is_under_way(bus: Bus, ark: Redis, settings: Settings) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(bus, settings, stop, MetricsRegistry("federation")))

    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection(settings.federation_host, settings.federation_port)
        except ConnectionRefusedError:
            return None

    _, writer = await until(connected)
    writer.write(b"POST /manifest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    await writer.drain()
    stop.set()
    async with asyncio.timeout(4):
        await task
    writer.close()


async def test_trusted_keys_are_those_of_the_setting(bus: Bus, ark: Redis, settings: Settings, tmp_path: Path) -> None:
    node = Node()
    file = tmp_path / "keys"
    file.write_text(f"core {base64_of(node.pubkey)} ark-node-1\n")
    async with serving(bus, dataclasses.replace(settings, ark_trusted_keys_file=file)) as service:
        await service.post(node.body(trust_tier="core"))
    assert await ark.hget("peer:ark-node-1", "trust_tier") == "core"


async def test_a_file_of_trusted_keys_that_cannot_be_used_ends_it(bus: Bus, settings: Settings, tmp_path: Path) -> None:
    changed = dataclasses.replace(settings, ark_trusted_keys_file=tmp_path / "nothing")
    with pytest.raises(SettingsError, match=r"^ARK_TRUSTED_KEYS_FILE cannot be read: no such file or directory$"):
        await serve(bus, changed, asyncio.Event(), MetricsRegistry("federation"))
