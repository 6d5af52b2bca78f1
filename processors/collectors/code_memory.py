"""What counts in `ark.db`: of each row the little that its table's values are made of, and the values.

Rows come as SQLite gives them, of whatever type. What a text means as a number is SQLite's to say; it also says which
snippets are the same: a text and a blob never are.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias, get_args

import msgspec

from schemas.events import MAX_BYTES, Tier
from schemas.metrics import Tiers

__all__ = ["COLLECTOR", "MAX_ROWS", "TABLES", "CodeTable", "MirrorRow", "Totals", "Values", "select"]

COLLECTOR: Final = "code_memory"

MAX_ROWS: Final = 5_000_000
"""Most rows of a table that are counted: the values of a larger one are unknown."""

MirrorRow: TypeAlias = tuple[int, int | None, int | float, int | None]
"""Of one row: its rowid, a hash of its key, what it counts for, and a hash of what it must not have in common.

The hashes are 64 bits, other ones in each process; two of a million values are alike once in 30 million times. What it
counts for is its usage, 1 if it is quarantined, or the number of its tier.
"""

Totals: TypeAlias = dict[str, int | Fraction]
"""Sums over the rows of a table, by name."""

Values: TypeAlias = dict[str, int | Tiers | None]
"""Fields of `CodeState`."""

Note: TypeAlias = Callable[[str], None]
"""Called with each row of which something cannot be used, and what."""

_TIERS: Final = get_args(Tier)
_TIER_NUMBERS: Final = {name.encode(): number for number, name in enumerate(_TIERS[:-1])}
_OTHER: Final = _TIERS.index("other")
_BAD_ENDINGS: Final = frozenset({b"error", b"timeout", b"killed"})
_EXCERPT: Final = 80
_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


class CodeTable(NamedTuple):
    """One table of `ark.db`."""

    name: str
    # What is read: expressions, each with the column that it needs.
    expressions: tuple[tuple[str, str], ...]
    # From (rowid, key, *expressions) to what is kept of it.
    read: Callable[[Iterable[Sequence[Any]], Note], list[MirrorRow]]
    # The sums over some rows.
    weigh: Callable[[Iterable[MirrorRow]], Totals]
    # Its values, from the sums, the number of distinct last hashes, and the columns that there are.
    values: Callable[[Mapping[str, int | Fraction], int, Collection[str]], Values]


def select(table: CodeTable, columns: Collection[str], key: str | None) -> str:
    """The query for what is read of a row, up to its WHERE. `key`: the column that alone is the primary key."""
    # A blob is a key as well, but its bytes may be those of a text.
    quoted = '"' + key.replace('"', '""') + '"' if key is not None else ""
    chosen = [f"CASE typeof({quoted}) WHEN 'text' THEN {quoted} END" if key is not None else "NULL"]
    chosen += [expression if column in columns else "NULL" for column, expression in table.expressions]
    return f"SELECT rowid, {', '.join(chosen)} FROM {table.name}"  # noqa: S608  - names of the schema


def _key(key: Any) -> int | None:
    return None if key is None else hash(key)


def _read_patterns(rows: Iterable[Sequence[Any]], _: Note) -> list[MirrorRow]:
    return [
        (
            rowid,
            _key(key),
            usage if type(usage) is int and -MAX_BYTES <= usage <= MAX_BYTES else _usage(usage),
            None if snippet is None else ~hash(snippet) if is_blob else hash(snippet) if snippet != b"" else None,
        )
        for rowid, key, usage, snippet, is_blob in rows
    ]


def _usage(value: Any) -> int | float:
    """A count within what can be published; SQLite has made a number of it."""
    return 0 if value is None else max(-MAX_BYTES, min(MAX_BYTES, value))


def _weigh_patterns(rows: Iterable[MirrorRow]) -> Totals:
    # Exact, so that what is added and taken away again leaves nothing behind.
    return {"usage": sum(row[2] if type(row[2]) is int else Fraction(row[2]) for row in rows)}


def _pattern_values(totals: Mapping[str, int | Fraction], snippets: int, columns: Collection[str]) -> Values:
    usage = max(-MAX_BYTES, min(MAX_BYTES, math.trunc(totals.get("usage", 0))))
    return {
        "usage": usage if "usage_count" in columns else None,
        "snippets": snippets if "code_snippet" in columns else None,
    }


def _read_executions(rows: Iterable[Sequence[Any]], note: Note) -> list[MirrorRow]:
    kept: list[MirrorRow] = []
    for rowid, key, status, value in rows:
        violations = _violations(value)
        if violations is None:
            text = value[:_EXCERPT].decode("utf-8", "replace") if isinstance(value, bytes) else value
            note(f"row {rowid} of sandbox_executions: security_violations is not a JSON list: {text!r}")
        kept.append((rowid, _key(key), int(status in _BAD_ENDINGS or bool(violations)), None))
    return kept


def _violations(value: Any) -> list[msgspec.Raw] | None:
    """What a JSON list holds, nothing if nothing is said; None if it is something else."""
    if value in {None, b"", b"[]", b"null"}:
        return []
    try:
        return _decoder.decode(value) if isinstance(value, bytes) else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _weigh_executions(rows: Iterable[MirrorRow]) -> Totals:
    return {"quarantined": sum(int(row[2]) for row in rows)}


def _execution_values(totals: Mapping[str, int | Fraction], _: int, columns: Collection[str]) -> Values:
    known = {"status", "security_violations"}.issubset(columns)
    return {"quarantined": int(totals.get("quarantined", 0)) if known else None}


def _read_index(rows: Iterable[Sequence[Any]], _: Note) -> list[MirrorRow]:
    return [(rowid, _key(key), _TIER_NUMBERS.get(tier, _OTHER), None) for rowid, key, tier in rows]


def _weigh_index(rows: Iterable[MirrorRow]) -> Totals:
    return {_TIERS[number]: count for number, count in Counter(int(row[2]) for row in rows).items()}


def _index_values(totals: Mapping[str, int | Fraction], _: int, columns: Collection[str]) -> Values:
    tiers: Tiers = {tier: int(totals.get(tier, 0)) for tier in _TIERS}
    return {"tiers": tiers if "trust_tier" in columns else None}


TABLES: Final = (
    CodeTable(
        "code_patterns",
        (
            # What SUM would make of it, which is how the present backend counts.
            ("usage_count", "usage_count + 0"),
            ("code_snippet", "code_snippet"),
            ("code_snippet", "typeof(code_snippet) = 'blob'"),
        ),
        _read_patterns,
        _weigh_patterns,
        _pattern_values,
    ),
    CodeTable(
        "sandbox_executions",
        (("status", "status"), ("security_violations", "security_violations")),
        _read_executions,
        _weigh_executions,
        _execution_values,
    ),
    CodeTable("code_index", (("trust_tier", "trust_tier"),), _read_index, _weigh_index, _index_values),
)
"""The tables, in the order of `change_log.TABLES`."""
