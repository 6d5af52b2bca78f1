"""Another federation service on its way to the summary: whose word counts for the peers, and where they were learnt."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from processors.collectors import discovery_reader
from processors.collectors.service import serve
from processors.runtime.bus import Bus, Entry
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, load_settings
from schemas import codec, streams
from schemas.metrics import PeerRow
from tests.collectors.helpers import until
from tests.federation.support import Node, Service, running_service
from tests.integration.aggregation import aggregating, summary_when

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_reader, "_POLL_S", 0.05)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a node whose Redis does not answer."""
    folder = str(tmp_path)
    return load_settings(
        {"REDIS_URL": NOWHERE, "ARK_STATE_DIR": folder, "ARK_BASE_PATH": folder, "ARK_SIMULATE": "never"}
    )


@contextlib.asynccontextmanager
async def collecting(bus: Bus, settings: Settings, other: str) -> AsyncIterator[None]:
    """The collectors of a node that follows `other`, and the aggregators."""
    stop = asyncio.Event()
    async with aggregating(bus.url):
        task = asyncio.create_task(
            serve(bus, dataclasses.replace(settings, ark_federation_url=other), stop, MetricsRegistry("collectors"))
        )
        try:
            yield
        finally:
            stop.set()
            await task


async def row_of(bus: Bus, peer: str) -> PeerRow | None:
    found = cast("bytes | None", await bus.client.hget(streams.peers_key(streams.partition_of(peer, 16)), peer))
    return None if found is None else codec.decode_peer(found)


@pytest.fixture
def here(server_url: str) -> str:
    """ARK's Redis of this node."""
    return server_url.removesuffix("0") + "1"


@pytest.fixture
async def other(bus: Bus, server_url: str) -> AsyncIterator[Service]:
    """A federation service over another Redis."""
    async with running_service(bus, server_url.removesuffix("0") + "2") as service:
        yield service


async def test_without_a_redis_the_peers_are_those_of_the_other_service(
    bus: Bus, other: Service, settings: Settings
) -> None:
    await other.post(Node("far").body(latency=7))
    async with collecting(bus, settings, other.url):
        summary = await summary_when(bus, lambda s: s.total_peers == 1 and s.peers.source == "live")
        row = await row_of(bus, "far")
    assert (summary.online_peers, summary.avg_latency) == (1, 7)
    assert summary.sync.source == "stale"
    assert row is not None
    assert (row.learnt_from, row.status) == (other.url.removeprefix("http://"), "online")


async def test_a_second_service_that_vanishes_leaves_our_own_peers_live_and_its_peers_known(
    bus: Bus, redis_client: Redis, here: str, server_url: str, settings: Settings
) -> None:
    async with contextlib.AsyncExitStack() as stack, contextlib.AsyncExitStack() as far:
        ark = await stack.enter_async_context(Redis.from_url(here))
        other = await far.enter_async_context(running_service(bus, server_url.removesuffix("0") + "2"))
        await other.post(Node("far").body())
        await stack.enter_async_context(collecting(bus, dataclasses.replace(settings, redis_url=here), other.url))
        await ark.hset("peer:near", "latency", 5)
        await summary_when(bus, lambda s: s.total_peers == 2 and s.source == "live")
        await far.aclose()
        await until(lambda: discovery_is(bus, "stale"))
        await ark.hset("peer:near", "latency", 9)
        summary = await summary_when(bus, lambda s: s.avg_latency == 9)
    assert (summary.peers.source, summary.source, summary.total_peers, summary.online_peers) == ("live", "live", 2, 2)


async def discovery_is(bus: Bus, state: str) -> bool:
    entries = cast("list[Entry]", await bus.client.xrevrange(streams.SOURCES, count=20))
    states = [codec.decode_source(fields) for _, fields in entries]
    return next((each.state == state for each in states if each.collector == "discovery"), False)


async def test_a_service_over_our_own_redis_adds_nothing(
    bus: Bus, redis_client: Redis, here: str, settings: Settings
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        ark = await stack.enter_async_context(Redis.from_url(here))
        same = await stack.enter_async_context(running_service(bus, here))
        await stack.enter_async_context(collecting(bus, dataclasses.replace(settings, redis_url=here), same.url))
        await summary_when(bus, lambda s: s.source == "live")
        await ark.hset("peer:a", "latency", 1)
        await summary_when(bus, lambda s: s.avg_latency == 1)
        await until(lambda: published_from(bus, same, "a"))
        await ark.hset("peer:a", "latency", 2)
        summary = await summary_when(bus, lambda s: s.avg_latency == 2)
        row = await row_of(bus, "a")
    assert summary.heartbeats_total == 2
    assert row is not None
    assert row.learnt_from == "redis"


async def published_from(bus: Bus, service: Service, peer: str) -> bool:
    """Whether what `service` lists of `peer` was published."""
    collector = f"discovery:{service.url.removeprefix('http://')}"
    key = streams.published_key(streams.partition_of(peer, 16), collector)
    return bool(await bus.client.hexists(key, peer))
