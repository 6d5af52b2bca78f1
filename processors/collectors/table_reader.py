"""Reads rows of an append-only table by their ids, as many at once as can be had in a short time."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from processors.collectors.database import Database, TooSlow
from processors.collectors.duty import ChunkSize

__all__ = ["Table", "TableReader"]

_LEAST_ID: Final = -(2**63)
_MOST_ROWS: Final = 125

T_co = TypeVar("T_co", bound=tuple[Any, ...], covariant=True)


class Table(NamedTuple, Generic[T_co]):
    """A table with ids, and what a row of it becomes: `row(id, *columns)`."""

    name: str
    columns: tuple[str, ...]
    row: Callable[..., T_co]


class TableReader(Generic[T_co]):
    """Reads one table of a database. A column that the table lacks is None, and a table that is not there is empty."""

    def __init__(self, database: Database, table: Table[T_co]) -> None:
        self.table = table
        self._database = database
        # Columns that the table has; empty while there is no table.
        self._columns: frozenset[str] = frozenset()
        # Whether ids are counted in `sqlite_sequence`.
        self._counted = False
        # Rows at once: what is not asked for, large texts, has to be read over too.
        self._chunk = ChunkSize()

    @property
    def exists(self) -> bool:
        """Whether there is such a table, as of the last look."""
        return bool(self._columns)

    async def look(self) -> None:
        """Learn the table's columns, as long as some are missing. Raises as `Database.read`."""
        if not self._columns.issuperset(self.table.columns):
            self._columns = await self._database.columns(self.table.name)
            self._counted = bool(await self._database.columns("sqlite_sequence"))

    async def top(self) -> int:
        """The largest id that was ever given, 0 if none. Raises as `Database.read`."""
        if not self._columns:
            return 0
        name = self.table.name
        tops = [f"SELECT max(rowid) AS top FROM {name}"]  # noqa: S608  - our own names
        if self._counted:
            tops.append(f"SELECT seq FROM sqlite_sequence WHERE name = '{name}'")  # noqa: S608  - our own names
        rows = await self._database.read(f"SELECT max(top) FROM ({' UNION ALL '.join(tops)})")  # noqa: S608
        return rows[0][0] or 0

    async def above(self, row_id: int) -> list[T_co]:
        """The next rows above `row_id`, ascending. Raises as `Database.read`."""
        return await self._read("{table} WHERE {table}.rowid > ? ORDER BY 1 LIMIT ?", (row_id,))

    async def below(self, row_id: int) -> list[T_co]:
        """The next rows up to `row_id`, descending. Raises as `Database.read`."""
        if row_id < _LEAST_ID:
            return []
        return await self._read("{table} WHERE {table}.rowid <= ? ORDER BY 1 DESC LIMIT ?", (row_id,))

    async def last(self, row_id: int, count: int) -> list[T_co]:
        """The `count` rows up to `row_id`, or a few more, descending. Raises as `Database.read`."""
        rows: list[T_co] = []
        while len(rows) < count and (more := await self.below(rows[-1][0] - 1 if rows else row_id)):
            rows += more
        return rows

    async def at(self, ids: Sequence[int]) -> list[T_co]:
        """The rows `ids`, those that are there, ascending. Raises as `Database.read`."""
        rows: list[T_co] = []
        while more := await self.within([(each, each) for each in ids if not rows or each > rows[-1][0]]):
            rows += more
        return rows

    async def within(self, ranges: Sequence[tuple[int, int]]) -> list[T_co]:
        """The first rows of `ranges` (first and last id), ascending. Raises as `Database.read`."""
        if not ranges:
            return []
        # Joined, each range is a search of its own; as alternatives of one condition they would be a full scan.
        values = ", ".join(["(?, ?)"] * len(ranges))
        source = (
            f"(SELECT column1 AS first, column2 AS last FROM (VALUES {values})) CROSS JOIN {{table}} "  # noqa: S608
            "ON {table}.rowid BETWEEN first AND last ORDER BY 1 LIMIT ?"
        )
        return await self._read(source, [end for each in ranges for end in each])

    async def _read(self, source: str, parameters: Sequence[object]) -> list[T_co]:
        if not self._columns:
            return []
        columns = self._chosen()
        while True:
            limit = min(self._chunk.rows, _MOST_ROWS)
            try:
                rows = await self._select(columns, source, (*parameters, limit))
            except TooSlow:
                if limit == 1:
                    raise
            except sqlite3.DataError:
                # A row holds more than can be read: it is found by reading singly, and nothing but its id is read.
                if limit == 1:
                    columns = ["NULL"] * len(columns)
            else:
                self._chunk.took(self._database.took_s, len(rows))
                known = self._columns
                await self.look()
                if not known < self._columns:
                    return [self.table.row(*row) for row in rows]
                # A column was added since the last look: these rows may have a value in it already.
                columns = self._chosen()
                continue
            self._chunk.failed()

    def _chosen(self) -> list[str]:
        return [name if name in self._columns else "NULL" for name in self.table.columns]

    async def _select(self, columns: Sequence[str], source: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        name = self.table.name
        # Of a query only the beginning travels.
        chosen = ", ".join("substr(query, 1, 200)" if column == "query" else column for column in columns)
        sql = f"SELECT {name}.rowid, {chosen} FROM {source.format(table=name)}"  # noqa: S608  - our own names
        return await self._database.read(sql, parameters)
