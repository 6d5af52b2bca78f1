"""`ark-pulse capture`: adds the change log to `ark.db`, by the operator's explicit wish, and takes it away again.

The only writing to ARK's databases beside the demo's. Each command is one transaction.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from processors.runtime.change_log import CHANGES, PREFIX, TABLES, UNIQUE_COLUMNS, make_log, triggers, unique_keys
from processors.runtime.errors import PulseError
from processors.runtime.output import print_line
from processors.runtime.settings import Settings
from processors.tools.databases import transaction

__all__ = ["ACTIONS", "capture", "install", "is_installed", "remove", "status"]


def capture(settings: Settings, action: str) -> None:
    """Do `action`, one of `ACTIONS`, and print what came of it.

    Raises PulseError: if the file is missing or locked, or has none of the tables.
    """
    for line in ACTIONS[action](settings.ark_base_path / "data" / "ark.db"):
        print_line(line)


def install(path: Path) -> list[str]:
    """Let the database at `path` log which rows change, for every table that it has. Returns a line a table."""
    lines = []
    with transaction(_existing(path)) as database:
        if not any(_columns(database, table) for table in TABLES):
            raise PulseError(f"{path.name} has none of the tables {', '.join(TABLES)}")
        if CHANGES not in _ours(database, "table"):
            _drop(database)
            for statement in make_log():
                database.execute(statement)
        for table in TABLES:
            if not _columns(database, table):
                lines.append(f"{table}: no such table; install again when there is one")
            elif _is_captured(database, table):
                lines.append(f"{table}: was captured already")
            else:
                _capture(database, table)
                lines.append(f"{table}: captured from now on")
    return lines


def remove(path: Path) -> list[str]:
    """Leave the database as it was before `install`. Returns a line for people."""
    with transaction(_existing(path)) as database:
        return ["removed; changes are found by sweeping"] if _drop(database) else ["nothing was captured"]


def status(path: Path) -> list[str]:
    """Which tables are captured, a line each, and how many changes the log holds."""
    with transaction(_existing(path), "DEFERRED", mode="ro") as database:
        lines = [f"{table}: {_state(database, table)}" for table in TABLES]
        if CHANGES in _ours(database, "table"):
            [(count,)] = database.execute(f"SELECT count(*) FROM {CHANGES} WHERE tbl >= 0")  # noqa: S608  - our own name
            lines.append(f"the log holds {count:,} changes")
        return lines


def is_installed(path: Path) -> bool:
    """Whether anything of ours is in the database at `path`."""
    with transaction(_existing(path), "DEFERRED", mode="ro") as database:
        return any(_ours(database, kind) for kind in ("trigger", "table"))


ACTIONS: Final[dict[str, Callable[[Path], list[str]]]] = {"install": install, "remove": remove, "status": status}
"""What can be done, by its name on the command line."""


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise PulseError(f"{path} does not exist")
    return path


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def _ours(database: sqlite3.Connection, kind: str) -> dict[str, str]:
    """What is ours of a kind ("table" or "trigger"), and the statement that made it, by name."""
    found = f"SELECT name, sql FROM sqlite_master WHERE type = ? AND name GLOB '{PREFIX}*'"  # noqa: S608  - our own name
    return dict(database.execute(found, (kind,)))


def _state(database: sqlite3.Connection, table: str) -> str:
    if not _columns(database, table):
        return "no such table"
    return "captured" if _is_captured(database, table) else "not captured"


def _wanted(database: sqlite3.Connection, table: str) -> dict[str, str]:
    keys = unique_keys(database.execute(UNIQUE_COLUMNS, (table,)))
    return triggers(table, _columns(database, table), keys)


def _is_captured(database: sqlite3.Connection, table: str) -> bool:
    return _wanted(database, table).items() <= _ours(database, "trigger").items()


def _capture(database: sqlite3.Connection, table: str) -> None:
    for name in _ours(database, "trigger"):
        if name.startswith(f"{PREFIX}{table}_"):
            database.execute(f"DROP TRIGGER {name}")
    for statement in _wanted(database, table).values():
        database.execute(statement)


def _drop(database: sqlite3.Connection) -> bool:
    """Take away all that is ours. Returns whether there was any."""
    found = [(kind, name) for kind in ("trigger", "table") for name in _ours(database, kind)]
    for kind, name in found:
        database.execute(f"DROP {kind} {name}")
    return bool(found)
