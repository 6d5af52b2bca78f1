"""Kills under load, with an oracle: producers count what they intended, and the totals must say the same."""

import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import redis

from tests.stack import Stack, running_stack, wait_for

__all__ = ["VICTIMS", "Load", "Report", "run_kills"]

VICTIMS: Final = ("collectors", "aggregators", "gateway", "bus")
"""What is killed; the bus comes back on its append-only file, which may lack its last second."""

_PEERS: Final = 50


@dataclass
class Report:
    """What happened, and what was found."""

    seed: int
    kills: list[str] = field(default_factory=list)
    # Seconds from each kill until the totals were right again.
    recovered_s: list[float] = field(default_factory=list)
    syncs: int = 0
    # Processes' resident memory at the start and at the end, MiB.
    memory: tuple[float, float] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)


class Load:
    """Writes to ARK's Redis from a thread, and counts what it wrote: the oracle."""

    def __init__(self, url: str, seed: int, rate: int, so_far: tuple[int, int, int]) -> None:
        self._client = redis.Redis.from_url(url)
        self._rng = random.Random(seed)
        self._pause_s = 1 / rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.syncs, self.bytes, self.failures = so_far

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.close()

    def stop(self) -> None:
        """Write no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            sender, target = self._rng.sample(range(_PEERS), 2)
            size, ok = self._rng.randrange(10**6), self._rng.random() < 0.9
            item = {
                "timestamp": int(time.time() * 1000), "source": f"k-{sender}", "target": f"k-{target}",
                "event_type": "memory_sync", "bytes": size, "success": ok,
            }  # fmt: skip
            self._client.lpush("sync_events", json.dumps(item))
            self._client.hset(f"peer:k-{sender}", items=["trust_tier", "core", "latency", str(self._rng.random())])
            self.syncs += 1
            self.bytes += size
            self.failures += not ok


def _kill(stack: Stack, victim: str) -> None:
    if victim == "bus":
        pid = wait_for("a bus", lambda: next((p for p, line in stack.processes().items() if "valkey" in line), None))
    else:
        pid = stack.pid_of(victim)
    os.kill(pid, signal.SIGKILL)
    wait_for(f"the end of {victim}", lambda: pid not in stack.processes())


def _right(load: Load) -> Any:
    return lambda s: (
        s["source"] == "live"
        and s.get("sync_events_total") == load.syncs
        and s.get("sync_bytes_total") == load.bytes
        and s.get("sync_failures_total") == load.failures
    )


def _usage(stack: Stack) -> tuple[float, int]:
    memory, descriptors = 0.0, 0
    for pid in stack.processes():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            memory += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
            descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return memory, descriptors


@contextlib.contextmanager
def _stack() -> Iterator[tuple[Stack, str]]:
    with tempfile.TemporaryDirectory() as directory, running_stack(Path(directory)) as (stack, source):
        stack.federation(lambda s: s["source"] == "live")
        yield stack, source.url


def run_kills(seed: int, kills: int, victims: tuple[str, ...] = VICTIMS, *, rate: int = 100) -> Report:
    """Kill a random process `kills` times under load; every time, and at the end, the totals must be the oracle's.

    Raises AssertionError: if they are not within 20 s of a kill.
    """
    rng, report = random.Random(seed), Report(seed)
    with _stack() as (stack, url):
        start, so_far = _usage(stack), (0, 0, 0)
        for number in range(kills):
            with Load(url, seed + number, rate, so_far) as load:
                time.sleep(rng.uniform(0.2, 1.0))
                victim = rng.choice(victims)
                _kill(stack, victim)
                killed = time.monotonic()
                time.sleep(rng.uniform(0.2, 1.0))
                load.stop()
                stack.federation(_right(load), 20)
                report.kills.append(victim)
                report.recovered_s.append(time.monotonic() - killed)
            so_far = load.syncs, load.bytes, load.failures
        with stack.bus() as bus:
            wait_for("the whole feed", lambda: bus.xlen("ark:feed:sync") == so_far[0])
        end = _usage(stack)
    report.syncs = so_far[0]
    report.memory, report.descriptors = (start[0], end[0]), (start[1], end[1])
    return report
