"""The supervisor: starts programs, starts again alone what ends, and ends them all in order.

honcho, which reads the Procfile, would stop all processes as soon as one of them ends.
"""

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from honcho.environ import parse_procfile

from processors.runtime.children import Child, Program, spawn
from processors.runtime.errors import SETTING_REFUSED, PulseError, SettingsError
from processors.runtime.logging import get_logger
from processors.runtime.probes import check_port
from processors.runtime.restarts import Restarts
from processors.runtime.settings import Settings

__all__ = ["Supervisor", "child_environment", "on_signals", "read_procfile", "with_metrics_ports"]

_POLL_S: Final = 0.02
# A worker has two deadlines of 2.5 s of its own, of which the second is for what hangs. All of ours together stay
# below five seconds.
_WORKER_GRACE_S: Final = 3.5
_LAST_GRACE_S: Final = 1.0

_logger = get_logger("supervisor")


def child_environment(environment: Mapping[str, str], bus_url: str | None) -> dict[str, str]:
    """The environment of the workers: ours, the address of the embedded server if there is one, and our Python first.

    `ark-pulse` in a Procfile is then the one of this installation, also where no virtual environment is active.
    """
    child = dict(environment)
    child["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    if bus_url is not None:
        child["ARK_BUS_URL"] = bus_url
    return child


def read_procfile(path: Path, environment: Mapping[str, str]) -> list[Program]:
    """The programs of a Procfile, in its order. Blocks.

    Raises PulseError: if it cannot be read, names no process, names one twice, or has a quote without its end.
    """
    try:
        lines = parse_procfile(path.read_text(encoding="utf-8")).processes
    except OSError as error:
        raise PulseError(f"{path} cannot be read: {error.strerror}") from error
    except AssertionError as error:
        raise PulseError(f"{path}: {error}") from error
    if not lines:
        raise PulseError(f"{path} names no process")
    try:
        return [
            Program(name=name, argv=tuple(shlex.split(command)), environment=environment)
            for name, command in lines.items()
        ]
    except ValueError as error:
        raise PulseError(f"{path}: {str(error).lower()}") from error


def with_metrics_ports(programs: Sequence[Program], settings: Settings, *, wait_s: float = 0) -> list[Program]:
    """`programs`, each with a port of its own for its metrics, counted on from ARK_METRICS_PORT if that is set. Blocks.

    Raises PortTaken: if one of them is in use, also after `wait_s`. Raises SettingsError: if it is another one of ours;
    see `check_port`.
    """
    if settings.ark_metrics_port is None:
        return list(programs)
    found = []
    others = {settings.ark_http_port: "ARK_HTTP_PORT", settings.federation_port: "FEDERATION_PORT"}
    for port, program in enumerate(programs, settings.ark_metrics_port):
        if port in others:
            raise SettingsError("ARK_METRICS_PORT", f"leads to {port} for {program.name}, which is {others[port]}")
        check_port("ARK_METRICS", settings.ark_metrics_host, port, wait_s=wait_s)
        found.append(replace(program, environment={**program.environment, "ARK_METRICS_PORT": str(port)}))
    return found


def on_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events that are set at the first SIGTERM, SIGHUP or SIGINT, and at a SIGINT after it."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        (hurry if stop.is_set() else stop).set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asked for it to be ignored
        loop.add_signal_handler(signal.SIGHUP, stop.set)
    return stop, hurry


class Supervisor:
    """The programs of one `ark-pulse up`, and those of them that run."""

    def __init__(self, programs: Iterable[Program]) -> None:
        self._programs = {program.name: program for program in programs}
        self._restarts = Restarts(self._programs, _now_ms())
        # Those that run, or have ended and were not yet taken note of.
        self._children: dict[str, Child] = {}
        # Programs that have ended, and were to be started again.
        self._restarted: set[str] = set()
        # Names the program that cannot use a setting, as its log says: it would say so again. None while none has.
        self.refused: str | None = None

    async def start_first(self, name: str, ready: Callable[[], Awaitable[bool]], stop: asyncio.Event) -> str | None:
        """Start one program ahead of the others and wait until it is `ready`, or `stop` is set.

        Returns how it ended, if it ended instead. Raises OSError: if it cannot be started.
        """
        child = await self._start(name)
        while not stop.is_set() and not child.exit.done():
            if await ready():
                return None
            await asyncio.sleep(_POLL_S)  # only asking tells whether a server answers
        return child.how_it_ended() if child.exit.done() else None

    async def keep_running(self, stop: asyncio.Event) -> None:
        """Start all programs, and again each that ends, until `stop` is set, or one of them refuses a setting.

        Cancellation: safe; they run on.
        """
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set() and self.refused is None:
                await self._start_due()
                exits = [child.exit for child in self._children.values()]
                await asyncio.wait([stopping, *exits], timeout=self._pause_s(), return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    self._note_ended()
        finally:
            stopping.cancel()

    async def end_all(self, hurry: asyncio.Event) -> None:
        """End the workers, then what they need, each within its grace; `hurry` takes the grace from them.

        Returns when none is left. Cancellation: some may be left.
        """
        children = self._children.values()
        await _end([child for child in children if not child.program.ends_last], _WORKER_GRACE_S, hurry)
        await _end([child for child in children if child.program.ends_last], _LAST_GRACE_S, hurry)

    def _pause_s(self) -> float | None:
        deadline = self._restarts.next_deadline()
        return None if deadline is None else max(0, deadline - _now_ms()) / 1_000

    async def _start_due(self) -> None:
        for name in self._restarts.due(_now_ms()):
            try:
                await self._start(name)
            except OSError as error:
                self._ended(name, f"cannot be started: {error.strerror or error}")

    async def _start(self, name: str) -> Child:
        child = await spawn(self._programs[name])
        self._children[name] = child
        self._restarts.started(name, _now_ms())
        _logger.debug("%s started as process %d", name, child.pid)
        return child

    def _note_ended(self) -> None:
        for name, child in list(self._children.items()):
            if child.exit.done():
                del self._children[name]
                # One that could use its settings before may find a port taken now; the others do not end for it.
                if child.exit.result() == SETTING_REFUSED and name not in self._restarted:
                    self.refused = name
                    return
                self._ended(name, f"ended: {child.how_it_ended()}")

    def _ended(self, name: str, how: str) -> None:
        self._restarted.add(name)
        delay_ms = self._restarts.ended(name, _now_ms())
        _logger.warning("%s %s; starting it again in %g s", name, how, delay_ms / 1_000)


async def _end(children: list[Child], grace_s: float, hurry: asyncio.Event) -> None:
    if not children:
        return
    for child in children:
        child.signal(signal.SIGTERM)
    exits = asyncio.gather(*(child.exit for child in children))
    hurrying = asyncio.create_task(hurry.wait())
    either: set[asyncio.Future[Any]] = {exits, hurrying}
    await asyncio.wait(either, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    for child in children:
        if not child.exit.done():
            _logger.warning("%s did not end in time, and was killed", child.program.name)
            child.signal(signal.SIGKILL)
    await exits


def _now_ms() -> int:
    # Not the bus's clock: the bus may be what has to be started.
    return int(time.monotonic() * 1_000)
