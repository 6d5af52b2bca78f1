"""The load of ARK's databases: what is committed to each, counted in plain Python."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.databases import make_ark, make_reasoning, write_session
from tests.faults.producers import Feed, Producer, Seen, difference

__all__ = ["Code", "Database", "Reasoning"]


class Database(Producer):
    """Commits to a database of ARK's, which `make` makes at `path`."""

    rate = 15.0
    # Fields of the memory half that only this database tells.
    fields: tuple[str, ...] = ()

    def __init__(self, seed: str, make: Callable[[Path, str], sqlite3.Connection], path: Path, mode: str) -> None:
        super().__init__(seed)
        self.path = path
        self._mode = mode
        with closing(make(path, mode)):
            self._database = self._opened()

    def _opened(self) -> sqlite3.Connection:
        # It is used by one thread at a time, not always the same.
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    def settle(self) -> None:
        """Have all that was committed in the file itself."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def replace(self) -> None:
        """Rename a copy of the file over it, as who restores one does, and go on with that."""
        copy = self.path.with_suffix(".copy")
        with closing(sqlite3.connect(copy)) as target:
            self._database.backup(target)
        self._database.close()
        for ending in ("-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        copy.replace(self.path)
        self._database = self._opened()
        self._database.execute(f"PRAGMA journal_mode = {self._mode}")

    def close(self) -> None:
        self._database.close()


class Reasoning(Database):
    """Commits sessions with their stages; some get their id late, below those that came before them."""

    fields = ("sessions_total", "stages_total", "consolidated_total")

    def __init__(self, seed: str, path: Path, mode: str) -> None:
        super().__init__(seed, make_reasoning, path, mode)
        # Largest id that was given, and the ids that were left out.
        self._top = 0
        self._skipped: list[int] = []
        self._consolidated = 0
        self._told = Feed("ark:feed:memory", lambda record: record["id"])
        self.feeds = [self._told]

    def step(self) -> None:
        if self.chance.random() < 0.05:
            self._undo()
        row_id = self._row_id()
        confidences = [self.chance.choice((None, 0.25, 0.5, 0.75, 1.0)) for _ in range(self.chance.randrange(5))]
        write_session(self._database, f"s-{row_id}", confidences, row_id=row_id)
        self.written["sessions"] += 1
        self.written["stages"] += len(confidences)
        self._consolidated += sum(confidence is not None and confidence >= 0.7 for confidence in confidences)
        self._told.expect(row_id)

    def _row_id(self) -> int:
        if self._skipped and self.chance.random() < 0.3:
            return self._skipped.pop(0)
        if self.chance.random() < 0.1:
            self._top += 1
            self._skipped.append(self._top)
        self._top += 1
        return self._top

    def _undo(self) -> None:
        """What is not committed never was."""
        self._database.execute("BEGIN IMMEDIATE")
        self._database.execute(
            "INSERT INTO reasoning_sessions (session_id, agent_name, query, timestamp) VALUES ('undone', '', '', '')"
        )
        self._database.execute("ROLLBACK")

    def wrong(self, seen: Seen) -> str:
        expected = {
            "sessions_total": self.written["sessions"],
            "stages_total": self.written["stages"],
            "consolidated_total": self._consolidated,
        }
        return difference(seen.memory, expected)


class _Table(NamedTuple):
    """What is written to one table of `ark.db`."""

    name: str
    key: str
    # Another column that must not be NULL.
    unique: str
    # Two columns, and what they may hold.
    columns: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]


_TABLES: Final = (
    _Table(
        "code_patterns",
        "pattern_id",
        "pattern_type",
        ("code_snippet", "usage_count"),
        (("", "one", "two", "three"), tuple(range(9))),
    ),
    _Table(
        "sandbox_executions",
        "execution_id",
        "code_hash",
        ("status", "security_violations"),
        (("running", "success", "error", "timeout", "killed"), ("[]", "[]", None, '["network"]')),
    ),
    _Table(
        "code_index",
        "file_id",
        "file_path",
        ("trust_tier", "module_name"),
        (("core", "sandbox", "testing", None), ("a", "b")),
    ),
)


class Code(Database):
    """Inserts, updates, replaces and deletes rows of `ark.db`, a few in each transaction; some are rolled back."""

    invariant = "I2"
    fields = ("dedup_rate", "quarantine_count", "trust_distribution")

    def __init__(self, seed: str, path: Path, mode: str) -> None:
        super().__init__(seed, make_ark, path, mode)
        # Of each table what is committed, by key.
        self._rows: dict[_Table, dict[str, tuple[Any, Any]]] = {table: {} for table in _TABLES}

    def step(self) -> None:
        rows = {table: dict(known) for table, known in self._rows.items()}
        self._database.execute("BEGIN IMMEDIATE")
        for _ in range(self.chance.randint(1, 3)):
            table = self.chance.choice(list(rows))
            self._change(table, rows[table])
        if self.chance.random() < 0.1:
            self._database.execute("ROLLBACK")
            return
        self._database.execute("COMMIT")
        self._rows = rows
        self.written["commits"] += 1

    def _change(self, table: "_Table", rows: dict[str, tuple[Any, Any]]) -> None:
        key = f"{table.key}-{self.chance.randrange(60)}"
        row = self.chance.choice(table.values[0]), self.chance.choice(table.values[1])
        if key not in rows or self.chance.random() < 0.3:
            columns = ", ".join((table.key, table.unique, *table.columns))
            self._database.execute(
                f"INSERT OR REPLACE INTO {table.name} ({columns}) VALUES (?, ?, ?, ?)", (key, key, *row)
            )
        elif self.chance.random() < 0.7:
            assignments = ", ".join(f"{column} = ?" for column in table.columns)
            self._database.execute(f"UPDATE {table.name} SET {assignments} WHERE {table.key} = ?", (*row, key))
        else:
            self._database.execute(f"DELETE FROM {table.name} WHERE {table.key} = ?", (key,))
            del rows[key]
            return
        rows[key] = row

    def wrong(self, seen: Seen) -> str:
        patterns, executions, files = (list(rows.values()) for rows in self._rows.values())
        usage, snippets = sum(uses for _, uses in patterns), len({snippet for snippet, _ in patterns} - {""})
        bad = [status in {"error", "timeout", "killed"} or said == '["network"]' for status, said in executions]
        tiers = Counter(tier if tier in {"core", "sandbox"} else "other" for tier, _ in files)
        expected = {
            "dedup_rate": min(max(100 * (usage - snippets) / usage, 0.0), 100.0) if usage else None,
            "quarantine_count": sum(bad),
            "trust_distribution": {tier: tiers[tier] for tier in ("core", "trusted", "sandbox", "external", "other")},
        }
        return difference(seen.memory, expected)
