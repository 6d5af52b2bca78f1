"""Follows an open `ark.db`: which rows it has, and what they add up to.

SQLite tells that something was committed, not what. So after each commit the newest rows are read, then all rows, a
chunk after the other, as long as something was committed since that began; a table that one chunk holds is thus exact
at once. Where the operator has installed the change log, it tells which rows to read instead. All of this takes at most
a twentieth of a core, beyond a short burst.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from processors.collectors.code_memory import MAX_ROWS, TABLES, CodeTable, Values
from processors.collectors.database import CHECK_S, Database, Row, TooSlow
from processors.collectors.duty import ChunkSize, Duty
from processors.collectors.sweep import FIRST_ROWID, LAST_ROWID
from processors.collectors.table_scan import TableScan, progress
from processors.runtime.change_log import CHANGES, PREFIX, UNIQUE_COLUMNS, triggers, unique_keys

__all__ = ["CodeScanner"]

_SHARE: Final = 0.05
_BURST_S: Final = 0.25
_LOG_ENTRIES: Final = 256
_LEAST_ENTRIES: Final = 8
_LOOK_S: Final = 0.01
_RETRY_S: Final = 30.0

_JOURNAL_HEADER: Final = 28
_COMMIT_LOOKS: Final = 5
_COMMIT_LOOK_S: Final = 0.01

_LOG_END: Final = f"SELECT seq, tbl, rid FROM {CHANGES} ORDER BY seq DESC LIMIT 1"  # noqa: S608  - our own names
_LOG_FROM: Final = f"SELECT seq, tbl, rid FROM {CHANGES} WHERE seq >= ? ORDER BY seq LIMIT ?"  # noqa: S608
_SPAN: Final = "SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})"
_OURS: Final = f"SELECT name, sql FROM sqlite_master WHERE name GLOB '{PREFIX}*'"  # noqa: S608


class CodeScanner:
    """Reads one open database, a piece at a time. Closed by `close`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._journal = database.path.with_name(f"{database.path.name}-journal")
        self._time = asyncio.get_running_loop().time
        # For all reading, and for that of what is fresh: half as much.
        self._duty = Duty(_SHARE, _BURST_S)
        self._fresh_duty = Duty(_SHARE / 2, _BURST_S / 2)
        # The tables, in the order of `TABLES`; empty before the first look.
        self._scans: list[TableScan] = []
        # Seconds of CPU that comparing took so far.
        self._compared_s = 0.0
        # SQLite's count of changes of the schema; None before the first look.
        self._schema: int | None = None
        # Entry of the change log up to which it was read; None while nothing is captured.
        self._read_up_to: Row | None = None
        # Whether the log may hold more, and how many entries are read at once.
        self._log_due = False
        self._log_chunk = ChunkSize()
        # Whether anything was noticed or read since the last rest. Waiting for a lock uses up what the file's watch has
        # heard meanwhile, so a rest is safe only after a look that found nothing.
        self._active = False
        # Whether it is time to look whether something was committed, and when that was done last, loop time: not after
        # every piece, because a look costs as much as some hundred rows.
        self._look_due = True
        self._looked_at = 0.0
        # What cannot be used of the rows, to be told: a clause each. Emptied by the caller.
        self.letters: list[str] = []

    async def close(self) -> None:
        """Give the memory back."""
        for scan in self._scans:
            await asyncio.to_thread(scan.mirror.close)

    @property
    def settled(self) -> bool:
        """Whether all is known that can be."""
        return self._schema is not None and all(scan.sweep.complete or scan.trouble for scan in self._readable())

    @property
    def caught_up(self) -> bool:
        """Whether all is read that was noticed."""
        return not self._is_fresh_due() and not self._to_sweep()

    @property
    def trouble(self) -> str:
        """Why a table cannot be read; empty if all can."""
        return next((scan.trouble for scan in self._scans if scan.trouble), "")

    def values(self) -> Values:
        """What the rows add up to, None for what is not known."""
        return {name: value for scan in self._scans for name, value in scan.values().items()}

    def detail(self) -> str:
        """How it keeps up, a short clause."""
        for scan in self._scans:
            if scan.too_large:
                return f"{scan.table.name} has more than {MAX_ROWS:,} rows"
        scans = self._readable()
        if not all(scan.sweep.complete for scan in scans):
            return f"first sweep {100 * progress(scans):.0f} %"
        swept = [scan for scan in scans if not scan.captured]
        if not swept:
            return "captured by triggers" if scans else ""
        rows = sum(scan.mirror.count for scan in swept)
        slowest_s = max(scan.sweep.took_s for scan in swept)
        return f"{rows:,} rows swept " + (f"every {slowest_s:.0f} s" if slowest_s >= 1 else "at each change")

    async def notice(self) -> None:
        """Look whether something was committed. Raises as `Database.changed`. Cancellation: safe."""
        if not self._look_due:
            return
        self._looked_at = self._time()
        before_s = self._worked_s()
        if await self._database.changed():
            self._active = True
            [(schema,)] = await self._database.read("PRAGMA schema_version")
            if schema != self._schema:
                await self._look()
                self._schema = schema
            for scan in self._scans:
                scan.note_change()
            self._log_due = self._read_up_to is not None
        self._duty.spend(self._time(), self._worked_s() - before_s)

    async def work(self) -> None:
        """Read one piece of what is due, if its time has come. Raises as `Database.read`. Cancellation: safe."""
        now = self._time()
        before_s = self._worked_s()
        # What is fresh does not wait until a long sweep is paid for; what it takes, later sweeping has less.
        if self._is_fresh_due() and not self._fresh_duty.wait_s(now):
            self._active = True
            await self._read_fresh()
            self._fresh_duty.spend(self._time(), self._worked_s() - before_s)
        elif (to_sweep := self._to_sweep()) and not self._duty.wait_s(now):
            self._active = True
            await self._sweep_on(min(to_sweep, key=lambda scan: scan.swept_at))
        for scan in self._scans:
            self.letters += scan.letters.take(counted=scan.sweep.complete)
        self._duty.spend(self._time(), self._worked_s() - before_s)

    async def rest(self) -> None:
        """Return when there is something to do, or may be; after two seconds at the latest. Cancellation: safe."""
        now = self._time()
        if self._active:
            self._active = False
            self._look_due = now >= self._looked_at + _LOOK_S
            return
        self._look_due = True
        wait_s = self._duty.wait_s(now) if self._to_sweep() else CHECK_S
        if self._is_fresh_due():
            wait_s = min(wait_s, self._fresh_duty.wait_s(now))
            # What changes meanwhile is read together with what is due.
            await asyncio.sleep(min(wait_s, CHECK_S))
        elif wait_s > 0:
            await self._database.wait(min(wait_s, CHECK_S))

    def _worked_s(self) -> float:
        return self._database.busy_s + self._compared_s

    def _readable(self) -> list[TableScan]:
        """The tables that are there and not too large."""
        return [scan for scan in self._scans if scan.columns and not scan.too_large]

    def _to_sweep(self) -> list[TableScan]:
        now = self._time()
        return [scan for scan in self._readable() if scan.sweep.pending and scan.retry_at <= now]

    def _fresh(self) -> list[TableScan]:
        """The tables whose newest rows are to be read."""
        return [
            scan
            for scan in self._readable()
            if scan.fresh_from is not None and scan.sweep.complete and not scan.trouble
        ]

    def _is_fresh_due(self) -> bool:
        return self._log_due or bool(self._fresh())

    async def _look(self) -> None:
        """Learn which tables and columns there are, and whether the change log is. All is swept again."""
        ours = {_text(name): _text(sql) for name, sql in await self._database.read(_OURS)}
        scans = [await self._learn(table, ours) for table in TABLES]
        for number, known in enumerate(self._scans):
            found = scans[number]
            is_same = (known.columns, known.key) == (found.columns, found.key)
            if is_same:
                known.captured = found.captured
                known.sweep.note_change()
                known.retry_at = 0.0
                scans[number] = known
            await asyncio.to_thread((found if is_same else known).mirror.close)
        self._scans = scans
        self._read_up_to = None
        if any(scan.captured for scan in scans):
            await self._find_log_end()

    async def _learn(self, table: CodeTable, ours: Mapping[str, str]) -> TableScan:
        columns = await self._database.columns(table.name)
        primary = await self._database.read("SELECT name FROM pragma_table_info(?) WHERE pk", (table.name,))
        key = _text(primary[0][0]) if len(primary) == 1 else None
        scan = await asyncio.to_thread(TableScan, table, columns, key)
        if columns:
            indexes = await self._database.read(UNIQUE_COLUMNS, (table.name,))
            unique = unique_keys((_text(index), column and _text(column)) for index, column in indexes)
            scan.captured = CHANGES in ours and triggers(table.name, columns, unique).items() <= ours.items()
            with self._contained(scan):
                [scan.span] = await self._database.read(_SPAN.format(table=table.name))
        return scan

    async def _find_log_end(self) -> None:
        """From here on the log tells what changes."""
        newest = await self._database.read(_LOG_END)
        self._read_up_to = newest[0] if newest else None
        for scan in self._scans:
            # A log without a first entry is not one that we have made.
            scan.captured = scan.captured and self._read_up_to is not None

    async def _sweep_on(self, scan: TableScan) -> None:
        """Read the next chunk of a round."""
        scan.swept_at = self._time()
        if scan.sweep.next_rowid == FIRST_ROWID:
            scan.sweep.begin(scan.swept_at)
        with self._contained(scan):
            scan.sweep.advance(await self._read_chunk(scan, scan.sweep.next_rowid), self._time())
            scan.trouble = ""

    async def _read_fresh(self) -> None:
        """Read what the log tells next, or the next of a table's newest rows."""
        if self._log_due:
            await self._read_log()
            return
        scan = self._fresh()[0]
        assert scan.fresh_from is not None, "it is due"
        first, scan.fresh_from = scan.fresh_from, None
        if first == FIRST_ROWID:
            scan.sweep.begin(self._time())
        with self._contained(scan):
            last = await self._read_chunk(scan, first)
            if first == FIRST_ROWID:
                scan.sweep.advance(last, self._time())
            elif last < LAST_ROWID:
                scan.fresh_from = last + 1

    async def _read_chunk(self, scan: TableScan, first: int) -> int:
        """Read the next rows from the rowid `first` on; returns up to which one all is known now."""
        await self._let_commit()
        where = "WHERE rowid >= ? ORDER BY rowid LIMIT ?"
        limit, rows = await self._select(scan, where, lambda limit: (first, limit))
        if rows is None:
            return await self._skip_row(scan, first)
        last = rows[-1][0] if len(rows) == limit else LAST_ROWID
        await self._compare(scan.replace_range, first, last, rows)
        if scan.mirror.count > MAX_ROWS:
            scan.too_large = True
            await asyncio.to_thread(scan.mirror.close)
        return int(last)

    async def _skip_row(self, scan: TableScan, first: int) -> int:
        """The next row cannot be read: it counts as nothing."""
        found = await self._database.read(f"SELECT rowid FROM {scan.table.name} WHERE rowid >= ? LIMIT 1", (first,))  # noqa: S608
        last = found[0][0] if found else LAST_ROWID
        if found:
            scan.letters.note(_too_big(scan, last))
        await self._compare(scan.replace_range, first, last, [])
        return int(last)

    async def _read_log(self) -> None:
        """Read the next entries of the change log, and the rows that they name."""
        assert self._read_up_to is not None, "something is captured"
        # At least some entries behind the last that was read: it is read again.
        limit = max(_LEAST_ENTRIES, min(self._log_chunk.rows, _LOG_ENTRIES))
        try:
            entries = await self._database.read(_LOG_FROM, (self._read_up_to[0], limit))
        except TooSlow:
            if limit == _LEAST_ENTRIES:
                raise
            self._log_chunk.failed()
            return
        self._log_chunk.took(self._database.took_s, len(entries))
        if not entries or entries[0] != self._read_up_to:
            # Somebody emptied it, or we were away for longer than it remembers.
            await self._find_log_end()
            for scan in self._scans:
                scan.sweep.note_change()
            self._log_due = False
            return
        for number, scan in enumerate(self._scans):
            ids = sorted({rowid for _, table, rowid in entries[1:] if table == number})
            if scan.captured and not scan.too_large:
                with self._contained(scan):
                    await self._read_rows(scan, ids)
        self._read_up_to = entries[-1]
        self._log_due = len(entries) == limit

    async def _read_rows(self, scan: TableScan, ids: Sequence[int]) -> None:
        """Read the rows `ids`, those that are there."""
        where = "WHERE rowid IN (SELECT value FROM json_each(?)) ORDER BY rowid"
        done = 0
        while left := ids[done:]:
            limit, rows = await self._select(scan, where, partial(_first, left))
            if rows is None:
                scan.letters.note(_too_big(scan, left[0]))
                scan.chunk.took(0.0, limit)
            await self._compare(scan.replace_rows, left[:limit], rows or [])
            done += limit

    async def _select(
        self, scan: TableScan, where: str, parameters: Callable[[int], Sequence[object]]
    ) -> tuple[int, list[Row] | None]:
        """How many rows were asked for, and those that are there; None for a single one that cannot be read."""
        while True:
            limit = scan.chunk.rows
            try:
                rows = await self._database.read(f"{scan.select} {where}", parameters(limit))
            except (TooSlow, sqlite3.DataError) as error:
                if limit > 1:
                    scan.chunk.failed()
                    continue
                if isinstance(error, TooSlow):
                    raise
                return limit, None
            scan.chunk.took(self._database.took_s, len(rows))
            return limit, rows

    async def _compare(self, replace: Callable[..., None], *arguments: object) -> None:
        self._compared_s += await asyncio.to_thread(_work_s, replace, *arguments)

    async def _let_commit(self) -> None:
        """Wait a little while somebody is about to commit: with a rollback journal, he would have to wait for us."""
        for _ in range(_COMMIT_LOOKS):
            if not await asyncio.to_thread(_is_in_use, self._journal):
                return
            await self._database.wait(_COMMIT_LOOK_S)

    @contextlib.contextmanager
    def _contained(self, scan: TableScan) -> Iterator[None]:
        """A damaged table does not keep the others from being read: it is tried again later, from where it failed."""
        try:
            yield
        except (sqlite3.DatabaseError, TooSlow) as error:
            damaged = ("SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_IOERR")
            if not isinstance(error, TooSlow) and not error.sqlite_errorname.startswith(damaged):
                raise
            scan.trouble = f"{scan.table.name} cannot be read: {error}"[:200]
            scan.retry_at = self._time() + _RETRY_S
            scan.sweep.note_change()


def _work_s(work: Callable[..., object], *arguments: object) -> float:
    """Do `work`; returns the seconds of CPU that it took."""
    began_s = time.thread_time()
    work(*arguments)
    return time.thread_time() - began_s


def _is_in_use(journal: Path) -> bool:
    """Whether a rollback journal belongs to a transaction; between two it is gone, empty, or begins with zeros."""
    try:
        with journal.open("rb") as file:
            return any(file.read(_JOURNAL_HEADER))
    except OSError:
        return False


def _first(ids: Sequence[int], limit: int) -> tuple[str]:
    return (json.dumps(ids[:limit]),)


def _too_big(scan: TableScan, rowid: int) -> str:
    return f"row {rowid} of {scan.table.name} is too big"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
