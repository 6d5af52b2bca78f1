"""A real `ark-pulse up` in a process of its own, and small workers for it to run."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import redis

from tests.servers import free_port

__all__ = ["ROOT", "Up", "alive", "eventually", "eventually_async"]

ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")

# Notes its process id, and waits for what its argument says.
_WORKER = """
import os, pathlib, signal, sys, threading
name, manner = sys.argv[1:]
if manner == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note = pathlib.Path(os.environ["ARK_STATE_DIR"], f"{name}.pids")
with note.open("a") as file:
    file.write(f"{os.getpid()}\\n")
if manner == "web":
    import http.server
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            if self.path.startswith("/api/v1/"):
                note.with_suffix(".asked").touch()
                self.wfile.write(b'{"source": "simulated"}')
    http.server.HTTPServer(("127.0.0.1", int(os.environ["ARK_HTTP_PORT"])), Handler).serve_forever()
threading.Event().wait()
"""


def eventually(condition: Callable[[], T], deadline_s: float = 5.0) -> T:
    """What `condition` returns, as soon as it is true."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s} s"
        time.sleep(0.02)
    return value


async def eventually_async(condition: Callable[[], Awaitable[T]], deadline_s: float = 5.0) -> T:
    """The same, of a coroutine."""
    async with asyncio.timeout(deadline_s):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Up:
    """One `ark-pulse up` with workers of ours, each given as name and manner: plain, stubborn or web."""

    def __init__(self, directory: Path, **workers: str) -> None:
        self.state = directory / "state"
        self.state.mkdir(exist_ok=True)
        script = directory / "worker.py"
        script.write_text(_WORKER)
        self.procfile = directory / "Procfile"
        lines = [f"{name}: python {script} {name} {manner}\n" for name, manner in workers.items()]
        self.procfile.write_text("".join(lines))
        self.workers = tuple(workers)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "ARK_STATE_DIR": str(self.state),
            "ARK_HTTP_PORT": str(free_port()),
            "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        }
        self._output = directory / "output"
        self._errors = directory / "errors"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Up":
        command = [sys.executable, "-m", "processors.cli", "up", "--procfile", str(self.procfile)]
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=self.state.parent, stdout=output, stderr=errors
            )
        return self

    def ready(self) -> "Up":
        """Wait until every worker runs, and the bus answers."""
        eventually(lambda: all(self.pids(name) for name in self.workers))
        if "ARK_BUS_URL" not in self.environment:
            eventually(self.bus_pid)
        return self

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def pids(self, name: str) -> list[int]:
        """Process ids of a worker, one for each of its starts."""
        note = self.state / f"{name}.pids"
        return [int(line) for line in note.read_text().split()] if note.exists() else []

    @property
    def bus_url(self) -> str:
        return (self.state / "bus.url").read_text()

    def bus(self) -> "redis.Redis":
        return redis.Redis.from_url(self.bus_url)

    def bus_pid(self) -> int:
        """Process id of the embedded server, 0 while it does not answer."""
        try:
            with self.bus() as client:
                return int(client.info("server")["process_id"])
        except (redis.exceptions.ConnectionError, FileNotFoundError):
            return 0

    def everybody(self) -> list[int]:
        """Process ids of all that run."""
        return [self.bus_pid(), *(self.pids(name)[-1] for name in self.workers)]

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 5.0) -> int:
        """Its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def clean_up(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for name in self.workers:
            for pid in self.pids(name):
                # A stubborn one outlives a killed supervisor.
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if str(self.state.parent) in Path(f"/proc/{pid}/cmdline").read_text():
                        os.kill(pid, signal.SIGKILL)
