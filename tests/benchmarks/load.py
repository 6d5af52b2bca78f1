"""From a write to ARK's Redis to the frame at a client of `/ws`, through all processes, under load.

A thousand events a second, half of them HSETs spread over a thousand peers and half LPUSHes, in pipelines of ten; a
thousand clients at the default rate, and ten of `federation`, `peers` and `sync` that ask for every change: these are
the probes. The moment of a write is that before its pipeline is sent. Everything shares the two cores, the clients and
the writer too. How much of it was over when a sync stood on its feed on the bus, before the gateway, is told beside it.
"""

import asyncio
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvloop
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from schemas import codec, streams
from tests.benchmarks.crowd import CrowdClient, Frame
from tests.benchmarks.gateways import subscribe
from tests.benchmarks.idle import cpu_s, program_of
from tests.benchmarks.receiver import Receiver, receiving
from tests.benchmarks.tables import quantile, table
from tests.stack import Stack, running_stack

__all__ = ["measure"]

_CLIENTS: Final = 1_000
_PROBES: Final = 10
_PEERS: Final = 1_000
_EVENTS_A_S: Final = 1_000
_AT_ONCE: Final = 10
_CHANNELS: Final = ("federation", "peers", "sync")
_WARM_S: Final = 5
_SPAN_S: Final = 30
_DRAIN_S: Final = 5
# Of even numbers, and of odd ones.
_KINDS: Final = ("HSET peer:x", "LPUSH sync_events")
_FEED: Final = "LPUSH sync_events, to its feed on the bus"
_BLOCK_MS: Final = 500
# Numbers are told as a latency of so many ms.
_UNIT: Final = 1_000


class _Load:
    """What is written, and when it came to the probes."""

    def __init__(self) -> None:
        # When each number was written: ns of the monotonic clock.
        self._written_ns: list[int] = []
        # Milliseconds by kind, of all probes.
        self.delays_ms: dict[str, list[float]] = defaultdict(list)
        # The first number that counts, and the one after the last.
        self.span = (0, 0)
        # What each probe has seen: a row is told again with its next change.
        self._seen: dict[object, set[int]] = defaultdict(set)
        # Most that the writer was behind its pace, s.
        self.behind_s = 0.0

    async def write(self, ark: Redis, span_s: float) -> None:
        """Write at the pace, for so long."""
        began, count = time.monotonic(), int(span_s * _EVENTS_A_S / _AT_ONCE)
        for number in range(count):
            late_s = time.monotonic() - began - number * _AT_ONCE / _EVENTS_A_S
            self.behind_s = max(self.behind_s, late_s)
            await asyncio.sleep(max(0.0, -late_s))
            await self._write_some(ark)

    async def _write_some(self, ark: Redis) -> None:
        first = len(self._written_ns)
        async with ark.pipeline(transaction=False) as pipe:
            for number in range(first, first + _AT_ONCE):
                if number % 2:
                    pipe.lpush("sync_events", _sync(number))
                else:
                    values = ["hostname", "x", "trust_tier", "core", "latency", str(number / _UNIT)]
                    pipe.hset(f"peer:{number // 2 % _PEERS}", items=values)
            self._written_ns += [time.monotonic_ns()] * _AT_ONCE
            await pipe.execute()

    def begin(self) -> None:
        """From now on it counts."""
        self.span = (len(self._written_ns), len(self._written_ns) + _SPAN_S * _EVENTS_A_S)

    def took(self, client: CrowdClient, frame: Frame, moment: int) -> None:
        """Take a frame of a probe."""
        for number in _numbers(frame):
            self._note(client, _KINDS[number % 2], number, moment)

    async def follow_feed(self, bus: SyncRedis) -> None:
        """Take what comes to the feed of syncs until cancelled."""
        after = "$"
        while True:
            found: Any = await asyncio.to_thread(bus.xread, {streams.FEED_SYNC: after}, block=_BLOCK_MS)
            moment = time.monotonic_ns()
            for _, fields in (entries := found[0][1] if found else []):
                self._note(self, _FEED, codec.decode_sync(fields).bytes, moment)
            after = entries[-1][0] if entries else after

    def _note(self, who: object, kind: str, number: int, moment: int) -> None:
        if self.span[0] <= number < self.span[1] and number not in self._seen[who]:
            self._seen[who].add(number)
            self.delays_ms[kind].append((moment - self._written_ns[number]) / 1e6)


def _numbers(frame: Frame) -> Iterator[int]:
    """The numbers of what a frame tells."""
    if frame["type"] == "event" and frame["channel"] == "sync":
        yield from (record["bytes"] for record in frame["data"])
    elif frame["type"] == "delta" and frame["channel"] == "peers":
        yield from (
            round(each["latency_ms"] * _UNIT) for each in frame["data"].values() if each and "latency_ms" in each
        )


def _sync(number: int) -> str:
    ends = {"source": f"{number % _PEERS}", "target": f"{(number + 1) % _PEERS}"}
    rest = {"event_type": "memory_sync", "bytes": number, "success": True}
    return json.dumps({"timestamp": int(time.time() * 1000), **ends, **rest})


def _cpu(stack: Stack) -> dict[str, float]:
    """Seconds of CPU by stage."""
    return {program_of(line): cpu_s(pid) for pid, line in stack.processes().items()}


async def _measure(stack: Stack, url: str, receiver: Receiver) -> str:
    load = _Load()
    probes = [CrowdClient(load.took) for _ in range(_PROBES)]
    for probe in probes:
        await probe.connect(stack.port)
        probe.say({"op": "subscribe", "channels": _CHANNELS, "rate": 0})
    following = asyncio.create_task(load.follow_feed(stack.bus()))
    async with Redis.from_url(url) as ark:
        await load.write(ark, _WARM_S)
        load.begin()
        load.behind_s = 0.0
        receiver.reset()
        before = _cpu(stack)
        await load.write(ark, _SPAN_S)
    after, counted = _cpu(stack), receiver.report()
    cpu = ", ".join(f"{name} {100 * (after[name] - each) / _SPAN_S:.0f}" for name, each in before.items())
    await asyncio.sleep(_DRAIN_S)
    following.cancel()
    for probe in probes:
        probe.close()
    rows: list[list[object]] = []
    for kind, delays in sorted(load.delays_ms.items()):
        shares = [f"{quantile(delays, share):.1f}" for share in (0.5, 0.99, 1.0)]
        missing = (1 if kind == _FEED else _PROBES) * _SPAN_S * _EVENTS_A_S // 2 - len(delays)
        rows.append([kind, len(delays), missing, *shares])
    found = table(["write", "samples", "never seen", "p50 ms (<= 10)", "p99 ms (<= 50)", "max ms"], rows)
    return (
        f"{found}\n\n{counted.clients:,} clients got {counted.frames / _SPAN_S:,.0f} frames/s, "
        f"{counted.bytes / _SPAN_S / 2**20:.1f} MiB/s. CPU, % of a core: {cpu}. "
        f"The writer was behind its pace by {1000 * load.behind_s:.0f} ms at most."
    )


def _turn(channels: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory)) as (stack, source):
        stack.federation(lambda s: s["source"] == "live")
        with receiving(stack.port, _CLIENTS, "/ws", subscribe(*channels)) as receiver:
            found = uvloop.run(_measure(stack, source.url, receiver))
    return f"{_CLIENTS:,} clients of {', '.join(f'`{channel}`' for channel in channels)}:\n\n{found}"


def measure() -> str:
    """The tables: of clients that follow the summary, and of clients that follow each peer and each sync too."""
    return "\n\n".join(map(_turn, (_CHANNELS[:1], _CHANNELS)))
