"""From a write or commit at a source to its entry on `ark:{p}:events`, one change at a time.

Both ends are on this process's own clock: it follows the streams with a blocking read, for the ids of entries have no
more than milliseconds. What the reading takes on its way back, and its decoding, is thus counted too. A command is
timed from before it is sent, a commit from its end, a manifest from before it is posted.
"""

import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from processors.runtime.bus import BLOCK_MS, Bus
from schemas import streams
from tests.benchmarks.probes import Holds, Probe, probing
from tests.benchmarks.tables import quantile, table
from tests.databases import make_ark, make_reasoning, write_session
from tests.federation.support import Node
from tests.servers import free_port
from tests.stack import Stack, running_stack

__all__ = ["measure"]

_RUNS: Final = 3
_SAMPLES: Final = 300
# It is polled: a change waits for half of the interval at the median, however few the samples.
_POLL_S: Final = 5.0
_POLLED_SAMPLES: Final = 20
_PARTITIONS: Final = 16
_ROWS: Final = 1_000
_USES: Final = 2
# Longer than the pace of publications, so that each change is the first after a pause; longer still where reading may
# take no more than a twentieth of the time.
_PAUSE_S: Final = (0.02, 0.06)
_PAUSE_OF_ROWS_S: Final = (0.12, 0.25)


_Databases: TypeAlias = tuple[sqlite3.Connection, sqlite3.Connection]
"""`reasoning_logs.db` and `ark.db`."""


class _Entries:
    """The entries of all event streams, in the form that a probe takes."""

    def __init__(self, bus: Bus, positions: dict[str, str]) -> None:
        self._bus = bus
        self._positions = positions
        self._bodies: list[str] = []

    async def receive_str(self) -> str:
        """The body of the next entry."""
        while not self._bodies:
            found = await self._bus.read_many(self._positions, block_ms=BLOCK_MS)
            self._positions |= {key: entries[-1][0].decode() for key, entries in found.items()}
            self._bodies = [fields[b"d"].decode() for entries in found.values() for _, fields in entries]
        return self._bodies.pop(0)


class _Other:
    """Another federation service, which knows one peer."""

    def __init__(self, port: int) -> None:
        self._port = port
        # What the peer says of itself.
        self.latency_ms = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While it answers GET /discover."""
        app = web.Application()
        app.router.add_get("/discover", self._discover)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._port).start()
        try:
            yield
        finally:
            await runner.cleanup()

    async def _discover(self, _: web.Request) -> web.Response:
        peer = {"node_id": "far", "hostname": "far", "trust_tier": "verified", "latency": str(self.latency_ms)}
        return web.json_response({"peers": [peer], "count": 1})


class _Sources(NamedTuple):
    """Everything that can be changed."""

    ark: Redis
    reasoning: sqlite3.Connection
    code: sqlite3.Connection
    service: str
    http: aiohttp.ClientSession
    node: Node
    other: _Other
    probe: Probe


_Change = Callable[[_Sources, int], Awaitable[tuple[float, Holds]]]


def _told(kind: str, **fields: object) -> Holds:
    """Whether an entry has an event of the kind with these fields."""
    expected = {"t": kind, **fields}.items()
    return lambda batch: any(expected <= _hashable(event).items() for event in batch)


def _hashable(event: Any) -> dict[str, Any]:
    return {name: value for name, value in event.items() if not isinstance(value, dict | list)}


async def _hset(sources: _Sources, number: int) -> tuple[float, Holds]:
    latency = number + 0.5
    began = time.perf_counter()
    await sources.ark.hset("peer:probe", items=["hostname", "probe", "trust_tier", "core", "latency", str(latency)])
    return began, _told("heartbeat", peer="probe", latency_ms=latency)


async def _new_peer(sources: _Sources, name: str) -> None:
    await sources.ark.hset(f"peer:{name}", "hostname", name)
    await sources.probe.first(_told("heartbeat", peer=name))
    await asyncio.sleep(random.uniform(*_PAUSE_S))


async def _delete(sources: _Sources, number: int) -> tuple[float, Holds]:
    name = f"deleted-{number}"
    await _new_peer(sources, name)
    began = time.perf_counter()
    await sources.ark.delete(f"peer:{name}")
    return began, _told("peer_gone", peer=name)


async def _expire(sources: _Sources, number: int) -> tuple[float, Holds]:
    name = f"expired-{number}"
    await _new_peer(sources, name)
    began = time.perf_counter()
    await sources.ark.pexpire(f"peer:{name}", 1)
    return began, _told("peer_gone", peer=name)


async def _lpush(sources: _Sources, number: int) -> tuple[float, Holds]:
    sync = {"timestamp": int(time.time() * 1000), "source": "a", "target": "b", "bytes": number + 1, "success": True}
    began = time.perf_counter()
    await sources.ark.lpush("sync_events", json.dumps(sync))
    return began, _told("sync_out", bytes=number + 1)


async def _session(sources: _Sources, number: int) -> tuple[float, Holds]:
    write_session(sources.reasoning, f"session {number}", [0.5, 0.75, 1.0], query=f"probe {number}")
    return time.perf_counter(), _told("session", query=f"probe {number}")


async def _use(sources: _Sources, number: int) -> tuple[float, Holds]:
    pattern = f"p{random.randrange(_ROWS)}"
    sources.code.execute("UPDATE code_patterns SET usage_count = usage_count + 1 WHERE pattern_id = ?", (pattern,))
    return time.perf_counter(), _told("code", usage=_USES * _ROWS + number + 1)


async def _manifest(sources: _Sources, number: int) -> tuple[float, Holds]:
    latency = number + 0.5
    body = sources.node.body(seq=number, latency=latency)
    began = time.perf_counter()
    async with sources.http.post(f"{sources.service}/manifest", data=body) as answer:
        assert answer.status == 200, await answer.text()
    return began, _told("heartbeat", peer=sources.node.node_id, latency_ms=latency)


async def _discovered(sources: _Sources, number: int) -> tuple[float, Holds]:
    sources.other.latency_ms = number + 1.5
    return time.perf_counter(), _told("heartbeat", peer="far", latency_ms=sources.other.latency_ms)


class _Kind(NamedTuple):
    """One kind of change, how often it is made, and after what pauses."""

    change: _Change
    samples: int = _SAMPLES
    pause_s: tuple[float, float] = _PAUSE_S


_KINDS: Final = {
    "HSET peer:x": _Kind(_hset),
    "DEL peer:x": _Kind(_delete),
    "expiry of peer:x, 1 ms after PEXPIRE": _Kind(_expire),
    "LPUSH sync_events": _Kind(_lpush),
    "POST /manifest": _Kind(_manifest),
    "commit of a session": _Kind(_session),
    "UPDATE of ark.db": _Kind(_use, pause_s=_PAUSE_OF_ROWS_S),
    "another service's /discover": _Kind(_discovered, _POLLED_SAMPLES, (0.0, _POLL_S)),
}
# What depends on the journal; the rest is measured once only.
_JOURNALED: Final = ("commit of a session", "UPDATE of ark.db")


async def _kind(sources: _Sources, name: str) -> list[float]:
    """Milliseconds from each change to its entry."""
    samples: list[float] = []
    kind = _KINDS[name]
    for number in range(kind.samples):
        await asyncio.sleep(random.uniform(*kind.pause_s))
        began, holds = await kind.change(sources, number)
        samples.append((await sources.probe.first(holds, 60) - began) * 1000)
    return samples


@contextlib.asynccontextmanager
async def _following(stack: Stack) -> AsyncIterator[Probe]:
    """A probe on all event streams, from what is their newest entry now."""
    bus = Bus((stack.directory / "state" / "bus.url").read_text(encoding="utf-8").strip())
    await bus.broker.connect()
    try:
        keys = map(streams.events_key, streams.live_partitions(_PARTITIONS))
        newest = {key: await bus.newest(key) for key in keys}
        positions = {key: "0-0" if entry is None else entry[0].decode() for key, entry in newest.items()}
        async with probing(_Entries(bus, positions)) as probe:
            yield probe
    finally:
        await bus.close()


@contextlib.contextmanager
def _databases(directory: Path, mode: str) -> Iterator[_Databases]:
    with (
        contextlib.closing(make_reasoning(directory / "data" / "reasoning_logs.db", mode)) as reasoning,
        contextlib.closing(make_ark(directory / "data" / "ark.db", mode)) as code,
    ):
        code.execute("BEGIN")
        code.executemany(
            "INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet, usage_count) VALUES (?, '', ?, ?)",
            ((f"p{number}", f"snippet {number}", _USES) for number in range(_ROWS)),
        )
        code.execute("COMMIT")
        yield reasoning, code


async def _measure(stack: Stack, url: str, databases: _Databases, mode: str) -> dict[str, list[float]]:
    other = _Other(int(urlsplit(stack.environment["ARK_FEDERATION_URL"]).port or 0))
    async with other.running(), Redis.from_url(url) as ark, aiohttp.ClientSession() as http, _following(stack) as probe:
        service = f"http://127.0.0.1:{stack.federation_port}"
        sources = _Sources(ark, *databases, service, http, Node("manifest"), other, probe)
        names = _KINDS if mode == "delete" else _JOURNALED
        return {f"{name}, {mode}" if name in _JOURNALED else name: await _kind(sources, name) for name in names}


def _run(mode: str) -> dict[str, list[float]]:
    """Milliseconds by kind of change, of one stack."""
    other = f"http://127.0.0.1:{free_port()}"
    with (
        tempfile.TemporaryDirectory() as name,
        _databases(Path(name), mode) as databases,
        running_stack(Path(name), ARK_FEDERATION_URL=other) as (stack, source),
    ):
        stack.federation(lambda s: s["source"] == "live")
        stack.memory(lambda s: s.get("dedup_rate") == 50)
        return asyncio.run(_measure(stack, source.url, databases, mode))


def measure() -> str:
    """The table."""
    random.seed(1)
    runs = [_run("delete") | _run("wal") for _ in range(_RUNS)]
    rows: list[list[object]] = []
    for name, samples in runs[0].items():
        shares = [[quantile(run[name], share) for run in runs] for share in (0.5, 0.99)]
        rows.append([name, f"{_RUNS} x {len(samples)}", *(f"{statistics.median(share):.1f}" for share in shares)])
    return table(["change", "samples", "p50 ms", "p99 ms"], rows)
