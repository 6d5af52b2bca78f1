"""Many WebSocket clients in one process that does nothing but count: `peers/receiver.c`, driven from here.

Without a C compiler it is `peers/receiver.py`, which does the same and takes far less: `KIND` says which it is.
"""

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, convert

from tests.benchmarks.environments import PEERS, compiled
from tests.benchmarks.idle import cpu_s

__all__ = ["KIND", "OTHERS", "SERVER", "Counted", "Receiver", "on_core", "receiving"]

SERVER: Final = 0
OTHERS: Final = 1
"""Cores: of the server that is measured, and of everything else."""

KIND: Final = "counted in C" if shutil.which("cc") else "counted in Python"
"""What the clients are."""

_START_S: Final = 60
_END_S: Final = 5


class Counted(Struct, frozen=True):
    """What the clients got since the last reset."""

    # Data frames of all clients, the bytes of their payload, and the reads that brought them.
    frames: int
    bytes: int
    reads: int
    # When the first and the last of the frames came, by the monotonic clock.
    first_ns: int
    last_ns: int
    # How many are connected.
    clients: int

    @property
    def took_s(self) -> float:
        """From the first frame to the last."""
        return (self.last_ns - self.first_ns) / 1e9


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Processes that are started meanwhile stay on one core; so does this one, until the end."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Receiver:
    """The clients, connected and counting."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self._line(_START_S)
        assert said == "ready", f"the receiver said {said!r}"

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        return cpu_s(self._process.pid)

    def reset(self) -> None:
        """Begin to count anew."""
        self._ask("reset")

    def nap(self, microseconds: int) -> None:
        """From now on look only every so often, as `peers/receiver.c` explains; 0: wait for each frame."""
        self._ask(f"nap {microseconds}")

    def report(self) -> Counted:
        """What was counted."""
        return self._ask("report")

    def expect(self, frames: int, timeout_s: float = 30) -> Counted:
        """What was counted once every client that is connected has so many data frames since the reset.

        Raises TimeoutError: if that does not come to pass.
        """
        return self._ask(f"expect {frames}", timeout_s)

    def stop(self) -> None:
        """End it, and with it the connections."""
        self._process.communicate(timeout=_END_S)

    def _ask(self, command: str, timeout_s: float = 30) -> Counted:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return convert(json.loads(self._line(timeout_s)), Counted)

    def _line(self, timeout_s: float) -> str:
        assert self._process.stdout is not None
        # Each line answers one command: none is left in the buffer of the file, where nobody would see it.
        if not select.select([self._process.stdout], [], [], timeout_s)[0]:
            raise TimeoutError
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def receiving(port: int, clients: int, path: str, message: str = "", samples: Path | None = None) -> Iterator[Receiver]:
    """So many clients of `path`, each of which says `message`, on the core of everything else."""
    program = compiled("receiver", PEERS / "receiver.c")
    command = [str(program)] if program else [sys.executable, str(PEERS / "receiver.py")]
    command += [str(port), str(clients), path, message, *([str(samples)] if samples else [])]
    with on_core(OTHERS):
        receiver = Receiver(command)
    try:
        yield receiver
    finally:
        receiver.stop()
