"""This machine: disk, tokens file, descriptors."""

import contextlib
import resource
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from processors.runtime.checks.finding import Finding, ok, trouble, warning
from processors.runtime.checks.processes import listener
from processors.runtime.settings import Settings

__all__ = ["check_machine"]

_NEARLY_FULL: Final = 2 << 30
_FULL: Final = 256 << 20
_KINDS: Final = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


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
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            most = resource.prlimit(gateway[0], resource.RLIMIT_NOFILE)[1]
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
        if stat.S_ISREG(mode):  # to open a pipe may take for ever
            path.open("rb").close()
    except OSError as error:
        advice = "have the gateway's user own it; `ark-pulse token new` makes one"
        return trouble("tokens", entry, f"{path} cannot be read: {error.strerror}", advice)
    if not stat.S_ISREG(mode):
        text = f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, no file"
        return trouble("tokens", entry, text, "`ark-pulse token new` makes one")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        return trouble("tokens", entry, f"{path} can be changed by others than its owner", f"chmod 600 {path}")
    if mode & stat.S_IROTH:
        text = f"{path} can be read by everybody; it holds names and hashes"
        return warning("tokens", entry, text, f"chmod 600 {path}")
    return ok("tokens", f"{path} is there")
