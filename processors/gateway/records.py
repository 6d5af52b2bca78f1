"""The channels of records: syncs, and reasoning sessions."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from processors.gateway.backlog import Backlog, Kept
from processors.gateway.channel import Channel, Cursor, Lost, Part, Shape, in_pieces
from processors.gateway.deltas import chosen
from schemas.frames import Event, Reset, Skipped, Snapshot
from schemas.positions import Position, RosterPosition, encode_position

__all__ = ["MAX_PIECE", "MAX_RECORDS", "RecordsChannel"]

MAX_RECORDS: Final = 10_000
"""Most records that are told at once: of more, the newest, and how many were left out."""

MAX_PIECE: Final = 1_000
"""Most records of one frame."""


class RecordsChannel(Channel):
    """The records of one feed."""

    conflates = False

    def __init__(self, name: str, backlog: Backlog, fields: tuple[str, ...], shown: int) -> None:
        super().__init__(name)
        self.fields = frozenset(fields)
        self._backlog = backlog
        # How many records a snapshot has.
        self._shown = shown
        self._cursor = Cursor(0)

    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`."""
        top = self._backlog.top
        # A backlog that was emptied may still be followed from where it was: only what comes next can tell.
        if top is not None and top != self._cursor.position:
            self._cursor = Cursor(now, top)
        return self._cursor

    def whole(self, at: Cursor, shape: Shape) -> Iterator[Part]:
        """One snapshot with the newest records."""
        kept = self._backlog.newest(self._shown, _position(at))
        yield Snapshot(channel=self.name, pos=at.pos, ts=at.ts, data=_records(kept, shape))

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part]:
        """The records between; a reset where they are not kept."""
        position, until_position = _position(since), _position(until)
        kept = self._backlog.after(position, until_position)
        if kept is None:
            is_other = position is not None and until_position is not None and position.epoch != until_position.epoch
            yield Reset(channel=self.name, reason="epoch" if is_other else "gone")
            yield from self.whole(until, shape)
            return
        if len(kept) > MAX_RECORDS:
            yield Skipped(channel=self.name, count=len(kept) - MAX_RECORDS)
            kept = kept[-MAX_RECORDS:]
        for piece in in_pieces(kept, MAX_PIECE):
            # Each has a position of its own: whoever leaves between two of them gets none twice.
            there = Position(until_position.epoch, piece[-1].entry) if until_position and piece else until_position
            pos = UNSET if there is None else encode_position(there)
            yield Event(channel=self.name, pos=pos, ts=until.ts, data=_records(piece, shape))

    def locate(self, position: Position | RosterPosition) -> Cursor | Lost:
        """The cursor of a client that comes back."""
        top = self._backlog.top
        if not isinstance(position, Position) or top is None or position.epoch != top.epoch:
            return Lost("epoch")
        if position.entry > top.entry:
            return Lost("ahead")
        return Lost("gone") if self._backlog.find(position) is None else Cursor(position.entry.ms, position)


def _position(cursor: Cursor) -> Position | None:
    return cursor.position if isinstance(cursor.position, Position) else None


def _records(kept: Sequence[Kept], shape: Shape) -> list[Any]:
    if shape.fields is None:
        return [msgspec.Raw(each.body) for each in kept]
    return [chosen(msgspec.json.decode(each.body), shape.fields) for each in kept]
