"""What five thousand clients cost a gateway while next to nothing happens: resident memory, and CPU.

Everything that `ark-pulse up` starts runs, with a thousand peers that say nothing more: only the sources' heartbeats
change what the clients see. Each client is subscribed to `federation` and `sync` at the default rate.
"""

import tempfile
import time
from pathlib import Path
from typing import Final

import redis

from tests.benchmarks.gateways import subscribe
from tests.benchmarks.idle import cpu_s, rss_mib
from tests.benchmarks.receiver import Receiver, receiving
from tests.benchmarks.tables import table
from tests.stack import running_stack

__all__ = ["measure"]

_CLIENTS: Final = 5_000
_PEERS: Final = 1_000
# Until the peers are offline, as in `idle`.
_SETTLE_S: Final = 150
_SPAN_S: Final = 30
# A welcome, and a snapshot of each channel.
_FIRST_FRAMES: Final = 3


def _cost(pid: int) -> tuple[float, float]:
    """Resident MiB, and percent of a core over the span."""
    before = cpu_s(pid)
    time.sleep(_SPAN_S)
    return rss_mib(pid), 100 * (cpu_s(pid) - before) / _SPAN_S


def _frames_a_s(receiver: Receiver) -> float:
    return receiver.report().frames / _CLIENTS / _SPAN_S


def measure() -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory)) as (stack, source):
        with redis.Redis.from_url(source.url) as ark:
            for number in range(_PEERS):
                ark.hset(f"peer:idle-{number}", items=["hostname", f"idle-{number}", "trust_tier", "core"])
        stack.federation(lambda s: s.get("total_peers") == _PEERS)
        time.sleep(_SETTLE_S)
        pid = stack.pid_of("gateway")
        alone_mib, alone_cpu = _cost(pid)
        with receiving(stack.port, _CLIENTS, "/ws", subscribe("federation", "sync")) as receiver:
            receiver.expect(_FIRST_FRAMES)
            receiver.reset()
            full_mib, full_cpu = _cost(pid)
            frames = _frames_a_s(receiver)
            assert receiver.report().clients == _CLIENTS, "a client was closed"
    each_kib = 1024 * (full_mib - alone_mib) / _CLIENTS
    rows: list[list[object]] = [
        [0, f"{alone_mib:.1f}", "", f"{alone_cpu:.2f}", ""],
        [f"{_CLIENTS:,}", f"{full_mib:.1f}", f"{each_kib:.1f} (<= 24)", f"{full_cpu:.2f} (<= 2)", f"{frames:.2f}"],
    ]
    return table(
        ["clients", "RSS of the gateway, MiB", "KiB a client", "CPU, % of a core", "frames/s and client"], rows
    )
