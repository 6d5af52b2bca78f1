import sqlite3
from fractions import Fraction
from pathlib import Path

import pytest

from processors.collectors.code_memory import TABLES, CodeTable, select
from processors.runtime import change_log
from schemas.events import MAX_BYTES
from tests.databases import make_ark

PATTERNS, EXECUTIONS, INDEX = TABLES


def kept(table: CodeTable, *row: object) -> float:
    """What a row counts for; the row is what the query gives after the key."""
    return table.read([(1, None, *row)], _ignore)[0][2]


def _ignore(letter: str) -> None:
    pass


def test_the_change_log_watches_the_columns_that_are_read() -> None:
    read = {table.name: tuple(dict.fromkeys(column for column, _ in table.expressions)) for table in TABLES}
    assert read == dict(change_log.TABLES)


@pytest.mark.parametrize(
    ("stored", "counts"),
    [
        (5, 5),
        ("5", 5),
        ("abc", 0),
        ("7 times", 7),
        (None, 0),
        (2.5, 2.5),
        (b"4", 4),
        (2**62, MAX_BYTES),
        (9e999, MAX_BYTES),
    ],
)
def test_a_usage_count_is_the_number_that_sqlite_makes_of_it(tmp_path: Path, stored: object, counts: float) -> None:
    database = make_ark(tmp_path / "ark.db")
    database.execute("INSERT INTO code_patterns VALUES ('p', 't', 'n', 's', '', '', ?, 0.5, NULL, '', 1, 1)", (stored,))
    rows = database.execute(select(PATTERNS, change_log.TABLES[PATTERNS.name], "pattern_id")).fetchall()
    database.close()
    assert PATTERNS.read(rows, _ignore)[0][2] == counts


def test_the_sum_of_fractions_is_exact_and_published_without_its_fraction() -> None:
    totals = PATTERNS.weigh([(1, None, 0.1, None), (2, None, 0.2, None), (3, None, 3, None)])
    assert totals == {"usage": Fraction(0.1) + Fraction(0.2) + 3}
    assert PATTERNS.values(totals, 2, change_log.TABLES[PATTERNS.name]) == {"usage": 3, "snippets": 2}
    assert PATTERNS.values({"usage": Fraction(-5, 2)}, 0, change_log.TABLES[PATTERNS.name])["usage"] == -2


def test_snippets_are_alike_if_sqlite_says_so() -> None:
    snippets = [(b"a", 0), (b"a", 1), (b"", 0), (None, 0), (b"", 1), (b"a", 0)]
    parts = [PATTERNS.read([(1, None, 0, *snippet)], _ignore)[0][3] for snippet in snippets]
    assert parts[2:4] == [None, None]
    assert parts[0] == parts[5]
    assert len({*parts} - {None}) == 3


@pytest.mark.parametrize(
    ("status", "violations", "quarantined"),
    [
        (b"success", b"null", 0),
        (b"error", None, 1),
        (b"timeout", b"[]", 1),
        (b"killed", b"", 1),
        (b"success", b"[]", 0),
        (b"success", b" [ ] ", 0),
        (b"success", b'["network"]', 1),
        (b"running", b"{}", 0),
        (b"running", b"not JSON [1]", 0),
        (b"running", b"\xff[1]", 0),
        (b"running", b"[" * 100_000, 0),
        (b"running", 5, 0),
        (None, None, 0),
    ],
)
def test_an_execution_that_ended_badly_or_broke_a_rule_is_quarantined(
    status: object, violations: object, quarantined: int
) -> None:
    assert kept(EXECUTIONS, status, violations) == quarantined


@pytest.mark.parametrize(
    ("violations", "told"),
    [
        (None, None),
        (b"", None),
        (b"[]", None),
        (b"null", None),
        (b'["network"]', None),
        (b"none", "'none'"),
        (b"{}", "'{}'"),
        (b"\xff", "'\ufffd'"),
        (b"x" * 1_000, repr("x" * 80)),
        (5, "5"),
    ],
)
def test_violations_that_are_no_list_are_told_with_their_beginning(violations: object, told: str | None) -> None:
    letters: list[str] = []
    EXECUTIONS.read([(7, None, b"success", violations)], letters.append)
    clause = f"row 7 of sandbox_executions: security_violations is not a JSON list: {told}"
    assert letters == ([] if told is None else [clause])


def test_every_tier_that_is_not_one_of_the_four_is_another() -> None:
    tiers = [b"core", b"trusted", b"sandbox", b"external", b"testing", b"Core", None, 3]
    totals = INDEX.weigh(INDEX.read([(1, None, tier) for tier in tiers], _ignore))
    expected = {"core": 1, "trusted": 1, "sandbox": 1, "external": 1, "other": 4}
    assert INDEX.values(totals, 0, change_log.TABLES[INDEX.name]) == {"tiers": expected}


def test_what_lacks_its_column_is_unknown_and_the_rest_is_not() -> None:
    assert PATTERNS.values({"usage": 4}, 2, {"code_snippet"}) == {"usage": None, "snippets": 2}
    assert EXECUTIONS.values({"quarantined": 1}, 0, {"status"}) == {"quarantined": None}
    assert INDEX.values({}, 0, ()) == {"tiers": None}


def test_a_missing_column_and_a_missing_key_can_be_read_over() -> None:
    database = sqlite3.connect(":memory:")
    database.execute('CREATE TABLE code_patterns (code_snippet TEXT, "a ""key" TEXT PRIMARY KEY)')
    database.execute("INSERT INTO code_patterns VALUES ('x', 'k')")
    for key, expected in ((None, None), ('a "key', hash("k"))):
        rows = database.execute(select(PATTERNS, {"code_snippet"}, key)).fetchall()
        assert PATTERNS.read(rows, _ignore) == [(1, expected, 0, hash("x"))]
    database.close()
