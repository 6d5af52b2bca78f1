"""Whatever happens to an `ark.db`, in the end the scanner knows what SQL counts."""

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.collectors import code_scanner, duty, table_scan
from processors.collectors.code_memory import Values
from processors.collectors.code_scanner import CodeScanner
from processors.collectors.database import MAX_VALUE_BYTES, Database
from processors.collectors.folder_watch import FolderWatch
from processors.collectors.status import SourceStatus
from processors.runtime.change_log import CHANGES
from processors.runtime.clock import BusClock
from processors.tools.capture import install, remove
from schemas.events import MAX_BYTES
from tests.databases import make_ark

BAD = "status IN ('error', 'timeout', 'killed') OR CASE WHEN json_valid(security_violations) THEN "
BAD += "json_type(security_violations) = 'array' AND json_array_length(security_violations) > 0 END"
TIER = "CASE WHEN trust_tier IN ('core', 'trusted', 'sandbox', 'external') THEN trust_tier ELSE 'other' END"


def direct(database: sqlite3.Connection) -> Values:
    """The same by SQL."""
    [(usage,)] = database.execute("SELECT coalesce(sum(usage_count), 0) FROM code_patterns")
    [(snippets,)] = database.execute("SELECT count(DISTINCT code_snippet) FROM code_patterns WHERE code_snippet <> ''")
    [(quarantined,)] = database.execute(f"SELECT count(*) FROM sandbox_executions WHERE {BAD}")
    tiers = dict.fromkeys(("core", "trusted", "sandbox", "external", "other"), 0)
    tiers |= dict(database.execute(f"SELECT {TIER}, count(*) FROM code_index GROUP BY 1").fetchall())
    return {
        "usage": max(-MAX_BYTES, min(MAX_BYTES, math.trunc(usage))),
        "snippets": snippets,
        "quarantined": quarantined,
        "tiers": tiers,
    }


def a_status() -> SourceStatus:
    return SourceStatus("code_memory", "code", node="n", changed=lambda _: None)


@contextlib.asynccontextmanager
async def scanning(path: Path) -> AsyncIterator[CodeScanner]:
    watch = FolderWatch(path.parent, [path.name])
    database = Database(path, watch, a_status(), BusClock())
    await database.open()
    scanner = CodeScanner(database)
    try:
        yield scanner
    finally:
        await scanner.close()
        await database.close()
        await watch.close()


async def settle(scanner: CodeScanner) -> Values:
    """Read until nothing is left to be read, without rests."""
    await scanner.notice()
    async with asyncio.timeout(20):
        while not scanner.caught_up:
            await scanner.work()
    return scanner.values()


@contextlib.contextmanager
def pieces_of(rows: int, newest: int) -> Any:
    """No rest between pieces, and few rows a piece, so that small tables are read like large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_scanner, "_SHARE", 1e9)
        patch.setattr(table_scan, "_NEWEST", newest)
        patch.setattr(duty, "_FIRST_ROWS", rows)
        patch.setattr(duty, "_MOST_ROWS", rows)
        yield


KEYS = st.sampled_from([f"k{number}" for number in range(9)])
USAGES = st.one_of(st.integers(-3, 9), st.sampled_from([None, "5", "abc", "3.5", 2.5, b"7", 2**60, -1.25]))
SNIPPETS = st.sampled_from(["", "a", "b", "c", b"a", b"", "7", "ä"])
STATUSES = st.sampled_from(["running", "success", "error", "timeout", "killed"])
VIOLATIONS = st.sampled_from([None, "", "[]", "[1]", '["x", "y"]', "{}", "[", " [ ] "])
TIERS = st.sampled_from(["core", "trusted", "sandbox", "external", "testing", None])
PATHS = st.sampled_from(["a", "b", "c", "d"])

PATTERN = "code_patterns (pattern_id, pattern_type, code_snippet, usage_count) VALUES (?, 't', ?, ?)"
EXECUTION = "sandbox_executions (execution_id, code_hash, status, security_violations) VALUES (?, 'h', ?, ?)"
FILE = "code_index (file_id, file_path, trust_tier) VALUES (?, ?, ?)"

Statement = tuple[str, tuple[Any, ...]]


def a_statement(sql: str, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[Statement]:
    return st.tuples(st.just(sql), st.tuples(*values))


STATEMENTS = st.one_of(
    a_statement(f"INSERT OR IGNORE INTO {PATTERN}", KEYS, SNIPPETS, USAGES),
    a_statement(f"INSERT OR REPLACE INTO {PATTERN}", KEYS, SNIPPETS, USAGES),
    a_statement("UPDATE code_patterns SET usage_count = usage_count + 1 WHERE pattern_id = ?", KEYS),
    a_statement("UPDATE code_patterns SET code_snippet = ? WHERE pattern_id = ?", SNIPPETS, KEYS),
    a_statement("UPDATE OR REPLACE code_patterns SET pattern_id = ? WHERE pattern_id = ?", KEYS, KEYS),
    a_statement("DELETE FROM code_patterns WHERE pattern_id = ?", KEYS),
    a_statement(f"INSERT OR REPLACE INTO {EXECUTION}", KEYS, STATUSES, VIOLATIONS),
    a_statement("UPDATE sandbox_executions SET status = ? WHERE execution_id = ?", STATUSES, KEYS),
    a_statement("DELETE FROM sandbox_executions WHERE execution_id = ?", KEYS),
    a_statement(f"INSERT OR REPLACE INTO {FILE}", KEYS, PATHS, TIERS),
    a_statement("UPDATE OR REPLACE code_index SET file_path = ?, trust_tier = ? WHERE file_id = ?", PATHS, TIERS, KEYS),
    a_statement("DELETE FROM code_index"),
    a_statement("VACUUM"),
)
BURSTS = st.lists(st.tuples(st.sampled_from([None, None, None, install, remove]), st.lists(STATEMENTS)), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bursts=BURSTS, rows=st.sampled_from([1, 3, 64]), newest=st.sampled_from([0, 2, 256]))
def test_after_each_burst_of_changes_it_knows_what_sql_counts(
    bursts: list[tuple[Callable[[Path], object] | None, list[Statement]]],
    rows: int,
    newest: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("history") / "ark.db"

    async def run() -> None:
        async with scanning(path) as scanner:
            assert await settle(scanner) == direct(database)
            for change_log, statements in bursts:
                if change_log is not None:
                    await asyncio.to_thread(change_log, path)
                for sql, values in statements:
                    database.execute(sql, values)
                assert await settle(scanner) == direct(database)

    with contextlib.closing(make_ark(path)) as database, pieces_of(rows, newest):
        database.executemany(f"INSERT INTO {PATTERN}", [(f"k{n}", f"s{n % 5}", n) for n in range(7)])
        asyncio.run(run())


@pytest.fixture
def ark(tmp_path: Path) -> Any:
    with contextlib.closing(make_ark(tmp_path / "ark.db")) as database:
        yield database


def fill(database: sqlite3.Connection, count: int) -> None:
    database.executemany(f"INSERT INTO {PATTERN}", [(f"k{number}", f"s{number}", 1) for number in range(count)])


async def test_nothing_is_known_of_a_table_before_its_first_round(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    with pieces_of(3, 0):
        async with scanning(tmp_path / "ark.db") as scanner:
            await scanner.notice()
            assert (scanner.settled, scanner.detail()) == (False, "first sweep 0 %")
            seen = []
            while not scanner.settled:
                await scanner.work()
                seen.append(scanner.values()["usage"])
    assert set(seen[:-1]) <= {None, 10}
    assert (seen[0], seen[-1]) == (None, 10)


async def test_a_new_row_that_replaces_one_is_known_without_a_round(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    with pieces_of(3, 0):
        async with scanning(tmp_path / "ark.db") as scanner:
            await settle(scanner)
            ark.execute(f"INSERT OR REPLACE INTO {PATTERN}", ("k1", "s2", 5))
            await scanner.notice()
            await scanner.work()
            assert scanner.values()["usage"] == 14
            assert scanner.values()["snippets"] == 9


async def test_a_captured_change_is_known_after_one_piece(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 1_000)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    with pieces_of(8, 0):
        async with scanning(tmp_path / "ark.db") as scanner:
            await settle(scanner)
            assert scanner.detail() == "captured by triggers"
            ark.execute("UPDATE code_patterns SET usage_count = 7 WHERE rowid = 3")
            await scanner.notice()
            await scanner.work()
            assert scanner.caught_up
            assert scanner.values()["usage"] == 1_006


async def test_a_log_that_has_forgotten_is_made_up_for_by_a_round(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    async with scanning(tmp_path / "ark.db") as scanner:
        await settle(scanner)
        ark.execute("UPDATE code_patterns SET usage_count = 7 WHERE rowid = 3")
        ark.execute("UPDATE code_patterns SET usage_count = 8 WHERE rowid = 4")
        ark.execute(f"DELETE FROM {CHANGES} WHERE seq < (SELECT max(seq) FROM {CHANGES})")
        with pieces_of(64, 0):
            assert await settle(scanner) == direct(ark)


async def test_a_log_that_is_emptied_is_no_longer_relied_on(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    async with scanning(tmp_path / "ark.db") as scanner:
        await settle(scanner)
        ark.execute("UPDATE code_patterns SET usage_count = 7 WHERE rowid = 3")
        ark.execute(f"DELETE FROM {CHANGES}")
        assert await settle(scanner) == direct(ark)
        assert scanner.detail() == "10 rows swept at each change"


async def test_a_log_that_begins_again_is_made_up_for_by_a_round(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    async with scanning(tmp_path / "ark.db") as scanner:
        await settle(scanner)
        ark.execute("UPDATE code_patterns SET usage_count = 6 WHERE rowid = 2")
        ark.execute(f"DELETE FROM {CHANGES}")
        ark.execute("UPDATE code_patterns SET usage_count = 7 WHERE rowid = 3")
        assert await settle(scanner) == direct(ark)
        ark.execute("UPDATE code_patterns SET usage_count = 8 WHERE rowid = 3")
        assert await settle(scanner) == direct(ark)


async def test_triggers_without_their_log_are_not_relied_on(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    async with scanning(tmp_path / "ark.db") as scanner:
        await settle(scanner)
        ark.execute(f"DROP TABLE {CHANGES}")
        assert await settle(scanner) == direct(ark)
        assert scanner.detail() == "10 rows swept at each change"


async def test_what_has_no_table_or_column_is_unknown_and_found_when_it_comes(
    ark: sqlite3.Connection, tmp_path: Path
) -> None:
    ark.execute("DROP TABLE code_index")
    ark.execute("ALTER TABLE code_patterns DROP COLUMN usage_count")
    ark.execute("INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('a', 't', 's')")
    async with scanning(tmp_path / "ark.db") as scanner:
        assert await settle(scanner) == {"usage": None, "snippets": 1, "quarantined": 0, "tiers": None}
        ark.execute("ALTER TABLE code_patterns ADD COLUMN usage_count INTEGER DEFAULT 3")
        ark.execute("CREATE TABLE code_index (file_id TEXT PRIMARY KEY, trust_tier TEXT)")
        assert await settle(scanner) == direct(ark)


@pytest.mark.parametrize("rows", [1, 64])
async def test_a_row_that_is_too_big_counts_as_nothing_and_is_told_once(
    ark: sqlite3.Connection, tmp_path: Path, rows: int
) -> None:
    fill(ark, 10)
    ark.execute("UPDATE code_patterns SET code_snippet = ? WHERE rowid = 4", ("x" * (MAX_VALUE_BYTES + 1),))
    with pieces_of(rows, 2):
        async with scanning(tmp_path / "ark.db") as scanner:
            assert (await settle(scanner))["usage"] == 9
            ark.execute("UPDATE code_patterns SET usage_count = 5 WHERE rowid = 5")
            assert (await settle(scanner))["usage"] == 13
            assert scanner.letters == ["row 4 of code_patterns is too big"]


async def test_violations_that_are_no_list_are_told_once_by_row_and_text(
    ark: sqlite3.Connection, tmp_path: Path
) -> None:
    ark.execute(f"INSERT INTO {EXECUTION}", ("e", "success", "none"))
    clause = "row 1 of sandbox_executions: security_violations is not a JSON list: "
    async with scanning(tmp_path / "ark.db") as scanner:
        assert (await settle(scanner))["quarantined"] == 0
        ark.execute("UPDATE sandbox_executions SET status = 'running'")
        await settle(scanner)
        assert scanner.letters == [f"{clause}'none'"]
        ark.execute("UPDATE sandbox_executions SET security_violations = 'many'")
        await settle(scanner)
        assert scanner.letters == [f"{clause}'none'", f"{clause}'many'"]


async def test_a_row_that_is_too_big_is_left_out_of_what_is_captured(ark: sqlite3.Connection, tmp_path: Path) -> None:
    fill(ark, 10)
    await asyncio.to_thread(install, tmp_path / "ark.db")
    async with scanning(tmp_path / "ark.db") as scanner:
        await settle(scanner)
        ark.execute("UPDATE code_patterns SET code_snippet = ? WHERE rowid = 4", ("x" * (MAX_VALUE_BYTES + 1),))
        ark.execute("UPDATE code_patterns SET usage_count = 5 WHERE rowid = 5")
        assert (await settle(scanner))["usage"] == 13
        assert scanner.letters == ["row 4 of code_patterns is too big"]


async def test_a_table_with_more_rows_than_are_counted_is_unknown(
    ark: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_scanner, "MAX_ROWS", 9)
    fill(ark, 10)
    async with scanning(tmp_path / "ark.db") as scanner:
        values = await settle(scanner)
        assert (values["usage"], values["quarantined"]) == (None, 0)
        assert (scanner.settled, scanner.detail()) == (True, "code_patterns has more than 9 rows")


async def test_a_table_that_is_no_rowid_table_does_not_keep_the_others_from_being_read(
    ark: sqlite3.Connection, tmp_path: Path
) -> None:
    ark.execute("DROP TABLE code_index")
    ark.execute("CREATE TABLE code_index (file_id TEXT PRIMARY KEY, trust_tier TEXT) WITHOUT ROWID")
    async with scanning(tmp_path / "ark.db") as scanner:
        assert await settle(scanner) == {"usage": 0, "snippets": 0, "quarantined": 0, "tiers": None}
        assert (scanner.settled, scanner.trouble) == (True, "code_index cannot be read: no such column: rowid")
