"""What is known of one table of `ark.db`, and what is to be read of it next."""

import marshal
from collections.abc import Collection, Sequence
from typing import Any, Final, cast

from processors.collectors.code_memory import CodeTable, Values, select
from processors.collectors.code_mirror import Mirror
from processors.collectors.database import Row
from processors.collectors.duty import ChunkSize
from processors.collectors.letters import Letters
from processors.collectors.sweep import FIRST_ROWID, LAST_ROWID, Sweep

__all__ = ["TableScan", "progress"]

_NEWEST: Final = 256


class TableScan:
    """What is known of one table, and what is to be read of it next."""

    def __init__(self, table: CodeTable, columns: Collection[str], key: str | None) -> None:
        self.table = table
        # Its columns, none if there is no such table, and the one that alone is its primary key.
        self.columns = frozenset(columns)
        self.key = key
        self.select = select(table, columns, key)
        self.mirror = Mirror(table.weigh)
        self.sweep = Sweep()
        self.chunk = ChunkSize()
        # The rowids between which its rows were when it was first seen; None without any.
        self.span: Row = (None, None)
        # When a chunk of it was swept last, loop time: the tables take turns.
        self.swept_at = 0.0
        # From where the newest rows are to be read; None while they are known.
        self.fresh_from: int | None = None
        # Whether the change log tells its changes.
        self.captured = False
        # Whether it has more rows than are counted.
        self.too_large = False
        # Why it cannot be read, and when that is tried again, loop time.
        self.trouble = ""
        self.retry_at = 0.0
        # Hash of all its rows, if they were read at once the last time that any was; None otherwise.
        self.whole: int | None = None
        # What cannot be used of its rows.
        self.letters = Letters(table.name)

    def note_change(self) -> None:
        """Something was committed: it may have changed."""
        if self.captured:
            return
        self.sweep.note_change()
        is_small = self.mirror.count < self.chunk.rows
        self.fresh_from = FIRST_ROWID if is_small else max(FIRST_ROWID, (self.mirror.top or 0) - _NEWEST)

    def values(self) -> Values:
        """What its rows add up to, None for what is not known."""
        known = self.columns if self.sweep.complete and not self.too_large else ()
        return self.table.values(self.mirror.totals, self.mirror.distinct, known)

    def replace_range(self, first: int, last: int, rows: Sequence[Row]) -> None:
        """Between the rowids `first` and `last`, both included, there are `rows` and no others. Blocks."""
        # A table that one chunk holds is read whole at each change of any other: mostly it is as it was.
        # (Of the bytes of the rows: the hash of a number is the same for -1 and -2.)
        whole = hash(marshal.dumps(cast("Any", rows), 2)) if (first, last) == (FIRST_ROWID, LAST_ROWID) else None
        if whole is not None and whole == self.whole:
            return
        self.mirror.replace_range(first, last, self.table.read(rows, self.letters.note))
        self.whole = whole
        if last == LAST_ROWID and not self.mirror.indexed:
            self.mirror.index()

    def replace_rows(self, ids: Sequence[int], rows: Sequence[Row]) -> None:
        """Of the rowids `ids` there are `rows` and no others. Blocks."""
        self.whole = None
        self.mirror.replace_rows(ids, self.table.read(rows, self.letters.note))


def progress(scans: Sequence[TableScan]) -> float:
    """How much of the first sweep is done, from 0 to 1, if the rows lie evenly."""
    done = total = 0
    for scan in scans:
        first, last = scan.span
        rows = 0 if first is None or last is None else last - first + 1
        total += rows
        done += rows if scan.sweep.complete else max(0, min(rows, scan.sweep.next_rowid - (first or 0)))
    return done / total if total else 0.0
