"""Several channels' frames of one tick in one write, against the same frames written one by one.

Ten times a second twenty changes of five channels are written to the bus: a summary of each half, a source, a roster
change, and sixteen syncs. A thousand clients follow all five channels on one socket each; or on five sockets each, one
channel a socket, so that the gateway cannot join what it writes: the frames are the same. A third row shows what asking
for every change costs instead of ten frames a second. Writes are the gateway's own system calls, by the kernel's count.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.benchmarks.gateways import GatewayRig, running_gateway, subscribe, writes_of
from tests.benchmarks.idle import cpu_s
from tests.benchmarks.receiver import OTHERS, on_core, receiving
from tests.benchmarks.tables import table
from tests.gateway.support import row, sync

__all__ = ["measure"]

_CLIENTS: Final = 1_000
_CHANNELS: Final = ("federation", "memory", "peers", "sources", "sync")
_SYNCS: Final = 16
_TICKS: Final = 100
_TICK_S: Final = 0.1
_SETTLE_S: Final = 1.0


class _Cost(NamedTuple):
    """Of one tick."""

    frames: float
    writes: float
    cpu_ms: float


async def _tick(rig: GatewayRig, number: int) -> None:
    world = rig.world
    await world.summary(heartbeats_total=number)
    await world.memory(sessions_total=number)
    await world.heartbeat("peers")
    await world.roster({f"peer-{number % 10}": row(f"peer-{number % 10}", latency_ms=float(number))})
    for each in range(_SYNCS):
        await world.sync(sync(bytes=number * _SYNCS + each))


def _run(sockets: Sequence[Sequence[str]], rate: float) -> _Cost:
    """What a tick costs while each client has these sockets, with the channels of each."""
    with running_gateway() as rig, contextlib.ExitStack() as resources:
        receivers = [
            resources.enter_context(receiving(rig.port, _CLIENTS, "/ws", subscribe(*channels, rate=rate)))
            for channels in sockets
        ]
        for receiver, channels in zip(receivers, sockets, strict=True):
            receiver.expect(1 + len(channels))
        rig.run(_tick(rig, 0))
        time.sleep(_SETTLE_S)
        for receiver in receivers:
            receiver.reset()
        before = (writes_of(rig.pid), cpu_s(rig.pid))
        began = time.monotonic()
        for number in range(_TICKS):
            time.sleep(max(0.0, began + number * _TICK_S - time.monotonic()))
            rig.run(_tick(rig, number + 1))
        time.sleep(_SETTLE_S)
        after = (writes_of(rig.pid), cpu_s(rig.pid))
        frames = sum(receiver.report().frames for receiver in receivers)
    return _Cost(frames / _TICKS, (after[0] - before[0]) / _TICKS, 1000 * (after[1] - before[1]) / _TICKS)


def measure() -> str:
    """The table."""
    cases: dict[str, tuple[list[tuple[str, ...]], float]] = {
        "one socket, ten frames a second": ([_CHANNELS], 10),
        "five sockets, ten frames a second": ([(channel,) for channel in _CHANNELS], 10),
        "one socket, every change": ([_CHANNELS], 0),
    }
    rows: list[list[object]] = []
    with on_core(OTHERS):
        for name, case in cases.items():
            cost = _run(*case)
            each_us = 1000 * cost.cpu_ms / cost.frames
            rows.append([name, f"{cost.frames:,.0f}", f"{cost.writes:,.0f}", f"{cost.cpu_ms:.1f}", f"{each_us:.2f}"])
    header = [
        f"{_CLIENTS:,} clients of five channels",
        "frames a tick",
        "writes a tick",
        "CPU of the gateway a tick, ms",
    ]
    return table([*header, "CPU a frame, us"], rows)
