"""The memory half counted directly in ARK's two databases, by SQL, without what the collectors know.

The databases are opened for reading only. Each read is a transaction of a chunk, some milliseconds long, so that a
writer that uses the rollback journal never waits longer than that. A table of more than one chunk may change while it
is counted, and a row that is replaced gets a new rowid and may be met twice: what rows that came meanwhile count for is
in the upper bound only.
"""

import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import aiosqlite

from processors.tools.comparison import BUCKET_MS, CODE, SESSIONS, STAGES, TIERS, Count, Newest, Span, in_window, rate
from schemas.metrics import MAX_DELTAS, MAX_LOGS, RATE_WINDOW_S

__all__ = ["Clock", "Counts", "count_code", "count_reasoning"]

Clock: TypeAlias = Callable[[], Awaitable[int]]
"""Gives the time of the bus, ms: the one that the windows are evaluated by."""

Counts: TypeAlias = dict[str, Count]

_CHUNK_ROWS: Final = 2_000
_BEFORE_ALL: Final = -(2**63)
_BUSY_TIMEOUT_S: Final = 1.0
_WINDOW_MS: Final = RATE_WINDOW_S * 1_000
_AHEAD_MS: Final = 5_000
"""A row whose time is further ahead than this counts as of when it was read."""

# Seconds, milliseconds, or ISO 8601; a number also as text, if the column is declared so. `julianday` knows offsets.
# What looks like no date is not given to it: it takes "now" for one.
_CREATED: Final = """
CASE
  WHEN trim(created_at) GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'
  THEN (julianday(trim(created_at)) - 2440587.5) * 86400000
  WHEN typeof(created_at) IN ('integer', 'real')
    OR trim(created_at) GLOB '[0-9]*' AND trim(created_at) NOT GLOB '*[^0-9.]*'
  THEN created_at * CASE WHEN created_at + 0 < 100000000000 THEN 1000.0 ELSE 1.0 END
END"""

_CONSOLIDATED: Final = "typeof(confidence) IN ('integer', 'real') AND confidence BETWEEN 0.7 AND 1e6"

# What SUM would make of it, and finite.
_USED: Final = "max(-9007199254740992, min(9007199254740992, ifnull(usage_count + 0, 0)))"

_QUARANTINED: Final = """
status IN ('error', 'timeout', 'killed')
OR CASE WHEN json_valid(security_violations) THEN json_array_length(security_violations) > 0 ELSE 0 END"""

# Whole sessions of the newest stages: the stage before one of these may be of any age.
_DELTAS: Final = """
WITH newest AS (SELECT id, session_id FROM reasoning_stages ORDER BY id DESC LIMIT 1000),
numbers AS (
  SELECT id, session_id, stage_order,
    CASE WHEN typeof(confidence) IN ('integer', 'real') AND abs(confidence) <= 1e6 THEN confidence END AS confidence
  FROM reasoning_stages WHERE session_id IN (SELECT session_id FROM newest)
),
steps AS (
  SELECT id, confidence - lag(confidence) OVER (PARTITION BY session_id ORDER BY stage_order, id) AS delta FROM numbers
)
SELECT delta FROM steps WHERE delta IS NOT NULL AND id IN (SELECT id FROM newest) ORDER BY id DESC LIMIT ?"""

_LOGS: Final = "SELECT id FROM reasoning_sessions ORDER BY id DESC LIMIT ?"


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    """The database at the absolute `path`, for reading only. Raises sqlite3.Error: if it cannot be opened."""
    address = f"{path.as_uri()}?mode=ro"
    async with aiosqlite.connect(address, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None) as database:
        await database.execute("PRAGMA query_only = 1")
        # Text is not always UTF-8, and only compared here.
        database.text_factory = bytes
        yield database


async def _rows(database: aiosqlite.Connection, table: str, columns: str) -> AsyncIterator[Any]:
    """All rows in the order of their rowids: whether it came after the first chunk was read, then `columns`."""
    # Names of this module only.
    select = f"SELECT rowid, (SELECT max(rowid) FROM {table}), {columns} FROM {table}"  # noqa: S608
    top: int | None = None
    last = _BEFORE_ALL
    while True:
        chunk = f"{select} WHERE rowid > ? ORDER BY rowid LIMIT {_CHUNK_ROWS}"
        rows = list(await database.execute_fetchall(chunk, (last,)))
        if not rows:
            return
        if top is None:
            top = rows[0][1]
        for row in rows:
            yield row[0] > top, *row[2:]
        last = rows[-1][0]


async def count_reasoning(path: Path, since: int | None, clock: Clock, *, shared: bool = False) -> Counts:
    """The values of sessions and stages; totals of the rows created at `since` (ms, None: not known) or later.

    `shared`: whether other nodes take part in the published logs. What cannot be counted says why. Cancellation: safe.
    """
    counts: Counts = {}
    for names, table, counted, newest, most in (
        (SESSIONS, "reasoning_sessions", "1", _LOGS, MAX_LOGS),
        (STAGES, "reasoning_stages", _CONSOLIDATED, _DELTAS, MAX_DELTAS),
    ):
        try:
            async with _opened(path) as database:
                items = [row[0] for row in await database.execute_fetchall(newest, (most,))]
                rates, total = await _pass(database, table, counted, since or 0, clock)
        except sqlite3.Error as error:
            counts |= dict.fromkeys(names, _failed(path, error))
            continue
        if since is None:
            total = Count(failure="it is not published when the totals began")
        last = Count(Newest(tuple(reversed(items)), shared and names is SESSIONS))
        counts |= zip(names, (rates, total, last), strict=True)
    return counts


async def _pass(
    database: aiosqlite.Connection, table: str, counted: str, since: int, clock: Clock
) -> tuple[Count, Count]:
    """The rows of the last minute that are `counted`, a second, and all rows since the totals began."""
    began = await clock()
    latest, oldest = began + _AHEAD_MS, began - _WINDOW_MS - BUCKET_MS
    total, window = _Passage(since), _Passage(oldest)
    recent: list[tuple[int, int]] = []
    async for _, at, counts in _rows(database, table, f"{_CREATED}, {counted}"):
        created = round(at) if at is not None and 0 < at <= latest else None
        total.meet(created, 1)
        window.meet(created, 1 if counts else 0)
        if counts and created is not None and created >= oldest:
            recent.append((created, 1))
    sure, border = in_window(recent, await clock(), _WINDOW_MS)
    doubtful = total.untimed + total.late
    note = f"{doubtful} rows have no usable time, or an older one than a row before them" if doubtful else ""
    rates = rate(sure, [*border, window.untimed], RATE_WINDOW_S)
    return Count(rates, note), Count(Span(total.counted, total.counted + doubtful), note)


class _Passage:
    """Rows in the order of their ids, of which those count that were created at `first` (ms) or later."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.counted = 0
        # Without a usable time, and not followed by a row that is too old: they count as of when they were read.
        self.untimed = 0
        # Too old, but behind a row that is not: they came later.
        self.late = 0

    def meet(self, created: int | None, counts: int) -> None:
        """Take the next row, created at `created` (ms, None if that is unusable)."""
        if created is None:
            self.untimed += counts
        elif created >= self._first:
            self.counted += counts
        elif self.counted:
            self.late += counts
        else:
            self.untimed = 0


async def count_code(path: Path) -> Counts:
    """The values of `ark.db`; unknown where a table or a column is missing.

    What cannot be counted says why. Cancellation: safe.
    """
    counts: Counts = {}
    for names, count in ((CODE[:1], _dedup), (CODE[1:2], _quarantine), (CODE[2:], _tiers)):
        try:
            async with _opened(path) as database:
                spans = await count(database)
        except sqlite3.Error as error:
            missing = str(error).startswith("no such")
            counts |= dict.fromkeys(names, Count(note=str(error)) if missing else _failed(path, error))
        else:
            counts |= zip(names, map(Count, spans), strict=True)
    return counts


async def _dedup(database: aiosqlite.Connection) -> list[Span | None]:
    # Of the rows that were there, and of those that came meanwhile. Of each distinct snippet its hash: of a million of
    # them two are equal once in some million databases.
    usage: list[float] = [0, 0]
    snippets: tuple[set[int], set[int]] = (set(), set())
    async for new, used, snippet in _rows(database, "code_patterns", f"{_USED}, code_snippet"):
        usage[new] += used
        if snippet:
            snippets[new].add(hash(snippet))
    there, all_of_them = len(snippets[0]), len(snippets[0] | snippets[1])
    return [_share(sorted((usage[0], sum(usage))), there, all_of_them)]


def _share(usage: Sequence[float], least: int, most: int) -> Span | None:
    """The percentage of uses that were not their snippet's first, from the bounds of both; absent without usage."""
    low, high = usage
    if high <= 0:
        return None
    lower = 100 * (low - most) / low if low > 0 else 0
    return Span(max(lower, 0), max(100 * (high - least) / high, 0), or_absent=low <= 0)


async def _quarantine(database: aiosqlite.Connection) -> list[Span | None]:
    rows = _rows(database, "sandbox_executions", _QUARANTINED)
    found = Counter([new async for new, quarantined in rows if quarantined])
    return [Span(found[False], found.total())]


async def _tiers(database: aiosqlite.Connection) -> list[Span | None]:
    there, came = Counter[str](), Counter[str]()
    async for new, tier in _rows(database, "code_index", "trust_tier"):
        name = tier.decode(errors="replace") if isinstance(tier, bytes) else ""
        (came if new else there)[name if name in TIERS else "other"] += 1
    return [Span(there[tier], there[tier] + came[tier]) for tier in TIERS]


def _failed(path: Path, error: sqlite3.Error) -> Count:
    return Count(failure=f"{path.name}: {error}")
