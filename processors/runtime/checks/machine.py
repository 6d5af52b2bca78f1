"""This machine: who listens on a port, with what settings the collectors run, disk, tokens file, descriptors."""

import contextlib
import os
import re
import resource
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from processors.runtime.checks.finding import Finding, ok, trouble, warning
from processors.runtime.settings import Settings, hide_password

__all__ = ["check_machine", "listener", "running_collectors"]

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
_NEARLY_FULL: Final = 2 << 30
_FULL: Final = 256 << 20


def listener(port: int) -> tuple[int, str] | None:
    """Process and name of who listens on `port`, as far as /proc tells this user. Blocks."""
    sockets = set(_listening(port))
    for process in _processes() if sockets else ():
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


def _processes() -> list[Path]:
    with contextlib.suppress(OSError):  # not Linux
        return [path for path in _PROC.iterdir() if path.name.isdigit()]
    return []


def running_collectors(url: str) -> tuple[int, dict[str, str], Path] | None:
    """Process, environment and folder of collectors on the bus `url`, as far as /proc tells this user. Blocks."""
    for process in _processes():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if (process / "cmdline").read_bytes().split(b"\0")[-3:-1] != [b"run", b"collectors"]:
                continue
            pairs = os.fsdecode((process / "environ").read_bytes()).split("\0")
            environment = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
            if hide_password(environment.get("ARK_BUS_URL", "")) == hide_password(url):
                return int(process.name), environment, (process / "cwd").readlink()
    return None


def check_machine(settings: Settings) -> Sequence[Finding]:
    """Blocks."""
    found = [_descriptors(settings)]
    if settings.ark_bus_url is None:
        found.append(_disk(settings.ark_state_dir.absolute()))
    if settings.ark_tokens_file is not None:
        found.append(_tokens(settings.ark_tokens_file))
    return found


def _descriptors(settings: Settings) -> Finding:
    """By the gateway's limit if it is to be seen, else by the one here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if (gateway := listener(settings.ark_http_port)) is not None:
        with contextlib.suppress(OSError):  # it has ended
            limits = (_PROC / str(gateway[0]) / "limits").read_text()
            if (told := re.search(r"^Max open files +\S+ +(\d+)", limits, re.MULTILINE)) is not None:
                most = int(told[1])
    wanted = settings.ark_max_clients
    if most == resource.RLIM_INFINITY or most >= wanted:
        return ok("descriptors", f"enough for {wanted} clients")
    text = f"a process may open {most} files, and ARK_MAX_CLIENTS is {wanted}: further clients cannot connect"
    return warning("descriptors", "too-few-descriptors", text, "raise the hard limit (`ulimit -Hn`, LimitNOFILE=)")


def _disk(state_dir: Path) -> Finding:
    there = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    free = shutil.disk_usage(there).free
    text = f"{free >> 20} MiB are free below {state_dir}"
    if free >= _NEARLY_FULL:
        return ok("disk", text)
    say = trouble if free < _FULL else warning
    return say("disk", "the-disk-fills-up", text, "make room, or set ARK_STATE_DIR to a folder on another disk")


def _tokens(path: Path) -> Finding:
    entry: Final = "the-tokens-file"
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except OSError as error:
        advice = "have the gateway's user own it; `ark-pulse token new` makes one"
        return trouble("tokens", entry, f"{path} cannot be read: {error.strerror}", advice)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return trouble("tokens", entry, f"{path} can be changed by others than its owner", f"chmod 600 {path}")
    if mode & stat.S_IROTH:
        text = f"{path} can be read by everybody; it holds names and hashes"
        return warning("tokens", entry, text, f"chmod 600 {path}")
    return ok("tokens", f"{path} is there")
