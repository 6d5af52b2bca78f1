"""Child processes whose life is tied to ours.

On Linux the kernel sends each child SIGTERM when we end, however we end: a supervisor that is killed leaves nothing
behind. Other systems have no such call; there a child of a killed supervisor runs on until somebody ends it.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Child", "Program", "spawn"]

_PR_SET_PDEATHSIG: Final = 1
_STANDARD_ERROR: Final = 2
# Looked up here: between fork and exec nothing may be imported.
_PRCTL: Final[Any] = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How to start one process. It runs without a shell, in a session of its own."""

    name: str
    # The executable, looked up in the environment's PATH, and its arguments.
    argv: tuple[str, ...]
    # All of its environment.
    environment: Mapping[str, str]
    # What it reads on standard input; where this is empty it reads nothing. Below the size of a pipe (64 KiB).
    standard_input: bytes = field(default=b"", repr=False)
    # Whether its standard output is dropped; else it goes where our errors go: our own output is for our own lines.
    silent: bool = False
    # Open files that it shares with us.
    shared_files: tuple[int, ...] = ()
    # Whether it is ended only after all others.
    ends_last: bool = False


class Child:
    """A running process."""

    def __init__(self, program: Program, process: asyncio.subprocess.Process) -> None:
        self.program = program
        self.pid = process.pid
        # Done once it has ended; its result is the exit code, negative for a signal.
        self.exit = asyncio.create_task(process.wait(), name=f"exit of {program.name}")

    def signal(self, number: int) -> None:
        """Send a signal to it and to all it started, unless it has ended."""
        if not self.exit.done():
            with contextlib.suppress(ProcessLookupError):  # it ended, and we have not heard of it yet
                os.killpg(self.pid, number)

    def how_it_ended(self) -> str:
        """Its exit code, or the signal that ended it, in words. It must have ended."""
        code = self.exit.result()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _tie_to(parent: int) -> Callable[[], None]:
    """What the child does between fork and exec, so that it ends with `parent`."""

    def tie() -> None:
        # Our own handlers are still in place here: a SIGTERM that came before exec would be lost in them.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call, so nothing will be sent
            os._exit(1)

    return tie


async def spawn(program: Program) -> Child:
    """Start `program`. Must be called in the main thread: the kernel ties the child to the thread that forked it.

    Raises OSError: if it cannot be started. Cancellation: safe before the process exists; afterwards it is ended.
    """
    assert threading.current_thread() is threading.main_thread(), "a child of another thread would end with that thread"
    process = await asyncio.create_subprocess_exec(
        *program.argv,
        env=dict(program.environment),
        stdin=asyncio.subprocess.PIPE if program.standard_input else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL if program.silent else _STANDARD_ERROR,
        pass_fds=program.shared_files,
        # A session of its own: Ctrl-C in the terminal is for us, and we decide in which order the others end.
        start_new_session=True,
        preexec_fn=_tie_to(os.getpid()) if _PRCTL is not None else None,
    )
    if process.stdin is not None:
        process.stdin.write(program.standard_input)
        process.stdin.close()
    return Child(program, process)
