"""From a write to ARK's Redis to the frame at a WebSocket client, through all processes, one change at a time."""

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from tests.benchmarks.probes import Frame, Holds, connected
from tests.benchmarks.tables import quantile, table
from tests.stack import Stack, running_stack

__all__ = ["measure"]

_SAMPLES: Final = 200
# Longer than the pace of the drop-in frames, so that each change is the first after a pause.
_PAUSE_S: Final = (0.12, 0.25)


def _peer(frame: Frame, name: str) -> Frame:
    return next((peer for peer in frame.get("peers", ()) if peer["id"] == name), {})


async def _hset(ark: Redis, number: int) -> Holds:
    latency = round(1 + number / 1000, 3)
    await ark.hset("peer:probe", items=["hostname", "probe", "trust_tier", "core", "latency", str(latency)])
    return lambda frame: bool(_peer(frame, "probe").get("latency") == latency)


async def _delete(ark: Redis, number: int) -> Holds:
    name = f"deleted-{number}"
    await ark.delete(f"peer:{name}")
    return lambda frame: _peer(frame, name).get("status") == "idle"


async def _expire(ark: Redis, number: int) -> Holds:
    name = f"expired-{number}"
    await ark.pexpire(f"peer:{name}", 1)
    return lambda frame: _peer(frame, name).get("status") == "idle"


async def _lpush(ark: Redis, number: int) -> Holds:
    sync = {"timestamp": int(time.time() * 1000), "source": "a", "target": "b", "event_type": "memory_sync"}
    await ark.lpush("sync_events", json.dumps(sync | {"bytes": number + 1, "success": True}))
    return lambda frame: bool(frame.get("type") == "sync_event" and frame["event"]["bytes"] == number + 1)


_KINDS: Final[dict[str, Callable[[Redis, int], Awaitable[Holds]]]] = {
    "HSET peer:x": _hset,
    "DEL peer:x": _delete,
    "expiry of peer:x": _expire,
    "LPUSH sync_events": _lpush,
}


async def _kind(stack: Stack, ark: Redis, name: str) -> list[float]:
    """Milliseconds from each write to the frame that shows it."""
    prefix = {"DEL peer:x": "deleted", "expiry of peer:x": "expired"}.get(name)
    if prefix is not None:
        for number in range(_SAMPLES):
            await ark.hset(f"peer:{prefix}-{number}", items=["hostname", "x", "trust_tier", "core"])
        await asyncio.to_thread(stack.federation, lambda s: s.get("online_peers", 0) >= _SAMPLES)
    samples: list[float] = []
    async with connected(stack.port, "/ws/federation") as probe:
        for number in range(_SAMPLES):
            await asyncio.sleep(random.uniform(*_PAUSE_S))
            probe.forget()
            began = time.perf_counter()
            holds = await _KINDS[name](ark, number)
            samples.append((await probe.first(holds) - began) * 1000)
    await ark.delete("sync_events", *await ark.keys("peer:*"))
    await asyncio.to_thread(stack.federation, lambda s: s.get("online_peers") == 0)
    return samples


async def _measure(stack: Stack, url: str) -> str:
    rows = []
    async with Redis.from_url(url) as ark:
        for name in _KINDS:
            samples = await _kind(stack, ark, name)
            rows.append([name, _SAMPLES, *(f"{quantile(samples, share):.1f}" for share in (0.5, 0.99, 1.0))])
    return table(["change", "samples", "p50 ms", "p99 ms", "max ms"], rows)


def measure() -> str:
    """The table."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory)) as (stack, source):
        stack.federation(lambda s: s["source"] == "live")
        return asyncio.run(_measure(stack, source.url))
