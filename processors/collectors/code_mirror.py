"""The mirror of one table: of each row what it counts for, so that a row that changed can be told from the others.

It lives in memory, in a database of its own: some 80 bytes a row. Calls work for some milliseconds, the one to
`index` for seconds: they are not for the thread of the event loop.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from processors.collectors.code_memory import MirrorRow, Totals

__all__ = ["Mirror"]

_ROW: Final = "SELECT id, key, weight, part FROM rows"


class Mirror:
    """What is known of the rows of one table. `weigh`: the sums over some rows.

    Until `index` is called it only takes rows in: a key that came twice stays twice, and nothing is known of
    `distinct`. Filling it is several times faster so.
    """

    def __init__(self, weigh: Callable[[Iterable[MirrorRow]], Totals]) -> None:
        self._weigh = weigh
        # Held by each call: a caller that is cancelled leaves its call running, and closes.
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, key, weight, part)")
        # Sums over all rows.
        self.totals: Totals = {}
        # Number of rows, and the largest rowid, None without rows.
        self.count = 0
        self.top: int | None = None
        # Number of different last hashes.
        self.distinct = 0
        # Whether `index` was called.
        self.indexed = False

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._rows.close()

    def index(self) -> None:
        """From now on know which row has a key, and how many different last hashes there are."""
        with self._lock:
            self._rows.execute("CREATE INDEX keys ON rows (key) WHERE key IS NOT NULL")
            self._rows.execute("CREATE INDEX parts ON rows (part) WHERE part IS NOT NULL")
            [(self.distinct,)] = self._rows.execute("SELECT count(DISTINCT part) FROM rows WHERE part IS NOT NULL")
            self.indexed = True

    def replace_range(self, first: int, last: int, rows: Sequence[MirrorRow]) -> bool:
        """Between the rowids `first` and `last`, both included, there are `rows` and no others, in their order.

        Returns whether that is news.
        """
        return self._replace("id BETWEEN ? AND ?", (first, last), rows)

    def replace_rows(self, ids: Sequence[int], rows: Sequence[MirrorRow]) -> bool:
        """Of the rowids `ids` there are `rows` and no others. Returns whether that is news."""
        return self._replace("id IN (SELECT value FROM json_each(?))", (json.dumps(ids),), rows)

    def _replace(self, where: str, parameters: Sequence[object], rows: Sequence[MirrorRow]) -> bool:
        with self._lock:
            known = self._rows.execute(f"{_ROW} WHERE {where} ORDER BY id", parameters).fetchall()
            if known != rows:
                self._exchange(known, rows)
            return known != rows

    def _exchange(self, known: Sequence[MirrorRow], rows: Sequence[MirrorRow]) -> None:
        before, after = set(known), set(rows)
        self._rows.execute("BEGIN")
        self._remove([row for row in known if row not in after])
        self._add([row for row in rows if row not in before])
        self._rows.execute("COMMIT")
        [(self.top,)] = self._rows.execute("SELECT max(id) FROM rows")

    def _remove(self, rows: Sequence[MirrorRow]) -> None:
        self._rows.executemany("DELETE FROM rows WHERE id = ?", [row[:1] for row in rows])
        self._count(rows, -1)
        self.distinct -= self._absent(rows)

    def _add(self, rows: Sequence[MirrorRow]) -> None:
        if self.indexed:
            # A key is in one row only: where it was before, it is no more.
            keys = [row[1:2] for row in rows if row[1] is not None]
            self._remove([moved for key in keys for moved in self._rows.execute(f"{_ROW} WHERE key = ?", key)])
            self.distinct += self._absent(rows)
        self._rows.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
        self._count(rows, 1)

    def _count(self, rows: Sequence[MirrorRow], sign: int) -> None:
        self.count += sign * len(rows)
        for name, weight in self._weigh(rows).items():
            self.totals[name] = self.totals.get(name, 0) + sign * weight

    def _absent(self, rows: Iterable[MirrorRow]) -> int:
        """How many of the last hashes of `rows` no row has."""
        if not self.indexed:
            return 0
        parts = {row[3] for row in rows} - {None}
        found = "SELECT 1 FROM rows WHERE part = ? LIMIT 1"
        return sum(self._rows.execute(found, (part,)).fetchone() is None for part in parts)
