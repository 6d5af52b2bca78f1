"""ARK's two databases as its own programs make them."""

import sqlite3
from pathlib import Path

from processors.tools.ark_schema import ARK, REASONING, SCHEMAS

__all__ = ["make_ark", "make_reasoning", "write_session"]


def make_reasoning(path: Path, mode: str = "delete") -> sqlite3.Connection:
    """A new, empty `reasoning_logs.db`; to be closed by the caller. Statements commit by themselves."""
    return _make(path, mode, SCHEMAS[REASONING])


def make_ark(path: Path, mode: str = "delete") -> sqlite3.Connection:
    """A new, empty `ark.db`; likewise."""
    return _make(path, mode, SCHEMAS[ARK])


def _make(path: Path, mode: str, schema: str) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.executescript(schema)
    return connection


def write_session(
    connection: sqlite3.Connection,
    session: str,
    confidences: list[float | None],
    *,
    created_at: str | float | None = None,
    row_id: int | None = None,
    query: str = "why is the sky blue",
) -> None:
    """One session and its stages in one transaction; `created_at` of all of them, by default SQLite's own."""
    names, values = ("", ()) if created_at is None else (", created_at", (created_at,))
    marks = ", ?" * len(values)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO reasoning_sessions (id, session_id, agent_name, query, timestamp, overall_confidence"
        f"{names}) VALUES (?, ?, 'planner', ?, 'now', ?{marks})",
        (row_id, session, query, confidences[-1] if confidences else None, *values),
    )
    connection.executemany(
        f"INSERT INTO reasoning_stages (session_id, stage_name, stage_order, confidence{names}) "
        f"VALUES (?, 'think', ?, ?{marks})",
        [(session, order, confidence, *values) for order, confidence in enumerate(confidences)],
    )
    connection.execute("COMMIT")
