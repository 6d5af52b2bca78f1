"""ARK's SQLite files, read without harm to their owner.

Nothing is ever written, and nothing checkpointed: the file is opened read-only, which makes the last of its readers
leave the write-ahead log alone. Each read is one statement, hence one transaction, and is given up after some
milliseconds: in the rollback journal's mode a writer cannot commit while somebody reads.
"""

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiosqlite

from processors.collectors.backoff import Backoff
from processors.collectors.folder_watch import FolderWatch
from processors.collectors.status import SourceStatus
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

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        self.deadline = time.monotonic() + READ_LIMIT_S
        self.began_s = time.thread_time()
        return self.cursor(_Cursor).execute(sql, parameters)

    def note_work(self) -> None:
        self.worked_s += time.thread_time() - self.began_s

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


class Database:
    """One open file. Its reads are one at a time."""

    def __init__(self, path: Path, watch: FolderWatch, status: SourceStatus, clock: BusClock) -> None:
        self._path = path
        self._watch = watch
        self._status = status
        self._clock = clock
        # None while it is closed; and what it is made of, for its counts.
        self._connection: aiosqlite.Connection | None = None
        self._raw: _Connection | None = None
        # `<device>-<inode>` of the file that is open: another file under the same name is another source.
        self.identity = ""
        # SQLite's count of what others have committed, as it was last asked for.
        self._version: int | None = None

    async def open(self) -> None:
        """Open the file. Raises OSError: if there is none. Raises sqlite3.Error: if it cannot be opened."""
        self.identity = await self._look()
        self._connection = await aiosqlite.Connection(self._connect, 64)

    @property
    def busy_s(self) -> float:
        """Seconds of CPU that all reads took so far."""
        return 0.0 if self._raw is None else self._raw.worked_s

    def _connect(self) -> sqlite3.Connection:
        self._raw = _connect(self._path)
        return self._raw

    async def close(self) -> None:
        """Close the file. Harmless if it is not open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows that one SELECT gives, in one short transaction; waits while the file is locked.

        Raises TooSlow: if it took longer than `READ_LIMIT_S`. Raises sqlite3.Error: if the file is damaged, or lacks
        what is asked for. Cancellation: safe.
        """
        assert self._connection is not None, "it is open"
        began = time.monotonic()
        while True:
            try:
                rows = await self._connection.execute_fetchall(sql, parameters)
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
            identity = await self._look()
        except OSError as error:
            raise Replaced(f"file is gone: {error.strerror}") from error
        if identity != self.identity:
            raise Replaced("file was replaced")
        rows = await self.read("PRAGMA data_version")
        before, self._version = self._version, int(rows[0][0])
        return before != self._version

    async def wait(self, seconds: float = CHECK_S) -> None:
        """Return when the file may have changed, after `seconds` at the latest.

        To be called when `changed` says no: a change during the reads before it may have been noted already.
        Cancellation: safe.
        """
        self._watch.start()
        await self._watch.wait(min(seconds, CHECK_S if self._watch.told else _POLL_S))

    async def _look(self) -> str:
        found = await asyncio.to_thread(os.stat, self._path)
        return f"{found.st_dev}-{found.st_ino}"


async def keep_reading(
    path: Path, session: Callable[[Database], Awaitable[None]], *, status: SourceStatus, clock: BusClock
) -> None:
    """Run `session` on the open file, again after each failure and each replacement, until cancelled.

    `session` says itself when the source is live. Cancellation: safe where `session` is.
    """
    watch = FolderWatch(path.parent, [path.name, f"{path.name}-wal", f"{path.name}-journal"])
    backoff = Backoff(random.random)
    try:
        while True:
            watch.start()
            database = Database(path, watch, status, clock)
            pause_s = 0.0
            try:
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
                    pause_s = backoff.next_s()
            finally:
                await database.close()
            # A damaged file that goes on being written to is not tried again at every commit.
            await asyncio.sleep(pause_s)
            # What ails it may be mended by any change; a file system that does not tell is asked again.
            await watch.wait(backoff.next_s() if not watch.told else CHECK_S)
    finally:
        await watch.close()


def _clause(error: OSError | sqlite3.Error | TooSlow) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "file does not exist"
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return text[:1].lower() + text[1:200]
