"""ARK's databases: locked, replaced, corrupt, and written without a commit."""

import random
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from tests.faults.databases import Database
from tests.faults.report import Run
from tests.faults.strikes import Strike, run_strikes
from tests.faults.system import JOURNALS, RIGHT_S, Kind, System
from tests.stack import wait_for

__all__ = ["disturb_databases"]

_COUNTER: Final = 24
"""Where a database's header has the number that every commit makes one more: who has read it reads again."""

_MANY: Final = 3_000
"""Rows that do not fit into the writer's cache: it writes them to the file before it commits."""

_UNDONE: Final[Mapping[str, tuple[str, list[tuple[str, str]]]]] = {
    name: (f"INSERT INTO {into} VALUES ({values})", [(f"undone {number}", "x" * 400) for number in range(_MANY)])
    for name, into, values in (
        ("reasoning_logs.db", "reasoning_sessions (session_id, query, agent_name, timestamp)", "?, ?, '', ''"),
        ("ark.db", "code_patterns (pattern_id, code_snippet, pattern_type, usage_count)", "?, ?, '', 9"),
    )
}
"""Of each database the statement of a transaction that is never committed, and its rows."""


def _chosen(system: System, chance: random.Random) -> Database:
    return chance.choice([each for each in system.load.producers if isinstance(each, Database)])


def _until_shown(system: System, database: Database) -> Mapping[str, Any]:
    """What the memory half shows, once that is what was committed to a database that nobody writes."""

    def shown() -> Mapping[str, Any] | None:
        seen = system.seen()
        return None if seen is None or database.wrong(seen) else seen.memory

    return wait_for("the database is as it is shown", shown, RIGHT_S)


def _stays(system: System, run: Run, database: Database, before: Mapping[str, Any], seconds: float) -> None:
    """For so long nothing but what was committed is shown of a database, and the rest goes on."""
    ends, began = time.monotonic() + seconds, _syncs(system)
    while time.monotonic() < ends:
        memory = system.stack.get("/api/v1/memory") or {}
        for name in database.fields:
            value = memory.get(name)
            is_true = value is None or value == before.get(name)
            run.compare("I5", "" if is_true else f"{name} is {value}, committed was {before.get(name)}")
        time.sleep(0.1)
    run.compare("I1", "" if _syncs(system) > began else "the mesh stands still, too")


def _syncs(system: System) -> int:
    return int((system.stack.get("/api/v1/federation") or {}).get("sync_events_total", 0))


def _lock(run: Run) -> Strike:
    def strike(system: System, chance: random.Random) -> None:
        database = _chosen(system, chance)
        with system.load.resting(database), closing(sqlite3.connect(database.path, isolation_level=None)) as owner:
            before = _until_shown(system, database)
            owner.execute("BEGIN EXCLUSIVE")
            _stays(system, run, database, before, chance.uniform(1, 3))
            owner.execute("ROLLBACK")

    return strike


def _roll_back(run: Run) -> Strike:
    def strike(system: System, chance: random.Random) -> None:
        database = _chosen(system, chance)
        with system.load.resting(database), closing(sqlite3.connect(database.path, isolation_level=None)) as owner:
            before = _until_shown(system, database)
            owner.execute("PRAGMA cache_size = 4")
            owner.execute("BEGIN IMMEDIATE")
            owner.executemany(*_UNDONE[database.path.name])
            _stays(system, run, database, before, chance.uniform(0.5, 2))
            owner.execute("ROLLBACK")
            _stays(system, run, database, before, 0.5)

    return strike


def _replace(_run: Run) -> Strike:
    def strike(system: System, chance: random.Random) -> None:
        database = _chosen(system, chance)
        with system.load.resting(database):
            database.replace()

    return strike


def _corrupt(run: Run) -> Strike:
    def strike(system: System, chance: random.Random) -> None:
        database = _chosen(system, chance)
        with system.load.resting(database):
            before = _until_shown(system, database)
            database.settle()
            whole = database.path.read_bytes()
            size = int.from_bytes(whole[16:18], "big")
            page = chance.randrange(1, len(whole) // size)
            broken = whole[: page * size] + chance.randbytes(size) + whole[(page + 1) * size :]
            _write_over(database, broken, 1)
            _stays(system, run, database, before, chance.uniform(1, 3))
            _write_over(database, whole, 2)

    return strike


def _write_over(database: Database, content: bytes, commits: int) -> None:
    """Put `content` into the file in place, as so many commits after it."""
    counter = (int.from_bytes(content[_COUNTER : _COUNTER + 4], "big") + commits).to_bytes(4, "big")
    with database.path.open("r+b") as file:
        file.write(content[:_COUNTER] + counter + content[_COUNTER + 4 :])


def disturb_databases(run: Run, seconds: float) -> None:
    """One of the two databases at a time, in either journal mode, while the rest goes on."""
    strikes = {
        "locked": _lock(run),
        "rolled back": _roll_back(run),
        "replaced": _replace(run),
        "corrupt": _corrupt(run),
    }
    run_strikes(run, seconds, strikes, Kind(journal=JOURNALS[run.seed % 2]))
