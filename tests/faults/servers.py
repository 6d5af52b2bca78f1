"""A bus that stands still, hangs up, or has no more room: in memory, or on its disk."""

import contextlib
import os
import random
import resource
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import redis

from tests.faults.report import Run
from tests.faults.strikes import Strike, run_strikes
from tests.faults.system import SERVERS, Kind, System, binary_of
from tests.faults.victims import Bus
from tests.servers import Server
from tests.stack import wait_for

__all__ = ["Disk", "fill_disk", "fill_memory", "freeze", "full_disk", "may_mount"]

_ROOM: Final = 1 << 20
"""Bytes that a disk that becomes full has left."""

_PLENTY: Final = 1 << 30


def _cut_connections(system: System, chance: random.Random) -> None:
    with system.stack.bus() as bus:
        for _ in range(chance.randint(1, 6)):
            for kind in ("normal", "pubsub"):
                bus.client_kill_filter(_type=kind, skipme=True)
            time.sleep(chance.uniform(0.05, 0.4))


def freeze(run: Run, seconds: float) -> None:
    """CLIENT PAUSE, for longer than a lease lasts and for longer than a silence is borne; CLIENT KILL."""

    def pause(system: System, least_ms: int, most_ms: int, chance: random.Random) -> None:
        length_ms = chance.randint(least_ms, most_ms)
        with system.stack.bus() as bus:
            bus.client_pause(length_ms)
        time.sleep(length_ms / 1_000)

    def paused(system: System, chance: random.Random) -> None:
        pause(system, 1_500, 4_000, chance)

    def long_paused(system: System, chance: random.Random) -> None:
        system.clients.forget_staleness()
        pause(system, 16_000, 18_000, chance)
        stale, clients = system.clients.were_stale(), len(system.clients)
        run.compare("I5", f"{stale} of {clients} clients were shown stale" if stale < clients else "", clients)
        run.figures["clients that were shown stale, of those that were to"] += stale

    strikes = {"CLIENT PAUSE": paused, "CLIENT PAUSE for long": long_paused, "CLIENT KILL": _cut_connections}
    run_strikes(run, seconds, strikes, Kind(SERVERS[run.seed % 2]))


def _refusals(bus: "redis.Redis", code: str) -> int:
    """How many commands were refused with an error of this code."""
    stats: Any = bus.info("errorstats")
    return int(stats.get(f"errorstat_{code}", {}).get("count", 0))


def _until_refused(system: System, code: str) -> None:
    """Return once the bus has refused writes; it goes on to do so."""

    def more() -> bool:
        with system.stack.bus() as bus:
            return _refusals(bus, code) > before

    with system.stack.bus() as bus:
        before = _refusals(bus, code)
    wait_for(f"the bus refuses with {code}", more, 20)


def fill_memory(run: Run, seconds: float) -> None:
    """`maxmemory` a little above what is used, with noeviction, under load."""

    def strike(system: System, chance: random.Random) -> None:
        ended = system.ended()
        with system.stack.bus() as bus:
            used: Any = bus.info("memory")
            bus.config_set("maxmemory", used["used_memory"] + chance.randint(0, _ROOM // 4))
            _until_refused(system, "OOM")
            time.sleep(chance.uniform(0.5, 2))
            refused = _refusals(bus, "OOM")
            bus.config_set("maxmemory", 0)
        run.figures["writes refused"] = max(run.figures["writes refused"], refused)
        run.compare("I4", "a process ended" if system.ended() > ended else "")

    run_strikes(run, seconds, {"full": strike}, Kind(SERVERS[run.seed % 2]))


class Disk:
    """The disk of a bus: a tmpfs where we may mount one, else a bound on how long a file of the server may be."""

    def __init__(self, directory: Path, *, mounted: bool) -> None:
        self._directory = directory
        self._mounted = mounted

    def fill_up(self, pid: int, room: int = _ROOM) -> None:
        """Leave the server of `pid` so many bytes, and no more."""
        if self._mounted:
            disk = os.statvfs(self._directory)
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
            self._remount(used + room)
        else:
            longest = max(path.stat().st_size for path in self._directory.rglob("*.aof"))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (longest + room, resource.RLIM_INFINITY))

    def make_room(self, pid: int) -> None:
        """As much as anybody wants."""
        if self._mounted:
            self._remount(_PLENTY)
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def _remount(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self._directory], check=True)


def may_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=True, capture_output=True)
        return True
    return False


@contextlib.contextmanager
def full_disk(directory: Path, binary: str, *, mounted: bool) -> Iterator[tuple[Server, Disk]]:
    """A running server whose append-only file is on a disk of its own."""
    with contextlib.ExitStack() as resources:
        directory.mkdir()
        program = binary
        if mounted:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_PLENTY}", "tmpfs", directory], check=True)
            resources.callback(lambda: subprocess.run(["umount", "-l", directory], check=True))
        else:
            # The signal would end it; without, a write fails as on a full disk, but for the error's name.
            wrapper = directory.with_name("server-that-ignores-sigxfsz")
            wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {shlex.quote(binary)} \"$@\"\n")
            wrapper.chmod(0o700)
            program = str(wrapper)
        server = Server(program, directory, "--maxmemory-policy", "noeviction")
        server.start()
        resources.callback(server.stop)
        yield server, Disk(directory, mounted=mounted)


def fill_disk(run: Run, seconds: float) -> None:
    """A tmpfs of which 1 MiB is free holds the append-only file; now and then the server is killed while it is full."""
    mounted = may_mount()
    disks: list[tuple[Server, Disk]] = []

    @contextlib.contextmanager
    def bus(directory: Path) -> Iterator[Bus]:
        with full_disk(directory / "bus", binary_of(SERVERS[run.seed % 2]), mounted=mounted) as (server, disk):
            disks.append((server, disk))
            yield Bus(server.url, [server])

    def fill(*, killed: bool) -> Strike:
        def strike(system: System, chance: random.Random) -> None:
            server, disk = disks[0]
            assert server.process is not None
            disk.fill_up(server.process.pid)
            _until_refused(system, "MISCONF")
            time.sleep(chance.uniform(0.5, 2))
            if killed:
                server.kill()
                server.start()
                time.sleep(chance.uniform(0.5, 2))
            disk.make_room(server.process.pid)

        return strike

    strikes = {"full": fill(killed=False), "full, and killed": fill(killed=True)}
    run_strikes(run, seconds, strikes, Kind(SERVERS[run.seed % 2], bus=bus, keeps=True))
    run.kind += ", tmpfs" if mounted else ", bound on a file's size"
