import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from processors.runtime.errors import SettingsError
from processors.tools import databases
from processors.tools.ark_schema import ARK, REASONING, SCHEMAS
from processors.tools.capture import install
from processors.tools.databases import APPLICATION_ID, DemoDatabase
from processors.tools.errors import TargetFailed
from processors.tools.traffic import Row, Traffic

NOW = 1_700_000_000_000


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


def patterns(count: int) -> list[Row]:
    return [row for unit in Traffic(random.Random(1).random).past_code(count, 0, 0, NOW) for row in unit]


def insert_foreign(path: Path, pattern_id: str = "real") -> None:
    query(path, f"INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('{pattern_id}', 't', '')")


@pytest.fixture
def ark_db(tmp_path: Path) -> DemoDatabase:
    """A database that was made by seed."""
    database = DemoDatabase(tmp_path / "data" / ARK)
    database.prepare()
    return database


@pytest.fixture
def real_db(tmp_path: Path) -> DemoDatabase:
    """A database that ARK made, with a row."""
    path = tmp_path / ARK
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMAS[ARK])
    insert_foreign(path)
    return DemoDatabase(path)


@pytest.mark.parametrize("name", [ARK, REASONING])
def test_a_missing_database_is_made_and_marked(tmp_path: Path, name: str) -> None:
    database = DemoDatabase(tmp_path / "data" / name)
    database.prepare()
    assert query(database.path, "PRAGMA application_id") == [(APPLICATION_ID,)]


def test_a_database_that_is_there_is_not_marked(real_db: DemoDatabase) -> None:
    real_db.prepare()
    assert query(real_db.path, "PRAGMA application_id") == [(0,)]


def test_missing_tables_are_made(tmp_path: Path) -> None:
    path = tmp_path / ARK
    query(path, "CREATE TABLE code_patterns (pattern_id TEXT PRIMARY KEY)")
    DemoDatabase(path).prepare()
    assert query(path, "SELECT count(*) FROM sandbox_executions") == [(0,)]


def test_a_folder_that_cannot_be_made_is_a_setting_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(SettingsError, match="ARK_BASE_PATH cannot be written: File exists"):
        DemoDatabase(tmp_path / "data" / ARK).prepare()


def test_rows_are_written_all_or_none(ark_db: DemoDatabase) -> None:
    rows = patterns(3)
    with pytest.raises(TargetFailed, match="UNIQUE constraint failed"):
        ark_db.write([*rows, rows[0]])
    assert query(ark_db.path, "SELECT count(*) FROM code_patterns") == [(0,)]


def test_only_what_was_not_made_here_is_foreign(ark_db: DemoDatabase) -> None:
    ark_db.write(patterns(5))
    for pattern_id in ("real", "demo", "demonstration", "DEMO-1"):
        insert_foreign(ark_db.path, pattern_id)
    query(ark_db.path, "INSERT INTO code_patterns (pattern_type, code_snippet) VALUES ('t', '')")
    assert ark_db.foreign() == {"rows of code_index": 0, "rows of code_patterns": 5, "rows of sandbox_executions": 0}


def test_rows_of_a_table_of_somebody_else_are_foreign(ark_db: DemoDatabase) -> None:
    query(ark_db.path, 'CREATE TABLE "odd ""name" (x)')
    query(ark_db.path, 'INSERT INTO "odd ""name" VALUES (1)')
    assert ark_db.foreign()['rows of odd "name'] == 1


def test_without_a_file_nothing_is_foreign_and_none_is_made(tmp_path: Path) -> None:
    database = DemoDatabase(tmp_path / ARK)
    assert (database.foreign(), database.remove(), database.path.exists()) == ({}, 0, False)


def test_removing_ends_with_the_file_that_was_made_here(ark_db: DemoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "_REMOVED_AT_ONCE", 2)
    ark_db.write(patterns(5))
    assert (ark_db.remove(), list(ark_db.path.parent.iterdir())) == (5, [])


def test_removing_deletes_what_belongs_to_a_file_in_wal_mode_too(ark_db: DemoDatabase) -> None:
    query(ark_db.path, "PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(ark_db.path)) as watcher:
        watcher.execute("SELECT count(*) FROM code_patterns").fetchone()
        ark_db.remove()
        assert list(ark_db.path.parent.iterdir()) == []


def test_a_file_that_was_made_here_stays_while_a_row_of_somebody_else_is_in_it(ark_db: DemoDatabase) -> None:
    ark_db.write(patterns(5))
    insert_foreign(ark_db.path)
    assert ark_db.remove() == 5
    assert query(ark_db.path, "SELECT pattern_id FROM code_patterns") == [("real",)]


def test_the_change_log_of_capture_is_not_foreign_and_keeps_no_file(ark_db: DemoDatabase) -> None:
    install(ark_db.path)
    ark_db.write(patterns(3))
    assert not any(ark_db.foreign().values())
    ark_db.remove()
    assert not ark_db.path.exists()


def test_a_file_that_was_there_before_stays_as_it_was(real_db: DemoDatabase) -> None:
    before = query(real_db.path, "SELECT rowid, * FROM code_patterns")
    real_db.prepare()
    real_db.write(patterns(5))
    assert real_db.remove() == 5
    assert query(real_db.path, "SELECT rowid, * FROM code_patterns") == before


def test_an_empty_file_that_was_there_before_stays(tmp_path: Path) -> None:
    path = tmp_path / ARK
    path.touch()
    database = DemoDatabase(path)
    database.prepare()
    database.remove()
    assert path.exists()


def test_a_locked_database_is_named_after_a_while(ark_db: DemoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_S", 0.05)
    with closing(sqlite3.connect(ark_db.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TargetFailed) as caught:
            ark_db.write(patterns(1))
    assert str(caught.value) == f"{ark_db.path}: database is locked"


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / ARK
    path.write_bytes(b"x" * 4_096)
    with pytest.raises(TargetFailed) as caught:
        DemoDatabase(path).foreign()
    assert str(caught.value) == f"{path}: file is not a database"


def test_a_table_that_is_older_by_a_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / ARK
    query(path, "CREATE TABLE code_patterns (pattern_id TEXT PRIMARY KEY, code_snippet TEXT)")
    database = DemoDatabase(path)
    database.prepare()
    with pytest.raises(TargetFailed, match="table code_patterns has no column named pattern_type"):
        database.write(patterns(1))
