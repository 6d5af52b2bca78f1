"""ARK's SQLite files, read without harm to their owner.

Nothing is ever written, and nothing checkpointed: the file is opened read-only, which makes the last of its readers
leave the write-ahead log alone. Each read is one statement, hence one transaction, and is given up after some
milliseconds: in the rollback journal's mode a writer cannot commit while somebody reads.
"""

import asyncio
import contextlib
import errno
import random
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import aiosqlite

from processors.collectors.backoff import Backoff
from processors.collectors.folder_watch import FolderWatch
from processors.collectors.status import SourceStatus, clause
from processors.runtime.clock import BusClock

__all__ = ["CHECK_S", "MAX_VALUE_BYTES", "READ_LIMIT_S", "Database", "Replaced", "Row", "TooSlow", "keep_reading"]

Row: TypeAlias = tuple[Any, ...]
"""Values of one row: int, float, bytes (also for TEXT, which need not be UTF-8), None."""

READ_LIMIT_S: Final = 0.015
"""Longest read, in seconds of the database's thread; what takes longer is given up."""

CHECK_S: Final = 2.0
"""How often a file is looked at although nothing was heard of it; not every file system tells."""

MAX_VALUE_BYTES: Final = 16 << 20
"""Largest value that is read."""

_POLL_S: Final = 0.25
# Least time between two looks: of a program that commits hundreds of times a second, several commits are read at once.
_LOOK_S: Final = 0.01
# The first copy of the header, https://www.sqlite.org/walformat.html.
_HEADER_BYTES: Final = 48
# When a write-ahead log that has come to rest is looked at again for the first time; each time it is twice as long.
_AGAIN_S: Final = 0.01
_LOCKED_WAIT_S: Final = 0.01
_LOCKED_TELL_S: Final = 1.0
_STEPS: Final = 1_000


class Replaced(Exception):
    """The path leads to another file now, or to none."""


class TooSlow(Exception):
    """A read was given up at `READ_LIMIT_S`: ask for less at once."""


class _Cursor(sqlite3.Cursor):
    """Counts the CPU that its statement took."""

    connection: "_Connection"

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        finally:
            self.connection.note_work()


class _Connection(sqlite3.Connection):
    """Gives up a statement that takes too long, and counts CPU, both in its own thread: the event loop may be busy."""

    # When the present statement is given up, seconds of the monotonic clock.
    deadline = 0.0
    # CPU that the thread had used when the present statement began, and that of all statements, seconds.
    began_s = 0.0
    worked_s = 0.0
    # How long the last statement took, seconds.
    took_s = 0.0

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self.deadline = time.monotonic() + READ_LIMIT_S
        self.began_s = time.thread_time()
        return self.cursor(_Cursor).execute(sql, parameters)

    def note_work(self) -> None:
        self.worked_s += time.thread_time() - self.began_s
        self.took_s = time.monotonic() + READ_LIMIT_S - self.deadline

    def is_late(self) -> bool:
        return time.monotonic() > self.deadline


def _connect(path: Path) -> _Connection:
    """Open for reading only. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    # Waiting for a lock is ours: it must not hold up the thread.
    connection: _Connection = sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None, factory=_Connection)
    connection.text_factory = bytes
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.set_progress_handler(connection.is_late, _STEPS)
    connection.execute("PRAGMA query_only = 1")
    return connection


class _Look(NamedTuple):
    """What a file looks like from outside."""

    # `<device>-<inode>`: another file under the same name is another source.
    identity: str
    # Size and time of the last change of the file and of its write-ahead log; None without a log.
    file: tuple[int, int]
    log: tuple[int, int] | None
    # The header of the log's index, which changes with each commit as others see it; empty without one.
    header: bytes = b""

    def is_early(self, before: "_Look | None") -> bool:
        """Whether only the log was touched since, and no commit is to be seen yet; a file written over is read."""
        return before is not None and bool(self.header) and (self.file, self.header) == (before.file, before.header)


def _look(path: Path, named: Path) -> _Look:
    """What `named` leads to, with the log beside `path`. Raises OSError: if there is no such file."""
    found = named.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a file")
    log, header = None, b""
    with contextlib.suppress(FileNotFoundError):
        written = path.with_name(f"{path.name}-wal").stat()
        log = (written.st_size, written.st_mtime_ns)
    # Without it every sign of the log counts.
    with contextlib.suppress(OSError), path.with_name(f"{path.name}-shm").open("rb", buffering=0) as shared:
        header = shared.read(_HEADER_BYTES)
    return _Look(f"{found.st_dev}-{found.st_ino}", (found.st_size, found.st_mtime_ns), log, header)


class Database:
    """One file, at `path`, which is no link; `named` is what leads to it. Its reads are one at a time.

    With a write-ahead log it is open only while it is read. The last program that closes such a file puts the log into
    it, unless it may only read: while we had it open, the log of an owner who has gone would stay, and spoil the file
    that he renames over it.
    """

    def __init__(
        self, path: Path, watch: FolderWatch, status: SourceStatus, clock: BusClock, *, named: Path | None = None
    ) -> None:
        self.path = path
        self._named = named or path
        self._watch = watch
        self._status = status
        self._clock = clock
        # None while it is closed; and what it is made of, for its counts.
        self._connection: aiosqlite.Connection | None = None
        self._raw: _Connection | None = None
        # What the file looked like before the last look into it.
        self._seen: _Look | None = None
        # SQLite's count of what others have committed, as it was last asked for in this connection; when that was (loop
        # time, s); and whether something was heard of the file since.
        self._version: int | None = None
        self._looked_at = 0.0
        self._told = False
        # A writer touches the log first, and lets others see the commit only then, which nobody is told: had he to wait
        # in between, it is not there yet. So a log at rest is looked at again (loop time, s), after longer and longer
        # rests (s).
        self._again_at = 0.0
        self._again_s = _AGAIN_S
        # Seconds of CPU of the reads of earlier connections.
        self._worked_s = 0.0

    async def open(self) -> None:
        """Open the file. Raises OSError: if there is none. Raises sqlite3.Error: if it cannot be opened."""
        self._seen = await asyncio.to_thread(_look, self.path, self.path)
        await self._connected()

    @property
    def identity(self) -> str:
        """`<device>-<inode>` of the file: another file under the same name is another source."""
        assert self._seen is not None, "it was opened"
        return self._seen.identity

    @property
    def busy_s(self) -> float:
        """Seconds of CPU that all reads took so far."""
        return self._worked_s + (0.0 if self._raw is None else self._raw.worked_s)

    @property
    def took_s(self) -> float:
        """Seconds that the last read took, by the clock of its thread: so long it held up a writer."""
        return 0.0 if self._raw is None else self._raw.took_s

    async def _connected(self) -> aiosqlite.Connection:
        if self._connection is None:
            self._connection = await aiosqlite.Connection(self._connect, 64)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        self._worked_s = self.busy_s
        self._raw = _connect(self.path)
        return self._raw

    async def close(self) -> None:
        """Close the file. Harmless if it is not open."""
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows that one SELECT gives, in one short transaction; waits while the file is locked.

        Raises TooSlow: if it took longer than `READ_LIMIT_S`. Raises sqlite3.Error: if the file is damaged, or lacks
        what is asked for. Cancellation: safe.
        """
        connection = await self._connected()
        began = time.monotonic()
        while True:
            try:
                rows = await connection.execute_fetchall(sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname == "SQLITE_INTERRUPT":
                    raise TooSlow("a read took too long") from error
                if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                    raise
                if time.monotonic() - began > _LOCKED_TELL_S:
                    self._status.failed(self._clock.now_ms(), "database is locked")
                await self._watch.wait(_LOCKED_WAIT_S)
            else:
                return list(rows)  # type: ignore[arg-type]  # no row factory is set: they are tuples

    async def columns(self, table: str) -> frozenset[str]:
        """Names of a table's columns; empty if there is no such table. Raises as `read`."""
        rows = await self.read("SELECT name FROM pragma_table_info(?)", (table,))
        return frozenset(name.decode("utf-8", "replace") for (name,) in rows)

    async def changed(self) -> bool:
        """Whether anything was committed since the last call; True at the first.

        Raises Replaced: if the path leads elsewhere now. Raises as `read`.
        """
        try:
            look = await asyncio.to_thread(_look, self.path, self._named)
        except OSError as error:
            raise Replaced(f"file is gone: {error.strerror}") from error
        if look.identity != self.identity:
            raise Replaced("file was replaced")
        before, self._seen = self._seen, look
        told, self._told = self._told, False
        self._looked_at = asyncio.get_running_loop().time()
        rests = not told and look == before
        self._again_s = 2 * self._again_s if rests else _AGAIN_S
        self._again_at = self._looked_at + self._again_s
        if self._connection is None and (rests or look.is_early(before)):
            return False
        known = self._version
        rows = await self.read("PRAGMA data_version")
        self._version = int(rows[0][0])
        return known != self._version

    async def wait(self, seconds: float = CHECK_S) -> None:
        """Return when the file may have changed, after `seconds` at the latest.

        To be called when `changed` says no: a change during the reads before it may have been noted already.
        Cancellation: safe.
        """
        self._watch.start()
        if self._seen is not None and self._seen.log is not None:
            await self.close()
            seconds = min(seconds, self._again_at - asyncio.get_running_loop().time())
        self._told = await self._watch.wait(min(seconds, CHECK_S if self._watch.told else _POLL_S)) or self._told
        spare_s = self._looked_at + _LOOK_S - asyncio.get_running_loop().time()
        if spare_s > 0:
            await asyncio.sleep(spare_s)


async def keep_reading(
    path: Path, session: Callable[[Database], Awaitable[None]], *, status: SourceStatus, clock: BusClock
) -> None:
    """Run `session` on the open file, again after each failure and each replacement, until cancelled.

    `session` says itself when the source is live. Cancellation: safe where `session` is.
    """
    backoff = Backoff(random.random)
    while True:
        # A link is followed: what happens happens where it leads.
        real = await asyncio.to_thread(path.resolve)
        watch = FolderWatch(real.parent, [real.name, f"{real.name}-wal", f"{real.name}-journal"])
        database = Database(real, watch, status, clock, named=path)
        try:
            watch.start()
            await database.open()
            await session(database)
        except Replaced as error:
            status.failed(clock.now_ms(), str(error))
            backoff.reset()
            continue
        except (OSError, sqlite3.Error, TooSlow) as error:
            if status.state == "live":
                backoff.reset()
            status.failed(clock.now_ms(), _clause(error))
            if not isinstance(error, OSError):
                # A damaged file that goes on being written to is not tried again at every commit.
                await database.close()
                await asyncio.sleep(backoff.next_s())
            # What ails it may be mended by any change; a file system that does not tell is asked again.
            await watch.wait(backoff.next_s() if not watch.told else CHECK_S)
        finally:
            await database.close()
            await watch.close()


def _clause(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "file does not exist"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()  # without the number and the path
    return clause(error)
