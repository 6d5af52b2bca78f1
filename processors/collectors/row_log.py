"""How far an append-only table was read, so that every row is told once: whatever becomes of the file.

Ids grow, but a row may come late below the largest one that was read (somebody gave it an id of his own): ids that were
left out are remembered as holes, and looked at again. The file may be replaced by an older copy of itself, or by
another database: digests of some rows that were read, dense at the end and sparse before, tell which it is.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

__all__ = ["MAX_HOLES", "Relation", "RowLog", "Seen", "advance", "begin", "relate"]

MAX_HOLES: Final = 64
"""Most holes that are remembered. The lowest is forgotten first: a row that comes into it later is missed."""

_DENSE: Final = 16


class Seen(NamedTuple):
    """One row that was read: its id, and a digest of what never changes of it."""

    id: int
    digest: int


class RowLog(Struct, frozen=True, array_like=True):
    """How far one table was read."""

    # Largest id that was read; 0 before the first.
    top: int = 0
    # Rows up to this id were there at the first start: those from before the totals began are not counted.
    old: int = 0
    # Ids up to `top` that were not there, as (first, last), ascending.
    holes: tuple[tuple[int, int], ...] = ()
    # Some of the rows that were read, the newest first.
    marks: tuple[Seen, ...] = ()


class Relation(NamedTuple):
    """What a file's table is to the one that was read."""

    # Where to go on. None: it is another table, to be read as at a first start.
    log: RowLog | None
    # Whether it may be told twice, or missed, what was written near the end of the older copy.
    ambiguous: bool = False


def begin(top: int, rows: Sequence[Seen], *, old: int = 0) -> RowLog:
    """The log of a table of which what is above the id `top` is to be told; `rows` are the last up to it, descending.

    `old`: the largest id that there is.
    """
    return RowLog(top, old, (), _thin(rows))


def advance(log: RowLog, rows: Sequence[Seen]) -> RowLog:
    """The log after `rows` were read too; they are ascending, above the top or in a hole."""
    top, holes = log.top, list(log.holes)
    for row in rows:
        if row.id > top:
            if row.id > top + 1:
                holes.append((top + 1, row.id - 1))
            top = row.id
        else:
            holes = [part for hole in holes for part in _split(hole, row.id)]
    marks = sorted({*log.marks, *rows}, reverse=True)
    return RowLog(top, log.old, tuple(holes[-MAX_HOLES:]), _thin(marks))


def relate(log: RowLog, top: int, found: Mapping[int, int], *, same_file: bool) -> Relation:
    """What a table with ids up to `top` is to `log`; `found` has the digests of its rows at the ids of the marks.

    In the same file whose ids never went below the log's top, rows may only have been deleted: unless there are others
    in all their places, for a new file may have got the number of one that was removed.
    """
    known = [mark for mark in log.marks if found.get(mark.id) == mark.digest]
    if top >= log.top and ((same_file and (known or not found)) or not log.top):
        return Relation(log)
    if not known:
        return Relation(None)
    if known[0] == log.marks[0]:
        return Relation(log)
    # An older copy of what was read: it ends at the newest row that is still the same, or a little later.
    last = known[0].id
    holes = tuple(hole for hole in log.holes if hole[1] < last)
    return Relation(RowLog(last, min(log.old, last), holes, tuple(known)), ambiguous=last < top)


def _split(hole: tuple[int, int], found: int) -> list[tuple[int, int]]:
    first, last = hole
    if not first <= found <= last:
        return [hole]
    return [part for part in ((first, found - 1), (found + 1, last)) if part[0] <= part[1]]


def _thin(marks: Sequence[Seen]) -> tuple[Seen, ...]:
    """The newest marks, and of the older ones those whose digest ends in more zeros than any newer one's.

    Digests are as good as random: on average each that is kept is twice as far back as the one before, whatever came
    since, and a thousand million rows leave thirty.
    """
    kept = [*marks[:_DENSE]]
    most = -1
    for mark in marks[_DENSE:]:
        zeros = (mark.digest & -mark.digest).bit_length()
        if zeros > most:
            kept.append(mark)
            most = zeros
    return tuple(kept)
