"""Rows of sessions and stages, as they are and as they should not be."""

import math

import pytest

from processors.collectors.reasoning import Reading, SessionRow, StagePairs, StageRow, read_session
from schemas.events import Event, ReasoningSession, ReasoningStage, Rejected

NOW = 1_800_000_000_000
READING = Reading("node-a", NOW, NOW - 3_600_000, 0)


def session(**columns: object) -> tuple[Event, ...]:
    row = {"id": 1, "session": b"s", "created_at": b"2027-01-15 07:59:59", "agent": b"planner", "confidence": 0.5}
    return read_session(SessionRow(**(row | columns)), READING)  # type: ignore[arg-type]


def stages(*rows: tuple[int, object, object], session_id: bytes = b"s", pairs: StagePairs | None = None) -> list[Event]:
    pairs = pairs or StagePairs()
    read = [StageRow(row_id, session_id, None, order, confidence) for row_id, order, confidence in rows]  # type: ignore[arg-type]
    return [event for row in read for event in pairs.read_stage(row, READING)]


def deltas(events: list[Event]) -> dict[int, float | None]:
    return {event.id: event.delta for event in events if isinstance(event, ReasoningStage)}


@pytest.mark.parametrize(
    ("created_at", "ts"),
    [
        (b"2027-01-15 07:59:59", NOW - 1_000),
        (b"2027-01-15T07:59:59", NOW - 1_000),
        (b"2027-01-15T09:59:59.250+02:00", NOW - 750),
        (b"2027-01-15T07:59:59Z", NOW - 1_000),
        (NOW // 1000 - 1, NOW - 1_000),
        (NOW / 1000 - 0.5, NOW - 500),
        (NOW - 1, NOW - 1),
        (b"1799999999", NOW - 1_000),
    ],
)
def test_every_form_of_created_at_is_read(created_at: object, ts: int) -> None:
    (event,) = session(created_at=created_at)
    assert isinstance(event, ReasoningSession)
    assert event.ts == ts


def test_a_row_without_a_time_counts_when_it_is_read() -> None:
    (event,) = session(created_at=None)
    assert isinstance(event, ReasoningSession)
    assert event.ts == NOW


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"created_at": b"yesterday"}, "reasoning_sessions 1: created_at is not a time"),
        ({"confidence": b"abc"}, "reasoning_sessions 1: overall_confidence is not a number between -1e6 and 1e6"),
        ({"confidence": math.inf}, "reasoning_sessions 1: overall_confidence is not a number between -1e6 and 1e6"),
        ({"session": None}, "reasoning_sessions 1: session_id is missing, or the row too large"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_beside_the_session(columns: dict[str, object], reason: str) -> None:
    event, rejected = session(**columns)
    assert isinstance(event, ReasoningSession)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == reason


def test_a_confidence_in_text_is_a_number_and_a_missing_one_is_unknown() -> None:
    assert [session(confidence=value)[0] for value in (b"0.25", None)] == [
        session(confidence=0.25)[0],
        session(confidence=None)[0],
    ]
    assert session(confidence=None)[0].confidence is None  # type: ignore[union-attr]


def test_of_a_query_fifty_characters_travel_and_no_byte_that_is_not_utf8() -> None:
    (event,) = session(query="ä".encode() * 60, agent=b"\xff" * 999)
    assert isinstance(event, ReasoningSession)
    assert event.query == "ä" * 50
    assert event.agent == "\ufffd" * 256


def test_rows_of_before_the_totals_began_are_recalled() -> None:
    reading = READING._replace(old=1)
    old, recent = NOW - 3_600_001, NOW - 3_599_000

    def recalled(row_id: int, created_at: int | None) -> bool:
        event = read_session(SessionRow(row_id, b"s", created_at), reading)[0]
        assert isinstance(event, ReasoningSession)
        return event.recalled

    assert [recalled(1, old), recalled(1, None), recalled(1, recent), recalled(2, old)] == [True, True, False, False]


def test_differences_follow_the_order_of_the_stages_and_not_of_the_rows() -> None:
    told = deltas(stages((1, 0, 0.5), (2, 2, 1.0), (3, 1, 0.75)))
    assert told == {1: None, 3: 0.25, 2: 0.25}


def test_stages_of_the_same_order_follow_their_ids() -> None:
    assert deltas(stages((1, 1, 0.5), (2, 1, 1.0))) == {1: None, 2: 0.5}


def test_an_unknown_confidence_has_no_difference_on_either_side() -> None:
    assert deltas(stages((1, 0, 0.5), (2, 1, None), (3, 2, 1.0))) == {1: None, 2: None, 3: None}


def test_sessions_do_not_mix() -> None:
    pairs = StagePairs()
    stages((1, 0, 0.5), pairs=pairs)
    assert deltas(stages((2, 1, 1.0), session_id=b"other", pairs=pairs)) == {2: None}
    assert deltas(stages((3, 1, 1.0), pairs=pairs)) == {3: 0.5}


def test_a_stage_without_a_usable_order_counts_and_has_no_difference() -> None:
    events = stages((1, b"first", 0.9))
    assert deltas(events) == {1: None}
    assert isinstance(events[-1], Rejected)
    assert events[-1].reason == "reasoning_stages 1: stage_order is not a number"


def test_stages_of_which_no_session_is_known_have_no_difference() -> None:
    pairs = StagePairs()
    events = [pairs.read_stage(StageRow(number, None, None, number, number / 4), READING)[0] for number in (1, 2)]
    assert deltas(events) == {1: None, 2: None}


def test_what_is_remembered_of_stages_is_bounded() -> None:
    pairs = StagePairs()
    stages((1, 0, 0.5), pairs=pairs)
    for number in range(600):
        stages((2 + number, 0, 0.5), session_id=b"%d" % number, pairs=pairs)
    assert deltas(stages((1000, 1, 1.0), pairs=pairs)) == {1000: None}
