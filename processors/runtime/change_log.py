"""The change log that an operator may add to `ark.db`: a table, and triggers that note which rows changed.

The triggers write it, the collector `code_memory` reads it. It is never empty and its numbers only grow, so a reader
that finds the last entry it has read has missed none after it. SQLite does not tell triggers of the rows that a REPLACE
removes; they are noted before it, by the values that must be unique.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

__all__ = ["CHANGES", "PREFIX", "TABLES", "UNIQUE_COLUMNS", "make_log", "triggers", "unique_keys"]

PREFIX: Final = "ark_pulse_"
"""How all begins that is ours in `ark.db`."""

CHANGES: Final = PREFIX + "changes"
"""The table: `seq` counts the entries, `tbl` is the changed table's place in `TABLES` or -1, `rid` the row's id."""

TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "code_patterns": ("usage_count", "code_snippet"),
    "sandbox_executions": ("status", "security_violations"),
    "code_index": ("trust_tier",),
}
"""The tables that are followed, and the columns of each that matter."""

UNIQUE_COLUMNS: Final = (
    "SELECT list.name, info.name FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info "
    'WHERE list."unique" ORDER BY 1, info.seqno'
)
"""A query: index and column, for all unique indexes of a table."""

_KEPT: Final = 100_000


def unique_keys(rows: Iterable[tuple[str, str | None]]) -> list[tuple[str, ...]]:
    """The columns of each unique index, from what `UNIQUE_COLUMNS` gives; one over an expression is left out."""
    keys: dict[str, list[str | None]] = {}
    for index, column in rows:
        keys.setdefault(index, []).append(column)
    named = [tuple(name for name in columns if name is not None) for columns in keys.values() if None not in columns]
    return sorted(set(named))


def make_log() -> list[str]:
    """The statements that make the table, with a first entry and a trigger that keeps the newest 100,000."""
    bound = f"DELETE FROM {CHANGES} WHERE seq <= NEW.seq - {_KEPT}"  # noqa: S608  - our own names
    return [
        f"CREATE TABLE {CHANGES} (seq INTEGER PRIMARY KEY, tbl INTEGER NOT NULL, rid INTEGER NOT NULL)",
        f"INSERT INTO {CHANGES} (tbl, rid) VALUES (-1, 0)",  # noqa: S608  - our own names
        f"CREATE TRIGGER {CHANGES}_bound AFTER INSERT ON {CHANGES} BEGIN {bound}; END",
    ]


def triggers(table: str, columns: Collection[str], keys: Collection[tuple[str, ...]]) -> dict[str, str]:
    """The triggers of `table` by their names. `columns`: what it has; `keys`: the columns of its unique indexes."""
    unique = sorted({name for key in keys for name in key})
    matter = sorted({*unique, *(name for name in TABLES[table] if name in columns)})
    number = list(TABLES).index(table)
    log = f"INSERT INTO {CHANGES} (tbl, rid)"
    new, old = (f"{log} VALUES ({number}, {row}.rowid);" for row in ("NEW", "OLD"))
    bodies = {"insert": ("AFTER INSERT", new), "delete": ("AFTER DELETE", old)}
    if matter:
        bodies["update"] = (f"AFTER UPDATE OF {_list(matter)}", new)
    if keys:
        clashes = " OR ".join("(" + " AND ".join(f"{_quoted(n)} = NEW.{_quoted(n)}" for n in key) + ")" for key in keys)
        replaced = f"{log} SELECT {number}, rowid FROM {table} WHERE {clashes};"  # noqa: S608  - names of the schema
        bodies["replacing_insert"] = ("BEFORE INSERT", replaced)
        bodies["replacing_update"] = (f"BEFORE UPDATE OF {_list(unique)}", replaced)
    return {
        (name := f"{PREFIX}{table}_{what}"): f"CREATE TRIGGER {name} {event} ON {table} BEGIN {body} END"
        for what, (event, body) in bodies.items()
    }


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
