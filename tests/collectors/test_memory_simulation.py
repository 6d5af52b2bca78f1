import random
from itertools import pairwise
from typing import TypeVar

from processors.collectors.memory_simulation import NODES, MemorySimulation
from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, CodeState, Event, NodeSeen, ReasoningSession, ReasoningStage

NOW = 1_700_000_000_000
HOUR = 3_600_000

T = TypeVar("T")


def play(seed: int, length: int) -> list[Event]:
    simulation = MemorySimulation(random.Random(seed).random, NOW)
    events: list[Event] = []
    while simulation.next_deadline() <= NOW + length:
        events += simulation.step(simulation.next_deadline())
    return events


def only(kind: type[T], events: list[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def test_the_same_seed_gives_the_same_nodes() -> None:
    assert play(3, 60_000) == play(3, 60_000)
    assert play(3, 60_000) != play(4, 60_000)


def test_both_groups_of_both_nodes_are_seen_at_once_and_each_minute() -> None:
    seen = only(NodeSeen, play(1, 120_000))
    assert {(event.node, event.group) for event in seen} == {(node, g) for node in NODES for g in ("reasoning", "code")}
    assert sorted(event.ts for event in seen) == [NOW] * 4 + [NOW + 60_000] * 4 + [NOW + 120_000] * 4


def test_the_past_fills_the_lists_and_is_recalled_only() -> None:
    events = MemorySimulation(random.Random(1).random, NOW).step(NOW)
    sessions, stages = only(ReasoningSession, events), only(ReasoningStage, events)
    assert len(sessions) == 20
    assert sum(stage.delta is not None for stage in stages) >= 50
    assert all(session.recalled and session.ts < NOW for session in sessions)
    assert all(stage.recalled and stage.ts < NOW for stage in stages)


def test_there_is_a_session_every_four_seconds_on_each_node() -> None:
    fresh = [session for session in only(ReasoningSession, play(1, HOUR)) if not session.recalled]
    for node in NODES:
        assert 3_000 < HOUR / sum(session.node == node for session in fresh) < 5_500


def test_confidence_mostly_rises_and_most_stages_are_consolidated() -> None:
    stages = only(ReasoningStage, play(1, HOUR))
    deltas = [stage.delta for stage in stages if stage.delta is not None]
    assert 0.65 < sum(delta > 0 for delta in deltas) / len(deltas) < 0.9
    assert 0.6 < sum((stage.confidence or 0) >= 0.7 for stage in stages) / len(stages) < 0.9


def test_a_delta_is_the_difference_to_the_stage_before_it() -> None:
    for before, stage in pairwise(only(ReasoningStage, play(1, 60_000))):
        if stage.delta is not None:
            assert stage.delta == round((stage.confidence or 0) - (before.confidence or 0), 3)


def test_few_sessions_are_warnings() -> None:
    confidences = [session.confidence or 0 for session in only(ReasoningSession, play(1, HOUR))]
    assert 0.03 < sum(confidence < 0.5 for confidence in confidences) / len(confidences) < 0.2
    assert sum(confidence >= 0.8 for confidence in confidences) / len(confidences) > 0.5


def test_dedup_stays_believable_and_moves_slowly() -> None:
    for node in NODES:
        states = [state for state in only(CodeState, play(1, HOUR)) if state.node == node]
        rates = [100 * (1 - (state.snippets or 0) / (state.usage or 1)) for state in states]
        assert all(40 < rate < 75 for rate in rates)
        assert all(abs(later - before) < 1 for before, later in pairwise(rates))


def test_a_code_state_is_told_only_when_it_changed() -> None:
    states = [state for state in only(CodeState, play(1, HOUR)) if state.node == NODES[0]]
    told = [(state.usage, state.snippets, state.quarantined, str(state.tiers)) for state in states]
    assert all(before != later for before, later in pairwise(told))


def test_ids_go_on_when_it_is_begun_again() -> None:
    first = MemorySimulation(random.Random(1).random, NOW)
    ids = [stage.id for stage in only(ReasoningStage, first.step(NOW) + first.step(NOW + 4_000))]
    again = MemorySimulation(random.Random(2).random, NOW + 4_000)
    assert max(ids) < min(stage.id for stage in only(ReasoningStage, again.step(NOW + 4_000)))


def test_what_it_makes_travels() -> None:
    events = play(2, 60_000)[:MAX_BATCH_EVENTS]
    assert codec.decode_events({b"v": b"1", b"d": codec.encode(events)}).events == events


def test_a_step_is_at_most_one_batch() -> None:
    simulation = MemorySimulation(random.Random(1).random, NOW)
    assert all(len(simulation.step(NOW + second * 1_000)) <= MAX_BATCH_EVENTS for second in range(600))


def test_a_long_pause_is_not_made_up_for() -> None:
    simulation = MemorySimulation(random.Random(1).random, NOW)
    simulation.step(NOW)
    events = simulation.step(NOW + HOUR)
    assert len(only(ReasoningSession, events)) <= 2
    assert {event.ts for event in events} == {NOW + HOUR}
    assert simulation.next_deadline() > NOW + HOUR
