"""What the gateway's tests share: wire values, writers of the bus's streams, and a running gateway."""

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
from redis.asyncio import Redis

from processors.gateway.backlog import Kept
from processors.gateway.conversation import Services
from processors.gateway.fanout import DRAIN_S
from processors.gateway.gate import Gate
from processors.gateway.half import Half
from processors.gateway.history import History
from processors.gateway.hub import Hub
from processors.gateway.mesh import Mesh
from processors.gateway.past import Players
from processors.gateway.recovery import Recovery
from processors.gateway.server import Server
from processors.gateway.sockets import Sockets
from processors.gateway.sse import ServerSent
from processors.gateway.state import State
from processors.gateway.tail import Tail
from processors.gateway.traffic import Traffic
from processors.runtime.bus import Bus
from processors.runtime.http import HEAD_S
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import load_settings
from processors.runtime.tasks import end_tasks
from schemas import codec, streams
from schemas.frames import CLOSE_CODES
from schemas.metrics import (
    FederationSummary,
    GroupState,
    MemoryRecord,
    MemorySummary,
    NodeSummary,
    Origin,
    PeerRow,
    SourceState,
    SyncRecord,
    worst,
)
from schemas.positions import EntryId

NOW = 1_700_000_000_000
SETTINGS = load_settings({})


def summary(
    peers: Origin = "live", sync: Origin = "live", *, n: int = 1, ts: int = NOW, **values: Any
) -> FederationSummary:
    groups: dict[str, Any] = {"peers": GroupState(source=peers, as_of=ts), "sync": GroupState(source=sync, as_of=ts)}
    fields: dict[str, Any] = {
        "epoch": "e1",
        "n": n,
        "ts": ts,
        "as_of": ts,
        "source": worst(peers, sync),
        "partials": {},
    }
    return FederationSummary(**(fields | groups | values))


def memory_summary(
    reasoning: Origin = "live", code: Origin = "live", *, n: int = 1, ts: int = NOW, **values: Any
) -> MemorySummary:
    fields: dict[str, Any] = {"epoch": "e1", "n": n, "ts": ts, "as_of": ts, "partials": {}}
    return MemorySummary(**(fields | _memory_groups(reasoning, code, ts) | values))


def node(reasoning: Origin = "live", code: Origin = "live", *, ts: int = NOW, **values: Any) -> NodeSummary:
    return NodeSummary(**({"seen": ts} | _memory_groups(reasoning, code, ts) | values))


def _memory_groups(reasoning: Origin, code: Origin, ts: int) -> dict[str, Any]:
    groups = {"reasoning": GroupState(source=reasoning, as_of=ts), "code": GroupState(source=code, as_of=ts)}
    return groups | {"source": worst(reasoning, code)}


def log(message: str = "agent a: confidence 0.91, a query", **values: Any) -> MemoryRecord:
    fields: dict[str, Any] = {"ts": NOW, "node": "node-1", "id": 1, "severity": "consolidation", "source": "live"}
    return MemoryRecord(message=message, **(fields | values))


def row(peer: str, **values: Any) -> PeerRow:
    fields: dict[str, Any] = {
        "status": "online",
        "suspicion": 0.0,
        "data_shared": 0,
        "last_seen": NOW,
        "learnt_from": "redis",
    }
    return PeerRow(id=peer, **(fields | values))


def sync(sender: str = "a", **values: Any) -> SyncRecord:
    fields: dict[str, Any] = {
        "ts": NOW,
        "target": "b",
        "action": "memory_sync",
        "bytes": 2048,
        "source": "live",
        "ok": True,
    }
    return SyncRecord(sender=sender, **(fields | values))


def source(group: Any = "peers", **values: Any) -> SourceState:
    fields: dict[str, Any] = {
        "node": "node-1",
        "collector": f"{group}-collector",
        "state": "live",
        "since": NOW,
        "as_of": NOW,
    }
    return SourceState(group=group, **(fields | values))


def hold(half: Half[Any], value: FederationSummary | MemorySummary) -> None:
    """Have a half hold a summary, as the entry of its commit has it."""
    half.hold(value, Kept(EntryId(value.ts, value.n), codec.encode(value)))


class World:
    """Writes the bus as the aggregators and collectors do, one commit at a time."""

    def __init__(self, client: Redis, epoch: str = "e1") -> None:
        self.client = client
        self.epoch = epoch
        self.n = 0
        self.changes_ids: dict[str, str] = {}

    async def now(self) -> int:
        seconds, micros = await self.client.time()
        return int(seconds * 1000 + micros // 1000)

    async def _entry(self, kind: str, body: bytes, **more: str) -> tuple[str, dict[Any, Any]]:
        """Id and fields of the next commit's entry."""
        self.n += 1
        ts = await self.now()
        return f"{ts}-{self.n}", {**codec.entry_fields(kind, ts, body), "e": self.epoch, **more}

    async def _add(self, stream: str, kind: str, body: bytes) -> None:
        entry, fields = await self._entry(kind, body)
        await self.client.xadd(stream, fields, id=entry)

    async def summary(self, peers: Origin = "live", sync: Origin = "live", **values: Any) -> None:
        ts = await self.now()
        body = summary(peers, sync, ts=ts, n=self.n + 1, **({"epoch": self.epoch} | values))
        await self._add(streams.METRICS_FEDERATION, "federation", codec.encode(body))

    async def memory(self, reasoning: Origin = "live", code: Origin = "live", **values: Any) -> None:
        ts = await self.now()
        body = memory_summary(reasoning, code, ts=ts, n=self.n + 1, **({"epoch": self.epoch} | values))
        await self._add(streams.METRICS_MEMORY, "memory", codec.encode(body))

    async def roster(self, change: Mapping[str, PeerRow | None], partition: str = "0", **more: str) -> None:
        key = streams.peers_key(partition)
        previous = more.pop("prev", self.changes_ids.get(partition, "0-0"))
        entry, fields = await self._entry("roster", codec.encode(change), prev=previous)
        self.changes_ids[partition] = entry
        async with self.client.pipeline(transaction=True) as pipe:
            for peer, value in change.items():
                pipe.hdel(key, peer) if value is None else pipe.hset(key, peer, codec.encode(value))
            pipe.xadd(streams.changes_key(partition), fields, id=entry)
            pipe.hset(streams.meta_key(partition), mapping={"epoch": self.epoch, "changes_id": entry})
            await pipe.execute()

    async def sync(self, record: SyncRecord) -> None:
        await self._add(streams.FEED_SYNC, "sync", codec.encode(record))

    async def log(self, record: MemoryRecord) -> None:
        await self._add(streams.FEED_MEMORY, "memory", codec.encode(record))

    async def heartbeat(self, *groups: str, state: str = "live") -> None:
        for group in groups or ("peers", "sync"):
            ts = await self.now()
            body = codec.encode(source(group, state=state, as_of=ts))
            await self.client.xadd(streams.SOURCES, codec.entry_fields("source", ts, body))  # type: ignore[arg-type]


@dataclasses.dataclass
class Gateway:
    """A running gateway on a free port."""

    state: State
    hub: Hub
    sockets: Sockets
    server: Server
    services: Services
    url: str

    @property
    def gate(self) -> Gate:
        return self.services.gate

    def cut(self, path: str) -> None:
        """Cut the connections of a path's clients off."""
        for client in list(self.sockets._clients[path]):
            client.transport.abort()

    @property
    def mesh(self) -> Mesh:
        return self.state.mesh

    @property
    def ws_url(self) -> str:
        return f"{self.url}/ws/federation"

    @property
    def memory_url(self) -> str:
        return f"{self.url}/ws/memory"

    @property
    def v1_url(self) -> str:
        return f"{self.url}/ws"


@contextlib.asynccontextmanager
async def running_gateway(
    bus: Bus,
    *,
    tail: bool = True,
    head_s: float = HEAD_S,
    drain_s: float = DRAIN_S,
    gate: Gate | None = None,
) -> AsyncIterator[Gateway]:
    state = State(16)
    gate = gate or Gate(SETTINGS)
    bus.failure = asyncio.get_running_loop().create_future()
    hub = Hub(state, bus.clock, bus.guard, Traffic(), drain_s=drain_s)
    tailing = Tail(bus, state, hub.note_change)
    if not tail:
        tailing.progress.note_ready()
    recovery = Recovery(hub, History(bus, state), tailing.progress, bus.clock)
    services = Services(hub, recovery, Players(bus, state), gate, "gateway-1")
    sockets, sent = Sockets(services), ServerSent(services)
    server = Server(state, services, sockets, sent, MetricsRegistry("gateway"), head_s=head_s)
    port = await server.start("127.0.0.1", 0)
    parts = [gate.run(), *([tailing.run()] if tail else [])]
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield Gateway(state, hub, sockets, server, services, f"http://127.0.0.1:{port}")
        for task in tasks:
            assert not task.done(), task.exception()
        assert not bus.failure.done(), bus.failure.exception()
    finally:
        await end_tasks(tasks)
        await asyncio.gather(sockets.close_all(CLOSE_CODES["going_away"]), sent.close_all(CLOSE_CODES["going_away"]))
        await server.stop()


def tasks_of_clients() -> list[str]:
    """Names of what still runs for clients, present or gone."""
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks() if not task.done())
    return [
        name for name in names if name.split(".")[0] in {"Fanout", "Group", "Conversation", "_end"} or "refresh" in name
    ]


async def eventually(condition: Callable[[], object], within_s: float = 8.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def frame_where(
    ws: aiohttp.ClientWebSocketResponse, condition: Callable[[dict[str, Any]], object], within_s: float = 8.0
) -> dict[str, Any]:
    """The next frame that meets `condition`."""
    async with asyncio.timeout(within_s):
        while True:
            frame: dict[str, Any] = await ws.receive_json()
            if condition(frame):
                return frame


async def never_reading(url: str, path: str = "/ws/federation", *said: Mapping[str, Any]) -> socket.socket:
    """A client with a tiny receive buffer that shakes hands, says something, and never reads again."""
    host, port = url.removeprefix("http://").split(":")
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    raw.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(raw, (host, int(port)))
    await loop.sock_sendall(
        raw,
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode(),
    )
    assert (await loop.sock_recv(raw, 12)) == b"HTTP/1.1 101"
    for each in said:
        body = codec.encode(each)
        # Masked with nothing but zeros.
        await loop.sock_sendall(raw, bytes((0x81, 0x80 | len(body))) + bytes(4) + body)
    return raw
