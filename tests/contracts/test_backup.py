"""A backup of one kind of bus is that bus on any other kind."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.cli import OK, main
from processors.runtime.connection import open_client
from schemas import codec, streams
from schemas.events import Heartbeat


async def run(url: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setenv("ARK_BUS_URL", url)
    assert await asyncio.to_thread(main, ["bus", *arguments]) == OK


async def contents(client: Redis) -> dict[bytes, Any]:
    held: dict[bytes, Any] = {}
    async for key in client.scan_iter(count=1_000):
        if await client.type(key) == b"hash":
            held[key] = await client.hgetall(key)
        elif await client.type(key) == b"stream":
            held[key] = (await client.xinfo_stream(key))["last-generated-id"], await client.xrange(key)
        else:
            held[key] = await client.get(key)
    return held


@pytest.fixture
async def urls(server_url: str, redis7_url: str, cluster_url: str) -> list[str]:
    """All kinds of buses, empty, and the first of them again."""
    for url in (server_url, redis7_url, cluster_url):
        async with open_client(url) as client:
            await client.flushall()
    return [server_url, redis7_url, cluster_url, server_url]


async def test_a_bus_goes_from_each_kind_of_server_to_each_other(
    urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(urls[0]) as client:
        await client.set(streams.PARTITIONS, 5)
        for name in [*streams.live_partitions(5), streams.SIMULATED]:
            for number in range(1, 121):
                body = codec.encode(Heartbeat(peer=f"p{number}", ts=number))
                await client.xadd(streams.events_key(name), {"v": 1, "t": "heartbeat", "d": body}, id=f"{number}-1")
            await client.hset(streams.state_key(name), mapping={f"peer:p{number}": b"\xff" for number in range(700)})
            await client.hset(streams.cursors_key(name), "peers", "1")
            await client.hset(streams.published_key(name, "peers"), b"\xff", b"\x00")
            await client.hset(streams.meta_key(name), mapping={"epoch": "e", "n": 7, "pos": "600-1", "counter": 3})
            await client.xadd(streams.dead_key(name), {"t": "dead"}, id="5-1")
            await client.xtrim(streams.dead_key(name), maxlen=0, approximate=False)
        await client.xadd(streams.DEAD, {"t": "dead"}, id="5-1")
        await client.hset(streams.writer_key(streams.DEAD), mapping={"n": 7, "from:3": "5-1"})
        await client.hset(streams.FEDERATION_PINS, "node", "pin")
        before = await contents(client)
    path = str(tmp_path / "b")
    for source, target in pairwise(urls):
        await run(source, monkeypatch, "backup", "--force", path)
        await run(source, monkeypatch, "reset", "--yes", "--pins")
        async with open_client(source) as client:
            assert await contents(client) == {}
        await run(target, monkeypatch, "restore", path)
        async with open_client(target) as client:
            assert await contents(client) == before


async def test_each_kind_of_bus_takes_another_number_of_partitions(
    urls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARK_STATE_DIR", str(tmp_path / "state"))
    for url in urls[:3]:
        async with open_client(url) as client:
            await client.set(streams.PARTITIONS, 4)
            rows = {f"p{number}": "row" for number in range(50)}
            for peer, row in rows.items():
                await client.hset(streams.peers_key(streams.partition_of(peer, 4)), peer, row)
            await run(url, monkeypatch, "repartition", "7")
            found: dict[str, str] = {}
            for name in streams.live_partitions(7):
                share: Any = await client.hgetall(streams.peers_key(name))
                assert all(streams.partition_of(peer.decode(), 7) == name for peer in share)
                found |= {peer.decode(): row.decode() for peer, row in share.items()}
            assert found == rows
            assert await client.get(streams.PARTITIONS) == b"7"
