import asyncio
import datetime as dt
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from processors.tools import counting
from processors.tools.comparison import CODE, SESSIONS, STAGES, Count, Newest, Span, exactly
from processors.tools.counting import Counts, count_code, count_reasoning

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000

SESSION_TABLE = """CREATE TABLE reasoning_sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL UNIQUE, overall_confidence REAL,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP)"""
STAGE_TABLE = """CREATE TABLE reasoning_stages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL, stage_order INTEGER NOT NULL, confidence REAL,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP)"""
STAGE_INDEX = "CREATE INDEX by_session ON reasoning_stages (session_id, stage_order)"
CODE_TABLES = (
    "CREATE TABLE code_index (file_id TEXT PRIMARY KEY, trust_tier TEXT DEFAULT 'sandbox')",
    "CREATE TABLE code_patterns (pattern_id TEXT PRIMARY KEY, code_snippet TEXT, usage_count INTEGER DEFAULT 0)",
    "CREATE TABLE sandbox_executions (execution_id TEXT PRIMARY KEY, status TEXT NOT NULL, security_violations TEXT)",
)

Database = Callable[..., Path]


async def _clock() -> int:
    return NOW


def _text(ago_ms: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    return dt.datetime.fromtimestamp((NOW - ago_ms) / 1_000, dt.UTC).strftime(form)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    def make(statements: Sequence[str], *rows: tuple[str, Sequence[Any]]) -> Path:
        path = tmp_path / "some data.db"
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
            for statement, values in rows:
                connection.executemany(statement, values)
        connection.close()
        return path

    return make


@pytest.fixture
def sessions(database: Database) -> Callable[[Sequence[Any]], Path]:
    """A database of sessions that were created at the given times."""

    def make(times: Sequence[Any]) -> Path:
        insert = "INSERT INTO reasoning_sessions (session_id, created_at) VALUES (?, ?)"
        return database([SESSION_TABLE, STAGE_TABLE, STAGE_INDEX], (insert, list(enumerate(times))))

    return make


@pytest.fixture
def stages(database: Database) -> Callable[[Sequence[Any]], Path]:
    """A database of stages: session, order, confidence."""

    def make(rows: Sequence[Any]) -> Path:
        insert = "INSERT INTO reasoning_stages (session_id, stage_order, confidence, created_at) VALUES (?, ?, ?, ?)"
        values = [(*row, _text(1_000)) for row in rows]
        return database([SESSION_TABLE, STAGE_TABLE, STAGE_INDEX], (insert, values))

    return make


@pytest.fixture
def code(database: Database) -> Callable[..., Path]:
    """An `ark.db`: files (id, tier), patterns (id, snippet, usage), executions (id, status, violations)."""

    def make(files: Sequence[Any] = (), patterns: Sequence[Any] = (), executions: Sequence[Any] = ()) -> Path:
        return database(
            CODE_TABLES,
            ("INSERT INTO code_index VALUES (?, ?)", files),
            ("INSERT INTO code_patterns VALUES (?, ?, ?)", patterns),
            ("INSERT INTO sandbox_executions VALUES (?, ?, ?)", executions),
        )

    return make


async def _reasoning(path: Path, since: int | None = NOW - HOUR_MS, *, shared: bool = False) -> Counts:
    return await count_reasoning(path, since, _clock, shared=shared)


async def _newest(path: Path, name: str) -> tuple[float, ...]:
    value = (await _reasoning(path))[name].value
    assert isinstance(value, Newest)
    return value.items


@pytest.mark.parametrize(
    "created",
    [
        _text(30_000),
        _text(30_000, "%Y-%m-%dT%H:%M:%S+00:00"),
        _text(30_000, "%Y-%m-%dT%H:%M:%SZ"),
        _text(30_000, "%Y-%m-%dT%H:%M:%S.%f+00:00"),
        _text(30_000 - 2 * HOUR_MS, "%Y-%m-%dT%H:%M:%S.123456+02:00"),
        _text(30_000 + 5 * HOUR_MS, " %Y-%m-%d %H:%M:%S-05:00 "),
        (NOW - 30_000) // 1_000,
        (NOW - 30_000) / 1_000,
        NOW - 30_000,
        str((NOW - 30_000) // 1_000),
        str(NOW - 30_000),
    ],
    ids=repr,
)
async def test_every_form_of_a_time_counts_in_rate_and_total(
    created: Any, sessions: Callable[[Sequence[Any]], Path]
) -> None:
    counts = await _reasoning(sessions([created]))
    assert counts["ingestion_rate"] == Count(exactly(1 / 60))
    assert counts["sessions_total"] == Count(exactly(1))


async def test_epochs_count_in_a_column_of_text_too(database: Database) -> None:
    table = SESSION_TABLE.replace("DATETIME", "TEXT")
    insert = "INSERT INTO reasoning_sessions (session_id, created_at) VALUES (?, ?)"
    path = database([table], (insert, [("a", str(NOW // 1_000)), ("b", str(NOW))]))
    assert (await _reasoning(path))["sessions_total"] == Count(exactly(2))


@pytest.mark.parametrize("created", [None, "garbage", "now", "", -5, b"x", _text(-HOUR_MS)], ids=repr)
async def test_a_row_without_a_usable_time_may_count_and_is_noted(
    created: Any, sessions: Callable[[Sequence[Any]], Path]
) -> None:
    note = "1 rows have no usable time, or an older one than a row before them"
    counts = await _reasoning(sessions([_text(1_000), created]))
    assert counts["ingestion_rate"] == Count(Span(1 / 60, 2 / 60), note)
    assert counts["sessions_total"] == Count(Span(1, 2), note)


async def test_a_row_without_a_time_before_the_last_that_is_too_old_does_not_count(
    sessions: Callable[[Sequence[Any]], Path],
) -> None:
    counts = await _reasoning(sessions([None, _text(2 * HOUR_MS), _text(1_000)]))
    assert counts["sessions_total"] == Count(exactly(1))


async def test_an_old_row_behind_a_newer_one_may_count_in_the_total(sessions: Callable[[Sequence[Any]], Path]) -> None:
    counts = await _reasoning(sessions([_text(1_000), _text(2 * HOUR_MS)]))
    assert counts["sessions_total"].value == Span(1, 2)


async def test_rows_on_the_border_of_the_window_span_the_rate(sessions: Callable[[Sequence[Any]], Path]) -> None:
    counts = await _reasoning(sessions([NOW - 61_000, NOW - 60_500, NOW - 59_500]))
    assert counts["ingestion_rate"].value == Span(1 / 60, 2 / 60)


async def test_without_a_beginning_totals_are_not_compared(sessions: Callable[[Sequence[Any]], Path]) -> None:
    counts = await _reasoning(sessions([]), None)
    assert counts["sessions_total"].failure == "it is not published when the totals began"


async def test_the_logs_are_the_newest_ids_oldest_first(sessions: Callable[[Sequence[Any]], Path]) -> None:
    assert await _newest(sessions([_text(1_000)] * 25), "logs") == tuple(range(6, 26))


async def test_only_the_logs_are_shared_with_other_nodes(sessions: Callable[[Sequence[Any]], Path]) -> None:
    counts = await _reasoning(sessions([]), shared=True)
    assert (counts["logs"].value, counts["confidence_deltas"].value) == (Newest((), shared=True), Newest(()))


async def test_consolidation_counts_confidences_of_07_and_more(stages: Callable[[Sequence[Any]], Path]) -> None:
    path = stages([("a", 1, 0.7), ("a", 2, 0.69), ("a", 3, None), ("a", 4, "abc"), ("a", 5, "0.9"), ("a", 6, 1e300)])
    counts = await _reasoning(path)
    assert (counts["consolidation_rate"], counts["stages_total"]) == (Count(exactly(2 / 60)), Count(exactly(6)))


async def test_deltas_follow_the_order_of_the_stages_and_are_told_by_id(
    stages: Callable[[Sequence[Any]], Path],
) -> None:
    path = stages([("a", 2, 0.75), ("b", 1, 0.5), ("a", 1, 0.25), ("b", 2, 0.0), ("a", 3, 1.0)])
    assert await _newest(path, "confidence_deltas") == (0.5, -0.5, 0.25)


async def test_a_stage_beside_one_without_a_number_has_no_delta(stages: Callable[[Sequence[Any]], Path]) -> None:
    path = stages([("a", 1, 0.5), ("a", 2, None), ("a", 3, 0.5), ("a", 4, "abc"), ("b", 1, 0.5), ("b", 1, 0.75)])
    assert await _newest(path, "confidence_deltas") == (0.25,)


async def test_the_newest_fifty_deltas_are_told(stages: Callable[[Sequence[Any]], Path]) -> None:
    path = stages([("a", order, order / 2 if order < 20 else 0) for order in range(100)])
    assert await _newest(path, "confidence_deltas") == (0,) * 50


async def test_a_missing_table_leaves_out_its_values_only(database: Database) -> None:
    counts = await _reasoning(database([SESSION_TABLE]))
    assert {counts[name].failure for name in SESSIONS} == {""}
    assert {counts[name].failure for name in STAGES} == {"some data.db: no such table: reasoning_stages"}


async def test_a_database_that_is_missing_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "reasoning_logs.db"
    counts = await _reasoning(path)
    assert {count.failure for count in counts.values()} == {"reasoning_logs.db: unable to open database file"}
    assert not await asyncio.to_thread(path.exists)


async def test_a_database_that_is_none_cannot_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "ark.db"
    await asyncio.to_thread(path.write_bytes, b"no database at all" * 100)
    assert (await count_code(path))["dedup_rate"].failure == "ark.db: file is not a database"


async def test_a_locked_database_cannot_be_counted(code: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_BUSY_TIMEOUT_S", 0.01)
    path = code()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    counts = await count_code(path)
    writer.close()
    assert counts["quarantine_count"].failure == "some data.db: database is locked"


async def test_an_empty_code_database_has_counts_of_zero_and_no_deduplication(code: Callable[..., Path]) -> None:
    counts = await count_code(code())
    assert [counts[name].value for name in CODE] == [None, *[exactly(0)] * 6]


async def test_deduplication_counts_uses_and_distinct_snippets_that_are_not_empty(code: Callable[..., Path]) -> None:
    patterns = [
        ("a", "x", 5),
        ("b", "x", 3),
        ("c", "y", 2),
        ("d", "", 1),
        ("e", None, None),
        ("f", "y", "many"),
        ("g", "y", "3x"),
    ]
    counts = await count_code(code(patterns=patterns))
    assert counts["dedup_rate"].value == exactly(100 * (14 - 2) / 14)


@pytest.mark.parametrize(("usage", "value"), [(1, exactly(0)), (0, None), (-3, None)])
async def test_deduplication_is_clamped_and_unknown_without_usage(
    usage: int, value: Span | None, code: Callable[..., Path]
) -> None:
    counts = await count_code(code(patterns=[("a", "x", usage), ("b", "y", 0)]))
    assert counts["dedup_rate"].value == value


@pytest.mark.parametrize(
    ("status", "violations", "counted"),
    [
        ("error", None, 1),
        ("timeout", "[]", 1),
        ("killed", "[]", 1),
        ("success", "[]", 0),
        ("running", None, 0),
        ("success", '["network"]', 1),
        ("success", "not json", 0),
        ("success", '{"a": 1}', 0),
        ("success", "5", 0),
        ("success", "", 0),
    ],
)
async def test_quarantine_counts_bad_ends_and_violations(
    status: str, violations: str | None, counted: int, code: Callable[..., Path]
) -> None:
    counts = await count_code(code(executions=[("a", status, violations)]))
    assert counts["quarantine_count"].value == exactly(counted)


async def test_every_file_counts_in_one_tier(code: Callable[..., Path]) -> None:
    tiers = ["core", "core", "trusted", "sandbox", "external", "testing", None, b"\xff"]
    counts = await count_code(code(files=list(enumerate(tiers))))
    assert [counts[name].value for name in CODE[2:]] == [exactly(n) for n in (2, 1, 1, 1, 3)]


async def test_what_a_missing_table_or_column_would_say_is_unknown(database: Database) -> None:
    old = CODE_TABLES[2].replace(", security_violations TEXT", "")
    counts = await count_code(database([CODE_TABLES[0], old]))
    assert counts["dedup_rate"] == Count(note="no such table: code_patterns")
    assert counts["quarantine_count"] == Count(note="no such column: security_violations")
    assert counts["trust_distribution.core"].value == exactly(0)


async def test_a_table_of_many_chunks_is_counted_once_each_row(
    code: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_CHUNK_ROWS", 3)
    keys: list[Any] = [f"file {number}" for number in range(10)] + ["", b"\xff", None, None]
    counts = await count_code(code(files=[(key, "core") for key in keys]))
    assert counts["trust_distribution.core"].value == exactly(len(keys))


async def test_what_comes_while_a_large_table_is_counted_is_in_the_upper_bound_only(
    code: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_CHUNK_ROWS", 2)
    path = code(files=[("a", "core"), ("b", "core"), ("c", "core")])
    async with counting._opened(path) as database:
        rows = counting._rows(database, "code_index", "file_id")
        met = [await anext(rows)]
        with sqlite3.connect(path) as writer:
            writer.execute("REPLACE INTO code_index VALUES ('a', 'core')")
        writer.close()
        met += [row async for row in rows]
    assert met == [(False, b"a"), (False, b"b"), (False, b"c"), (True, b"a")]


@pytest.mark.parametrize(
    ("usage", "span"),
    [((10, 10), Span(50, 60)), ((0, 10), Span(0, 60, or_absent=True)), ((-1, 0), None), ((2, 2), Span(0, 0))],
)
def test_the_bounds_of_deduplication_follow_from_those_of_usage_and_snippets(
    usage: tuple[int, int], span: Span | None
) -> None:
    assert counting._share(usage, 4, 5) == span


async def test_a_database_in_wal_mode_is_counted_while_it_is_written(database: Database) -> None:
    path = database(["PRAGMA journal_mode = WAL", *CODE_TABLES])
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO code_index VALUES ('a', 'core')")
    counts = await count_code(path)
    writer.close()
    assert counts["trust_distribution.core"].value == exactly(0)
