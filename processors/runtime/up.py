"""`ark-pulse up`: the embedded bus and the Procfile's processes, from one command, until it is told to stop."""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from processors.runtime.embedded import BUS, EmbeddedServer, last_line
from processors.runtime.errors import SETTING_REFUSED, AlreadyRunning, BusError, SettingsError
from processors.runtime.locks import FileLock, LockTaken
from processors.runtime.logging import configure_logging, get_logger
from processors.runtime.output import print_line
from processors.runtime.probes import PortTaken, address, check_port, http_get
from processors.runtime.settings import Settings, hide_password
from processors.runtime.supervisor import (
    Supervisor,
    child_environment,
    on_signals,
    read_procfile,
    with_metrics_ports,
)

__all__ = ["DEFAULT_PROCFILE", "FEDERATION", "INTERRUPTED", "only_one", "shown_line", "start_server", "up"]

DEFAULT_PROCFILE: Final = Path(__file__).resolve().parents[2] / "Procfile"
"""The checkout's own."""

FEDERATION: Final = "federation"
"""Name of the process that `up` goes on without where its port is taken."""

INTERRUPTED: Final = 130
"""Exit code after a second SIGINT, as a shell has it."""

_REMNANTS_S: Final = 5.0
"""How long the processes of a killed `up` may take to end, and to let go of their port."""

_POLL_S: Final = 0.1
_ASK_S: Final = 2.0
_SUMMARY_S: Final = 5.0

_logger = get_logger("supervisor")


def up(settings: Settings, procfile: Path = DEFAULT_PROCFILE) -> int:
    """Run the embedded server (unless ARK_BUS_URL is set) and the processes of `procfile` until SIGTERM or SIGINT.

    Where the port of the federation service is taken, it goes on without it. Returns the exit code: 0, 3 if a process
    cannot use a setting when it is first started, or 130 after a second SIGINT, which kills at once. Must be called in
    the main thread.
    Raises AlreadyRunning: if another `up` works in the same state directory. Raises PortTaken, SettingsError: if the
    gateway could not listen, or a process for its metrics. Raises BusError: if the embedded server does not start.
    Raises PulseError: if the Procfile cannot be used. Nothing is left running then.
    """
    configure_logging("up", settings)
    with only_one(settings.ark_state_dir) as was_left, contextlib.ExitStack() as stack:
        patience_s = _REMNANTS_S if was_left else 0
        check_port("ARK_HTTP", settings.ark_http_host, settings.ark_http_port, wait_s=patience_s)
        server = None
        if settings.ark_bus_url is None:
            server = stack.enter_context(EmbeddedServer(settings.ark_state_dir))
        programs = read_procfile(procfile, child_environment(os.environ, None if server is None else server.url))
        programs = with_metrics_ports(programs, settings, wait_s=patience_s)
        if any(program.name == FEDERATION for program in programs) and _federation_port_taken(settings, patience_s):
            programs = [program for program in programs if program.name != FEDERATION]
        if server is not None:
            programs.insert(0, server.program())
        return asyncio.run(_main(settings, Supervisor(programs), server))


@contextlib.contextmanager
def only_one(state_dir: Path) -> Iterator[bool]:
    """Hold the state directory; tells whether the `up` before was killed, so that its processes may be about yet."""
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(state_dir / "up.lock")
    except LockTaken as error:
        raise AlreadyRunning(str(state_dir), error.pid) from error
    except OSError as error:
        raise SettingsError("ARK_STATE_DIR", f"cannot be written: {error.strerror}") from error
    try:
        yield lock.was_left
    finally:
        lock.release()


def _federation_port_taken(settings: Settings, patience_s: float) -> bool:
    """Whether another service has the port: most often it is ARK's own, and all else is of use without ours."""
    host, port = settings.federation_host, settings.federation_port
    try:
        check_port("FEDERATION", host, port, wait_s=patience_s)
    except PortTaken as error:
        other = f"http://{address(host, port)}"
        _logger.warning(
            "%s: going on without the federation service; to follow that one set ARK_FEDERATION_URL=%s", error, other
        )
        return True
    return False


async def _main(settings: Settings, supervisor: Supervisor, server: EmbeddedServer | None) -> int:
    stop, hurry = on_signals()
    try:
        if server is not None:
            await start_server(supervisor, server, stop)
        async with asyncio.TaskGroup() as group:
            announcing = group.create_task(_announce(settings))
            await supervisor.keep_running(stop)
            announcing.cancel()
        if supervisor.refused is not None:
            _logger.error("%s cannot use a setting, as it says above: ending", supervisor.refused)
    finally:
        await supervisor.end_all(hurry)
    if supervisor.refused is not None:
        return SETTING_REFUSED
    return INTERRUPTED if hurry.is_set() else 0


async def start_server(supervisor: Supervisor, server: EmbeddedServer, stop: asyncio.Event) -> None:
    """Start the embedded server, and wait until it answers, or `stop` is set.

    Raises BusError: if it does not start: a first start that fails will fail again. Cancellation: it may run.
    """
    try:
        ended = await supervisor.start_first(BUS, server.answers, stop)
    except OSError as error:
        raise BusError(f"the embedded server cannot be started: {error.strerror or error}") from error
    if ended is not None:
        text = await asyncio.to_thread(last_line, server.log)
        raise BusError(f"the embedded server ended at its start ({ended}); {server.log} says: {text or 'nothing'}")
    _logger.info("the bus is %s", hide_password(server.url))


async def _announce(settings: Settings) -> None:
    """Print where the page is as soon as it is there, then what it shows."""
    host, port = settings.ark_http_host, settings.ark_http_port
    await _ask(host, port, "/healthz")
    print_line(f"ARK Pulse is at http://{address(host, port)}/")
    if settings.ark_tokens_file is not None:
        print_line("It asks for an access token: `ark-pulse token new` makes one")
        return
    for half in ("federation", "memory"):
        print_line(shown_line(half, await _source_of(half, settings), settings))


async def _source_of(half: str, settings: Settings) -> str:
    """What a half says of itself; the first summaries of a start are stale, until the sources have answered."""
    source = "unknown"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SUMMARY_S):
            while source in {"unknown", "stale"}:
                await asyncio.sleep(_POLL_S)  # only asking tells
                source = _source(await _ask(settings.ark_http_host, settings.ark_http_port, f"/api/v1/{half}"))
    return source


async def _ask(host: str, port: int, path: str) -> bytes:
    """What the gateway answers with status 200, once it does."""
    while True:
        with contextlib.suppress(OSError):  # nobody listens, or no answer comes in time
            async with asyncio.timeout(_ASK_S):
                answer = await http_get(host, port, path)
            if answer is not None and answer.status == 200:
                return answer.body
        await asyncio.sleep(_POLL_S)  # only asking tells whether the gateway answers


def _source(summary: bytes) -> str:
    try:
        return str(json.loads(summary)["source"])
    except (ValueError, KeyError, TypeError):
        return "unknown"


def shown_line(half: str, source: str, settings: Settings) -> str:
    """What a half of the page shows, in one line; `source` is what its summary says of itself, or "unknown"."""
    followed = settings.ark_federation_url
    mesh = hide_password(settings.redis_url) + ("" if followed is None else f" and {hide_password(followed)}")
    what, origin = {
        "federation": ("the federation mesh", mesh),
        "memory": ("the memory engine", str(settings.ark_base_path / "data")),
    }[half]
    return {
        "live": f"It shows {what} live from {origin}",
        "stale": f"It shows stale values of {what}; `ark-pulse doctor` tells why",
        "simulated": f"It shows {what} simulated, not yours; `ark-pulse doctor` tells why",
    }.get(source, f"What it shows of {what} is not known; `ark-pulse doctor` tells more")
