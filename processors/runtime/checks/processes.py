"""Processes of this machine, as far as /proc tells this user: who listens on a port, what stages run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from processors.runtime.settings import hide_password

__all__ = ["Process", "how_to_end", "listener", "running"]

Process: TypeAlias = tuple[int, dict[str, str], Path]
"""Process id, environment and folder."""

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"


def listener(port: int) -> tuple[int, str] | None:
    """Process and name of who listens on `port`; None if it is not to be seen. Blocks."""
    sockets = set(_listening(port))
    for process in _PROC.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                return int(process.name), (process / "comm").read_text().strip()
    return None


def _listening(port: int) -> Iterator[str]:
    """The sockets that listen on `port`, as links of file descriptors name them."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):  # not Linux
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{fields[9]}]"


def running(stage: str, url: str | None = None) -> Process | None:
    """A process of a stage, on the bus `url` if given; None if none is to be seen. Blocks."""
    for process in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if (process / "cmdline").read_bytes().split(b"\0")[-3:-1] != [b"run", stage.encode()]:
                continue
            pairs = os.fsdecode((process / "environ").read_bytes()).split("\0")
            environment = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
            if url is None or hide_password(environment.get("ARK_BUS_URL", "")) == hide_password(url):
                return int(process.name), environment, (process / "cwd").readlink()
    return None


def how_to_end(pid: int) -> str:
    """An advice, for a process that may hang."""
    return f"if process {pid} hangs, `kill -KILL {pid}`: `ark-pulse up` starts what is its own again"
