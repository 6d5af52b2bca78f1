"""The collector `reasoning`: every session and stage of `reasoning_logs.db`, published once.

Delivery: exactly once; the cursor is a position in both tables, written by the same script as the events up to it. The
very first start publishes where it begins, one hour back, before anything else: a kill then does not move the
beginning. What is older only fills the lists of the newest.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import msgspec

from processors.collectors.batching import cut
from processors.collectors.database import Database, keep_reading
from processors.collectors.delivery import Delivery
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.reasoning import (
    COLLECTOR,
    Cursor,
    Reading,
    SessionRow,
    StagePairs,
    StageRow,
    created_ms,
    decode_cursor,
    encode_cursor,
    read_session,
    seen,
)
from processors.collectors.row_log import Relation, RowLog, advance, begin, relate
from processors.collectors.status import SourceStatus
from processors.collectors.table_reader import Table, TableReader
from processors.runtime.bus import Bus
from processors.runtime.logging import get_logger
from schemas.events import Event, NodeSeen, ReasoningStage
from schemas.metrics import MAX_DELTAS, MAX_LOGS

__all__ = ["ReasoningCollector"]

_Row: TypeAlias = SessionRow | StageRow
_Reader: TypeAlias = TableReader[_Row]

_SESSIONS: Final = Table(
    "reasoning_sessions", ("session_id", "created_at", "agent_name", "query", "overall_confidence"), SessionRow
)
_STAGES: Final = Table("reasoning_stages", ("session_id", "created_at", "stage_order", "confidence"), StageRow)

_READ_BACK_MS: Final = 3_600_000
_READ_BACK_ROWS: Final = 50_000
_PAIRED_ROWS: Final = 1_000
_MARKED_ROWS: Final = 100
_SEEN_S: Final = 60.0

_logger = get_logger("collectors")

T = TypeVar("T")


class ReasoningCollector:
    """Watches the sessions and stages of one node's `reasoning_logs.db`."""

    def __init__(self, bus: Bus, path: Path, node: str, partition: str, status: SourceStatus) -> None:
        self._path = path
        self._node = node
        self._clock = bus.clock
        self._status = status
        self._delivery = Delivery(bus, f"{COLLECTOR}:{node}", [partition], status)
        # The tables of the file that is open.
        self._sessions: TableReader[SessionRow]
        self._stages: TableReader[StageRow]
        # What is published; None before it is known for this file.
        self._cursor: Cursor | None = None
        # Why a table could not be read the last time; None if both could.
        self._failure: sqlite3.DatabaseError | None = None
        # The stages up to the cursor.
        self._pairs = StagePairs()
        # Loop time, seconds, when the node is to be told as seen.
        self._seen_at = 0.0
        # Times that the file was an older copy of itself, and it was not sure what of it had been told.
        self.ambiguous = 0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: the next start finds out whether a batch was published."""
        async with self._delivery.held():
            await keep_reading(self._path, self._follow, status=self._status, clock=self._clock)

    async def _follow(self, database: Database) -> None:
        self._sessions, self._stages = TableReader(database, _SESSIONS), TableReader(database, _STAGES)
        self._cursor = None
        while True:
            try:
                changed = await database.changed() or self._cursor is None
                if changed:
                    await self._catch_up(database)
                await self._tell_seen()
                await self._delivery.confirm()
                if not changed:
                    await database.wait()
            except CursorConflict as conflict:
                self._cursor = None
                await self._delivery.begin_again(conflict)

    async def _catch_up(self, database: Database) -> None:
        """Publish what was committed since, from both tables."""
        self._failure = None
        for reader in (self._sessions, self._stages):
            await reader.look()
        if self._cursor is None or await self._went_back(self._cursor):
            self._cursor = await self._resume(database.identity)
        await self._drain()
        if self._failure is not None:
            raise self._failure
        if not self._sessions.exists and await database.read("SELECT 1 FROM sqlite_master LIMIT 1"):
            raise sqlite3.OperationalError(f"no such table: {_SESSIONS.name}")

    async def _contained(self, reading: Awaitable[T], otherwise: T) -> T:
        """What `reading` gives. A damaged table does not keep the other from being read: it is told at the end."""
        try:
            return await reading
        except sqlite3.DatabaseError as error:
            self._failure = error
            return otherwise

    async def _went_back(self, cursor: Cursor) -> bool:
        """Whether ids that were read have not been given yet: the tables were emptied, or an older copy put back."""
        for reader, log in ((self._sessions, cursor.sessions), (self._stages, cursor.stages)):
            if log is not None and await self._contained(reader.top(), log.top) < log.top:
                return True
        return False

    async def _drain(self) -> None:
        """Publish the rows that came late into holes, and those above the tops.

        What is committed together is published together: a session and its stages come in one transaction.
        """
        assert self._cursor is not None, "it is resumed first"
        while True:
            sessions = await self._contained(self._next(self._sessions, self._cursor.sessions), [])
            stages = await self._contained(self._next(self._stages, self._cursor.stages), [])
            if not sessions and not stages:
                return
            await self._publish([*sessions, *stages])

    @staticmethod
    async def _next(reader: _Reader, log: RowLog | None) -> list[_Row]:
        return [] if log is None else await reader.within(log.holes) or await reader.above(log.top)

    async def _publish(self, rows: Sequence[_Row]) -> None:
        assert self._cursor is not None, "it is resumed first"
        now = self._clock.now_ms()
        units = [self._read(row, self._reading(row, now)) for row in rows]
        told = 0
        for count, events in cut(units):
            taken = rows[told : told + count]
            told += count
            cursor = self._cursor
            moved = msgspec.structs.replace(
                cursor,
                sessions=_after(cursor.sessions, [row for row in taken if isinstance(row, SessionRow)]),
                stages=_after(cursor.stages, [row for row in taken if isinstance(row, StageRow)]),
            )
            self._cursor = await self._send(moved, events)

    def _reading(self, row: _Row, now: int) -> Reading:
        assert self._cursor is not None, "it is resumed first"
        log = self._cursor.sessions if isinstance(row, SessionRow) else self._cursor.stages
        return Reading(self._node, now, self._cursor.since, 0 if log is None else log.old)

    def _read(self, row: _Row, reading: Reading) -> tuple[Event, ...]:
        return read_session(row, reading) if isinstance(row, SessionRow) else self._pairs.read_stage(row, reading)

    async def _send(self, cursor: Cursor, events: Sequence[Event]) -> Cursor:
        """Publish `events` together with the cursor behind them; returns the cursor as it stands on the bus."""
        signed = msgspec.structs.replace(cursor, signature=self._delivery.signature())
        await self._delivery.send(SourceBatch(encode_cursor(signed).decode(), list(events)))
        return signed

    async def _tell_seen(self) -> None:
        """Tell now and then that the database answers."""
        assert self._cursor is not None, "it is resumed first"
        now = asyncio.get_running_loop().time()
        if now >= self._seen_at:
            self._cursor = await self._send(self._cursor, [self._seen(self._cursor.since)])
            self._seen_at = now + _SEEN_S

    def _seen(self, since: int, *, anew: bool = False) -> NodeSeen:
        return NodeSeen(node=self._node, ts=self._clock.now_ms(), group="reasoning", since=since, anew=anew)

    async def _resume(self, file: str) -> Cursor:
        """Find the place up to which this file is published; where that is a new one, publish it with the lists."""
        (stored,) = (await self._delivery.resume()).values()
        known = decode_cursor(stored)
        cursor = None if known is None else await self._related(known, file)
        if cursor is None:
            since = self._clock.now_ms() - _READ_BACK_MS if known is None else known.since
            cursor = Cursor(file, since, None, None, "")
        cursor = msgspec.structs.replace(
            cursor,
            sessions=cursor.sessions or await self._contained(self._beginning(self._sessions), None),
            stages=cursor.stages or await self._contained(self._beginning(self._stages), None),
        )
        recalled = await self._recall(cursor)
        same = known is not None and (known.sessions, known.stages) == (cursor.sessions, cursor.stages)
        if known is not None and not same:
            _logger.warning("%s: the database is another than before, or an older copy of it", COLLECTOR)
        self._seen_at = asyncio.get_running_loop().time() + _SEEN_S
        anew = self._seen(cursor.since, anew=known is not None and not same)
        return await self._send(cursor, [anew] if same else [anew, *recalled])

    async def _related(self, known: Cursor, file: str) -> Cursor | None:
        """The cursor for the file that is open, without what is to be begun anew: one table may be made again.

        None if it is another database than the one that was read: nothing of either table is related.
        """
        logs: list[RowLog | None] = []
        for reader, log in ((self._sessions, known.sessions), (self._stages, known.stages)):
            if log is None:
                logs.append(None)
                continue
            relation = await self._contained(self._relation(reader, log, same_file=file == known.file), Relation(log))
            self.ambiguous += relation.ambiguous
            logs.append(relation.log)
        if all(log is None or not log.top for log in logs):
            return None
        return Cursor(file, known.since, logs[0], logs[1], known.signature)

    @staticmethod
    async def _relation(reader: _Reader, log: RowLog, *, same_file: bool) -> Relation:
        rows = await reader.at([mark.id for mark in log.marks][::-1])
        return relate(log, await reader.top(), dict(map(seen, rows)), same_file=same_file)

    async def _beginning(self, reader: _Reader) -> RowLog | None:
        """Where a first start begins: below the rows of the last hour, and at most some ten thousand rows back."""
        top = place = await reader.top()
        oldest = self._clock.now_ms() - _READ_BACK_MS
        first, walked = top + 1, 0
        while walked < _READ_BACK_ROWS and (rows := await reader.below(place)):
            recent = [row.id for row in rows if (created_ms(row.created_at) or 0) >= oldest]
            if not recent:
                break
            first = min(recent)
            walked += len(rows)
            place = rows[-1].id - 1
        marks = [seen(row) for row in await reader.last(first - 1, _MARKED_ROWS)]
        # From the newest row before: what is not there between them may come late, as into any hole.
        return begin(marks[0].id if marks else min(first - 1, 0), marks, old=top)

    async def _recall(self, cursor: Cursor) -> list[Event]:
        """The events for the lists of the newest, from before the cursor. Learns the stages there."""
        self._pairs = StagePairs()
        now = self._clock.now_ms()
        events: list[Event] = []
        for session in (await self._last(self._sessions, cursor.sessions, MAX_LOGS))[MAX_LOGS - 1 :: -1]:
            events += self._read(session, Reading(self._node, now, now, session.id))[:1]
        deltas: dict[int, Event] = {}
        for stage in reversed(await self._last(self._stages, cursor.stages, _PAIRED_ROWS)):
            for event in self._read(stage, Reading(self._node, now, now, stage.id)):
                if isinstance(event, ReasoningStage) and event.delta is not None:
                    deltas[event.id] = event
        return events + [deltas[row_id] for row_id in sorted(deltas)[-MAX_DELTAS:]]

    async def _last(self, reader: _Reader, log: RowLog | None, count: int) -> list[_Row]:
        """The `count` rows up to where a table is published, or a few more, descending; none if it cannot be read."""
        return [] if log is None else await self._contained(reader.last(log.top, count), [])


def _after(log: RowLog | None, rows: Sequence[_Row]) -> RowLog | None:
    return advance(log, [seen(row) for row in rows]) if log is not None and rows else log
