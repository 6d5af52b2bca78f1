"""The demo's part of ARK's databases: made if they are missing, written in short transactions, removed again.

A row is ours if its id begins with `demo-`; a file that was made here carries our application id in its header.
Whatever else is there stays as it is.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

from processors.runtime.change_log import PREFIX as CAPTURED
from processors.runtime.errors import SettingsError
from processors.tools.ark_schema import IDS, SCHEMAS
from processors.tools.errors import TargetFailed
from processors.tools.traffic import PREFIX, Row

__all__ = ["APPLICATION_ID", "BUSY_S", "DemoDatabase", "transaction"]

APPLICATION_ID: Final = int.from_bytes(b"ARKd", "big")
"""Header field of a database file that was made here."""

BUSY_S: Final = 5.0
"""How long a database may be locked by others before we give up, seconds."""

# All ids that begin with the prefix are at least the first, and less than the second: an index finds them.
_OURS: Final = (PREFIX, PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1))
_REMOVED_AT_ONCE: Final = 10_000


class DemoDatabase:
    """What seed writes into the database at `path`. Its methods block, at most `BUSY_S` for others' locks.

    They raise TargetFailed: if SQLite does. Each opens the file anew, so that it may be replaced meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def foreign(self) -> dict[str, int]:
        """How many rows of each table seed did not make; empty if there is no file."""
        if not self.path.exists():
            return {}
        with transaction(self.path, "DEFERRED") as connection:
            return {f"rows of {table}": _count_foreign(connection, table) for table in _tables(connection)}

    def prepare(self, rows: Iterable[Row] = ()) -> None:
        """Make what is missing of the folder, the file and its tables, and write `rows`, all at once.

        Who watches would otherwise find empty tables first, and count rows of long ago as new ones that came later.
        Raises SettingsError: if ARK_BASE_PATH cannot be written.
        """
        try:
            self.path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise SettingsError("ARK_BASE_PATH", f"cannot be written: {error.strerror}") from error
        is_new = not self.path.exists()
        # A new file appears under its name when it is whole: an empty one would be watched at once.
        made = self.path.with_name(f"{self.path.name}.new") if is_new else self.path
        if is_new:
            made.unlink(missing_ok=True)
        with transaction(made, mode="rwc") as connection:
            if is_new:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            # `executescript` would commit before it begins.
            for statement in SCHEMAS[self.path.name].split(";"):
                connection.execute(statement)
            _insert(connection, rows)
        if is_new:
            made.replace(self.path)

    def write(self, rows: Iterable[Row]) -> None:
        """Write `rows`, in their order, in one transaction."""
        with transaction(self.path) as connection:
            _insert(connection, rows)

    def remove(self) -> int:
        """Remove the rows that seed made, and the file if it made that too and no row is left.

        Returns how many rows there were. SQLite's count of ids that were given (AUTOINCREMENT) stays: a row that comes
        later must not get the id of one that somebody has seen.
        """
        if not self.path.exists():
            return 0
        removed = 0
        while some := self._remove_some():
            removed += some
        with transaction(self.path, "EXCLUSIVE") as connection:
            # Our rows are gone: what is left is not ours.
            made_here = connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
            if made_here and not any(_count_foreign(connection, t) for t in _tables(connection)):
                for suffix in ("", "-journal", "-wal", "-shm"):
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        return removed

    def _remove_some(self) -> int:
        with transaction(self.path) as connection:
            return sum(
                connection.execute(
                    f"DELETE FROM {table} WHERE rowid IN"  # noqa: S608  - names of this module
                    f" (SELECT rowid FROM {table} WHERE {key} >= ? AND {key} < ? LIMIT {_REMOVED_AT_ONCE})",
                    _OURS,
                ).rowcount
                for table, key in IDS.items()
                if table in _tables(connection)
            )


@contextlib.contextmanager
def transaction(path: Path, kind: str = "IMMEDIATE", *, mode: str = "rw") -> Iterator[sqlite3.Connection]:
    """One transaction of the database at `path`, opened for it. Blocks, at most `BUSY_S` for others' locks.

    Raises TargetFailed: if SQLite fails.
    """
    address = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        connecting = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
        with contextlib.closing(connecting) as connection:
            connection.execute(f"BEGIN {kind}")
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise TargetFailed(str(path), error) from error


def _insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    for statement, group in groupby(rows, attrgetter("statement")):
        connection.executemany(statement, (row.values for row in group))


def _tables(connection: sqlite3.Connection) -> list[str]:
    """The tables that somebody made, not SQLite itself, nor `capture`."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return [name for (name,) in rows if not name.startswith(("sqlite_", CAPTURED))]


def _count_foreign(connection: sqlite3.Connection, table: str) -> int:
    quoted = '"' + table.replace('"', '""') + '"'
    key = IDS.get(table)
    # An id may be NULL there: SQLite takes that for a primary key of text.
    condition = f"WHERE {key} < ? OR {key} >= ? OR {key} IS NULL" if key else ""
    counting = f"SELECT count(*) FROM {quoted} {condition}"  # noqa: S608  - quoted, and names of this module
    return int(connection.execute(counting, _OURS if key else ()).fetchone()[0])
