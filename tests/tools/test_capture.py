import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from processors.runtime import change_log
from processors.runtime.change_log import CHANGES, TABLES
from processors.runtime.errors import PulseError
from processors.tools import databases
from processors.tools.capture import install, remove, status
from tests.databases import make_ark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ark.db"


@pytest.fixture
def ark(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(make_ark(path)) as database:
        yield database


def schema(database: sqlite3.Connection) -> list[tuple[object, ...]]:
    return database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()


def logged(database: sqlite3.Connection) -> list[tuple[str, int]]:
    """Table and rowid of all entries but the first; the same again is left out."""
    entries = database.execute(f"SELECT tbl, rid FROM {CHANGES} WHERE tbl >= 0 ORDER BY seq")
    return list(dict.fromkeys((list(TABLES)[number], rowid) for number, rowid in entries))


def test_every_change_of_what_matters_is_logged(ark: sqlite3.Connection, path: Path) -> None:
    ark.execute("INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('a', 't', 's')")
    install(path)
    ark.execute("INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('b', 't', 's')")
    ark.execute("UPDATE code_patterns SET usage_count = 3 WHERE pattern_id = 'a'")
    ark.execute("INSERT INTO sandbox_executions (execution_id, code_hash, status) VALUES ('x', 'h', 'running')")
    ark.execute("DELETE FROM code_patterns")
    assert logged(ark) == [("code_patterns", 2), ("code_patterns", 1), ("sandbox_executions", 1)]


def test_a_change_of_what_does_not_matter_is_not_logged(ark: sqlite3.Connection, path: Path) -> None:
    ark.execute("INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('a', 't', 's')")
    install(path)
    ark.execute("UPDATE code_patterns SET description = 'd', embedding = x'00', last_used = 5")
    assert logged(ark) == []


def test_rows_that_a_replace_removes_are_logged(ark: sqlite3.Connection, path: Path) -> None:
    into = "INTO code_index (file_id, file_path, trust_tier) VALUES"
    ark.execute(f"INSERT {into} ('a', 'one', 'core'), ('b', 'two', 'core'), ('c', 'three', 'core')")
    install(path)
    ark.execute(f"INSERT OR REPLACE {into} ('a', 'two', 'core')")
    ark.execute("UPDATE OR REPLACE code_index SET file_path = 'three' WHERE file_id = 'a'")
    assert set(logged(ark)) == {("code_index", rowid) for rowid in (1, 2, 3, 4)}


def test_the_log_keeps_its_newest_entries(ark: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "_KEPT", 3)
    install(path)
    for number in range(9):
        ark.execute("INSERT INTO code_index (file_id, file_path) VALUES (?, ?)", (f"k{number}", f"p{number}"))
    assert logged(ark) == [("code_index", rowid) for rowid in (7, 8, 9)]


def test_removing_leaves_the_schema_as_it_was(ark: sqlite3.Connection, path: Path) -> None:
    before = schema(ark)
    install(path)
    assert schema(ark) != before
    assert remove(path) == ["removed; changes are found by sweeping"]
    assert schema(ark) == before
    assert remove(path) == ["nothing was captured"]


def test_installing_again_changes_nothing(ark: sqlite3.Connection, path: Path) -> None:
    install(path)
    before = [schema(ark), ark.execute("PRAGMA schema_version").fetchall()]
    assert install(path) == [f"{table}: was captured already" for table in TABLES]
    assert [schema(ark), ark.execute("PRAGMA schema_version").fetchall()] == before


def test_a_table_that_is_missing_is_told_and_captured_once_it_is_there(ark: sqlite3.Connection, path: Path) -> None:
    ark.execute("DROP TABLE code_index")
    assert install(path)[2] == "code_index: no such table; install again when there is one"
    ark.execute("CREATE TABLE code_index (file_id TEXT PRIMARY KEY)")
    assert status(path)[2] == "code_index: not captured"
    assert install(path)[2] == "code_index: captured from now on"


def test_a_column_that_was_added_is_captured_when_installed_again(ark: sqlite3.Connection, path: Path) -> None:
    ark.execute("ALTER TABLE code_patterns DROP COLUMN usage_count")
    install(path)
    ark.execute("ALTER TABLE code_patterns ADD COLUMN usage_count INTEGER")
    assert status(path)[0] == "code_patterns: not captured"
    assert install(path)[0] == "code_patterns: captured from now on"


def test_a_log_whose_table_was_dropped_is_made_anew(ark: sqlite3.Connection, path: Path) -> None:
    install(path)
    ark.execute(f"DROP TABLE {CHANGES}")
    install(path)
    assert logged(ark) == []
    ark.execute("INSERT INTO code_index (file_id, file_path) VALUES ('a', 'p')")
    assert logged(ark) == [("code_index", 1)]


def test_status_tells_what_is_captured(ark: sqlite3.Connection, path: Path) -> None:
    assert status(path) == [f"{table}: not captured" for table in TABLES]
    install(path)
    assert status(path) == [*(f"{table}: captured" for table in TABLES), "the log holds 0 changes"]


def test_a_file_that_is_not_there_is_not_made(path: Path) -> None:
    for action in (install, remove, status):
        with pytest.raises(PulseError, match=r"ark\.db does not exist"):
            action(path)
    assert not path.exists()


def test_a_file_without_any_of_the_tables_is_refused_and_left_alone(path: Path) -> None:
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(PulseError, match="has none of the tables code_patterns, sandbox_executions, code_index"):
        install(path)
    assert path.read_bytes() == b""


def test_a_locked_file_is_told(ark: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_S", 0.01)
    ark.execute("BEGIN EXCLUSIVE")
    for action in (install, remove, status):
        with pytest.raises(PulseError, match=r"ark\.db: database is locked"):
            action(path)
