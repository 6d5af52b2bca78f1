"""From rows of `reasoning_logs.db` to events: sessions, stages, and the differences between stages of one session."""

import math
import zlib
from bisect import insort
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from processors.collectors.row_log import RowLog, Seen
from schemas.events import MAX_EXCERPT, MAX_ID, MAX_QUERY, Event, ReasoningSession, ReasoningStage, Rejected
from schemas.values import instant_ms, number

__all__ = [
    "COLLECTOR",
    "Cursor",
    "Reading",
    "SessionRow",
    "StagePairs",
    "StageRow",
    "created_ms",
    "decode_cursor",
    "encode_cursor",
    "read_session",
    "seen",
]

COLLECTOR: Final = "reasoning"

_MAX_SESSIONS: Final = 512
_MAX_STAGES: Final = 256
_MAX_CONFIDENCE: Final = 1e6

Value = int | float | bytes | None


class SessionRow(NamedTuple):
    """A row of `reasoning_sessions`, as SQLite gives it: any column may hold anything, or be missing (None)."""

    id: int
    session: Value
    created_at: Value
    agent: Value = None
    query: Value = None
    confidence: Value = None


class StageRow(NamedTuple):
    """A row of `reasoning_stages`; as above."""

    id: int
    session: Value
    created_at: Value
    order: Value = None
    confidence: Value = None


class Reading(NamedTuple):
    """Under which circumstances rows are read."""

    node: str
    # When, ms: the time of rows that have no usable one of their own.
    now: int
    # When the totals began, ms.
    since: int
    # Rows up to this id were there before the first start.
    old: int


class Cursor(Struct, frozen=True, array_like=True):
    """What is published of a database. New fields go to the end."""

    # `<device>-<inode>` of the file.
    file: str
    # When the totals began, ms.
    since: int
    # None for a table that could not be read since the beginning.
    sessions: RowLog | None
    stages: RowLog | None
    # Of the batch that wrote it.
    signature: str


encode_cursor: Final = msgspec.json.Encoder().encode
_decode_cursor: Final = msgspec.json.Decoder(Cursor).decode


def decode_cursor(text: str) -> Cursor | None:
    """The cursor in `text`, None if there is none."""
    try:
        return _decode_cursor(text.encode())
    except msgspec.DecodeError:
        return None


def seen(row: SessionRow | StageRow) -> Seen:
    """What is remembered of a row to know it again."""
    return Seen(row.id, zlib.crc32(repr((row.session, row.created_at)).encode()))


def read_session(row: SessionRow, reading: Reading) -> tuple[Event, ...]:
    """The events of a session: itself, and a dead letter beside it if a value could not be used."""
    complaints = _missing(row)
    ts = _created(row.created_at, complaints)
    event = ReasoningSession(
        node=reading.node,
        ts=reading.now if ts is None else ts,
        id=row.id,
        agent=_text(row.agent)[:MAX_ID],
        query=_text(row.query)[:MAX_QUERY],
        confidence=_confidence(row.confidence, "overall_confidence", complaints),
        recalled=_is_recalled(row.id, ts, reading),
    )
    return (event, *_rejections("reasoning_sessions", row, complaints, reading.now))


class _Stage(NamedTuple):
    """What is remembered of a stage; stages of a session are in the order of the first two."""

    order: float
    id: int
    confidence: float | None
    ts: int


class StagePairs:
    """The stages of the newest sessions, to tell each stage's difference from the one before it.

    Bound: the session that was written to longest ago is forgotten, and so are a session's first stages beyond 256: a
    stage that comes to it later has no difference.
    """

    def __init__(self) -> None:
        # The stages of each session in order; the session written to last is the last.
        self._sessions: dict[Value, list[_Stage]] = {}

    def read_stage(self, row: StageRow, reading: Reading) -> tuple[Event, ...]:
        """The events of a stage: itself; the stage after it again if this one came between; a dead letter."""
        complaints = _missing(row)
        created = _created(row.created_at, complaints)
        confidence = _confidence(row.confidence, "confidence", complaints)
        order = _number(row.order)
        stage = _Stage(order or 0.0, row.id, confidence, reading.now if created is None else created)
        before, after = None, None
        if order is None:
            complaints.append("stage_order is not a number")
        elif row.session is not None:
            before, after = self._insert(row.session, stage)
        events = [_stage_event(stage, before, reading.node, recalled=_is_recalled(row.id, created, reading))]
        if after is not None:
            events.append(_stage_event(after, stage, reading.node, recalled=True))
        return (*events, *_rejections("reasoning_stages", row, complaints, reading.now))

    def _insert(self, session: Value, stage: _Stage) -> tuple[_Stage | None, _Stage | None]:
        """Put a stage in its place; returns the one before it, and the one after it."""
        stages = self._sessions.pop(session, [])
        self._sessions[session] = stages
        insort(stages, stage, key=lambda each: each[:2])
        place = stages.index(stage)
        before = stages[place - 1] if place else None
        after = stages[place + 1] if place + 1 < len(stages) else None
        del stages[:-_MAX_STAGES]
        while len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return before, after


def _missing(row: SessionRow | StageRow) -> list[str]:
    """Of a row that is too large to be read nothing but its id is known."""
    return ["session_id is missing, or the row too large"] if row.session is None else []


def _stage_event(stage: _Stage, before: _Stage | None, node: str, *, recalled: bool) -> ReasoningStage:
    delta = None
    if before is not None and before.confidence is not None and stage.confidence is not None:
        delta = stage.confidence - before.confidence
    return ReasoningStage(
        node=node, ts=stage.ts, id=stage.id, confidence=stage.confidence, delta=delta, recalled=recalled
    )


def _is_recalled(row_id: int, ts: int | None, reading: Reading) -> bool:
    """Whether a row was there before the totals began; one without a time of its own was, if it was found there."""
    return row_id <= reading.old and (ts is None or ts < reading.since)


def created_ms(value: Value) -> int | None:
    """The time in a column `created_at`, ms; None if there is none."""
    return instant_ms(_text(value) if isinstance(value, bytes) else value)


def _created(value: Value, complaints: list[str]) -> int | None:
    ts = created_ms(value)
    if ts is None and value is not None:
        complaints.append("created_at is not a time")
    return ts


def _confidence(value: Value, name: str, complaints: list[str]) -> float | None:
    found = _number(value)
    if found is not None and abs(found) <= _MAX_CONFIDENCE:
        return found
    if value is not None:
        complaints.append(f"{name} is not a number between -1e6 and 1e6")
    return None


def _number(value: Value) -> float | None:
    found = number(_text(value)) if isinstance(value, bytes) else value
    return None if found is None or not math.isfinite(found) else float(found)


def _text(value: Value) -> str:
    if isinstance(value, bytes):
        # A character has four bytes at most; the longest that is told has 256.
        return value[: 4 * MAX_ID].decode("utf-8", "replace")
    return "" if value is None else str(value)


def _rejections(table: str, row: Sequence[Value], complaints: list[str], now: int) -> tuple[Rejected, ...]:
    if not complaints:
        return ()
    excerpt = repr(tuple(value[:MAX_ID] if isinstance(value, bytes) else value for value in row))[:MAX_EXCERPT]
    reason = f"{table} {row[0]!r}: {'; '.join(complaints)}"[:MAX_ID]
    return (Rejected(ts=now, collector=COLLECTOR, reason=reason, excerpt=excerpt),)
