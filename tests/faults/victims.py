"""What the fault tests break besides the processes of `up`: the servers of a bus, and more aggregators."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.clusters import Cluster
from tests.servers import Server, redis_binary

__all__ = ["PAUSE_S", "TOPOLOGIES", "Aggregators", "Bus", "cut_tail", "pause", "running_bus"]

TOPOLOGIES: Final = ("single", "cluster")
"""How many servers the bus is: one, or a cluster of three, none with a replica."""

PAUSE_S: Final = 1.5
"""Longer than a lease lasts."""

# A node that is gone for so long is taken for dead, and the cluster with it.
_NODE_TIMEOUT_MS: Final = 1_000


class Bus:
    """The servers of a bus, each of which comes back on its own files."""

    def __init__(self, url: str, servers: list[Server]) -> None:
        self.url = url
        self._servers = servers

    def kill(self, chance: random.Random) -> None:
        """End one server as a crash would, and start it again; of a cluster now and then after it was missed."""
        server = chance.choice(self._servers)
        server.kill()
        if len(self._servers) > 1:
            time.sleep(chance.uniform(0.0, 1.5 * _NODE_TIMEOUT_MS / 1000))
        server.start()

    def cut(self, chance: random.Random) -> None:
        """The same, but the newest that it had written is lost."""
        server = chance.choice(self._servers)
        server.kill()
        cut_tail(server, chance.choice((chance.randint(1, 100), chance.randint(100, 100_000))))
        server.start()


def cut_tail(server: Server, length: int) -> None:
    """Take the last `length` bytes of the append-only file of a server that does not run, half of it at most.

    The file of a Redis 7.0 is mended then, as docs/bus.md says: it would bring half a transaction back.
    """
    [path] = (server.directory / "appendonlydir").glob("*.incr.aof")
    size = path.stat().st_size
    os.truncate(path, size - min(length, size // 2))
    if server.binary == redis_binary():
        [manifest] = path.parent.glob("*.manifest")
        mend = ("redis-check-aof", "--fix", manifest)
        subprocess.run(mend, input=b"y\n", stdout=subprocess.DEVNULL, check=True)


@contextlib.contextmanager
def running_bus(directory: Path, binary: str, topology: str) -> Iterator[Bus]:
    """A bus of `topology` that runs `binary`, with append-only files."""
    policy = ("--maxmemory-policy", "noeviction")
    if topology == "single":
        directory.mkdir()
        server = Server(binary, directory, *policy)
        server.start()
        try:
            yield Bus(server.url, [server])
        finally:
            server.stop()
        return
    timeout = ("--cluster-node-timeout", str(_NODE_TIMEOUT_MS))
    cluster = Cluster(directory, *policy, *timeout, binary=binary)
    try:
        cluster.start()
        yield Bus(cluster.url, cluster.servers)
    finally:
        cluster.stop()


class Aggregators:
    """An aggregators' process of its own, which nobody but the test starts again."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        # None before the start.
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "ark-pulse", "run", "aggregators"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def stop(self) -> None:
        """End it as an operator does, if it runs."""
        if self._process is not None and self.runs:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(10)


def pause(pid: int) -> None:
    """Stop a process past its leases, and let it go on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(PAUSE_S)
    finally:
        os.kill(pid, signal.SIGCONT)
