"""The memory half of partitions against the naive model, and fact by fact."""

from typing import Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.aggregators.memory import MAX_KEPT, MemoryEvent
from processors.aggregators.merge_memory import merge_memory
from processors.aggregators.partition import MAX_DIRTY, Partition
from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, CodeState, Event, Heartbeat, NodeSeen, ReasoningSession, ReasoningStage
from schemas.metrics import DeadLetter, MemoryPartial, MemoryRecord, MemorySummary, Partial, SourceState
from schemas.streams import partition_of
from tests.aggregators.model import MemoryModel
from tests.aggregators.support import HOUR, START, commit, entry, settle

History = list[tuple[int, MemoryEvent]]

names = st.sampled_from(["x", "y", "z"])
# Few, so that rows are told again.
ids = st.integers(-3, 25)
confidences = st.none() | st.sampled_from([0.0, 0.49, 0.5, 0.69, 0.7, 0.79, 0.8, 1.0])
delays = st.one_of(st.integers(-20_000, 8_000), st.integers(-400_000, 0))
gaps = st.one_of(st.integers(0, 3_000), st.integers(0, 90_000), st.integers(0, HOUR))
tier_names: st.SearchStrategy[Literal["core", "trusted", "sandbox", "external", "other"]] = st.sampled_from(
    ["core", "trusted", "sandbox", "external", "other"]
)
tiers = st.none() | st.dictionaries(tier_names, st.integers(0, 9))


def event_at(draw: st.DrawFn, ts: int) -> MemoryEvent:
    node, kind = draw(names), draw(st.integers(0, 9))
    recalled = draw(st.integers(0, 3)) == 0
    if kind <= 3:
        delta = draw(st.none() | st.floats(-1, 1))
        return ReasoningStage(
            node=node, ts=ts, id=draw(ids), confidence=draw(confidences), delta=delta, recalled=recalled
        )
    if kind <= 6:
        return ReasoningSession(
            node=node, ts=ts, id=draw(ids), agent="a", confidence=draw(confidences), recalled=recalled
        )
    if kind == 7:
        return NodeSeen(node=node, ts=ts, group="code")
    if kind == 8:
        since, anew = draw(st.none() | st.integers(0, ts)), draw(st.integers(0, 3)) == 0
        return NodeSeen(node=node, ts=ts, group="reasoning", since=since, anew=anew)
    counts = st.none() | st.integers(0, 20)
    return CodeState(
        node=node,
        ts=ts,
        usage=draw(st.none() | st.integers(-5, 40)),
        snippets=draw(counts),
        quarantined=draw(counts),
        tiers=draw(tiers),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """(arrival, event) in the order of the stream."""
    now, history = START, []
    for _ in range(draw(st.integers(0, 50))):
        now += draw(gaps)
        history.append((now, event_at(draw, now + draw(delays))))
    return history


def summary_of(partials: list[Partial], now: int) -> MemorySummary:
    states = [
        SourceState(node="n", collector="reasoning", group="reasoning", state="live", since=0, as_of=now),
        SourceState(node="n", collector="code_memory", group="code", state="live", since=0, as_of=now),
    ]
    heard = {(state.node, state.collector): (now, state) for state in states}
    return merge_memory({partial.partition: partial for partial in partials}, heard, "e", 1, now)


def fold_all(history: History, now: int, count: int = 1) -> MemorySummary:
    """The summary at `now` of `history`, split over `count` partitions as the publisher splits it."""
    partitions = {str(number): Partition(str(number), START, count) for number in range(count)}
    for arrived, event in history:
        home = partitions[partition_of(event.node, count)]
        settle(home, arrived)
        home.fold(f"{arrived}-0", entry(event), arrived)
        # Committed each time: what is told must not depend on what was told before.
        commit(home, {}, {}, arrived)
    partials = []
    for partition in partitions.values():
        settle(partition, now)
        partials.append(commit(partition, {}, {}, now))
    return summary_of(partials, now)


def told(*events: MemoryEvent, at: int = START, name: str = "0") -> MemoryPartial:
    """The one node of a partition that was told `events` at once."""
    partition = Partition(name, START, 1)
    partition.fold(f"{at}-0", entry(*events), at)
    [node] = commit(partition, {}, {}, at).memory
    return node


def session(row_id: int, ts: int = START, node: str = "x", confidence: float | None = None) -> ReasoningSession:
    return ReasoningSession(node=node, ts=ts, id=row_id, agent="planner", query="why", confidence=confidence)


def stage(row_id: int, delta: float | None, ts: int = START) -> ReasoningStage:
    return ReasoningStage(node="x", ts=ts, id=row_id, delta=delta)


def holds(summary: MemorySummary, model: MemoryModel) -> None:
    """Every value of `summary` is what the model says."""
    sessions, stages, consolidated = model.sessions(), model.stages(), model.consolidated()
    assert list(summary.nodes) == model.nodes
    assert summary.nodes_total == len(model.nodes)
    assert summary.ingestion_rate == model.rate([ts for _, _, ts in sessions])
    assert summary.consolidation_rate == model.rate([ts for _, _, ts in consolidated])
    assert (summary.sessions_total, summary.stages_total) == (len(sessions), len(stages))
    assert (summary.consolidated_total, summary.late_total) == (len(consolidated), model.late())
    assert summary.since == model.since()
    assert summary.confidence_deltas == tuple(model.deltas())
    assert summary.logs is not None
    assert [(record.node, record.id) for record in summary.logs] == model.logs()
    assert summary.dedup_rate == pytest.approx(model.dedup_rate())
    assert summary.quarantine_count == model.quarantined()
    assert summary.trust_distribution == model.tiers()


@settings(max_examples=150, deadline=None)
@given(histories(), st.one_of(st.integers(0, 100_000), st.integers(0, 2 * HOUR)))
def test_every_value_is_what_the_naive_model_says(history: History, later: int) -> None:
    now = (history[-1][0] if history else START) + later
    holds(fold_all(history, now), MemoryModel(history, now))


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(0, 100_000))
def test_each_node_is_told_as_if_it_were_the_only_one(history: History, later: int) -> None:
    now = (history[-1][0] if history else START) + later
    for name, node in fold_all(history, now).nodes.items():
        alone = [each for each in history if each[1].node == name]
        model, whole = MemoryModel(alone, now), fold_all(alone, now)
        assert node.seen == model.seen[name]
        for field in set(node.__struct_fields__) - {"source", "reasoning", "code", "seen"}:
            group = "code" if field in {"dedup_rate", "quarantine_count", "trust_distribution"} else "reasoning"
            known = getattr(node, group).as_of is not None
            assert getattr(node, field) == (getattr(whole, field) if known else None), field


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(0, 100_000), st.integers(2, 5))
def test_any_split_over_partitions_gives_the_same_summary(history: History, later: int, count: int) -> None:
    now = (history[-1][0] if history else START) + later
    whole, split = fold_all(history, now), fold_all(history, now, count)
    assert codec.encode(msgspec.structs.replace(split, partials={})) == codec.encode(
        msgspec.structs.replace(whole, partials={})
    )


@settings(max_examples=80, deadline=None)
@given(histories(), st.integers(0, 100_000), st.sets(st.integers(0, 50)))
def test_restores_at_any_points_give_the_same_as_one_run(history: History, later: int, restarts: set[int]) -> None:
    now = (history[-1][0] if history else START) + later
    partition = Partition("0", START, 1)
    state: dict[str, bytes] = {}
    for index, (arrived, event) in enumerate(history):
        settle(partition, arrived)
        partition.fold(f"{arrived}-0", entry(event), arrived)
        commit(partition, state, {}, arrived)
        if index in restarts:
            partition = Partition("0", arrived, 1)
            for _ in range(2):
                partition.restore(f"{arrived}-0", {k.encode(): v for k, v in state.items()})
    settle(partition, now)
    assert summary_of([commit(partition, state, {}, now)], now) == fold_all(history, now)


@settings(max_examples=50, deadline=None)
@given(histories(), st.integers(0, 100_000))
def test_an_owner_that_catches_up_comes_to_the_same_as_one_on_time(history: History, later: int) -> None:
    now = (history[-1][0] if history else START) + later
    late = Partition("0", START, 1)
    for arrived, event in history:
        late.fold(f"{arrived}-0", entry(event), now)
    settle(late, now)
    assert summary_of([commit(late, {}, {}, now)], now) == fold_all(history, now)


@pytest.mark.parametrize(
    ("confidence", "severity", "said"),
    [
        (0.0, "warning", "0.00"),
        (0.4999, "warning", "0.50"),
        (0.5, "info", "0.50"),
        (0.7999, "info", "0.80"),
        (0.8, "consolidation", "0.80"),
        (1.0, "consolidation", "1.00"),
        (None, "info", "unknown"),
    ],
)
def test_a_session_is_logged_with_its_severity(confidence: float | None, severity: str, said: str) -> None:
    [record] = told(session(1, confidence=confidence)).logs
    assert (record.severity, record.message) == (severity, f"planner: confidence {said}: why")


def test_a_session_without_agent_or_query_is_still_one_sentence() -> None:
    [record] = told(ReasoningSession(node="x", ts=START, id=1, confidence=0.75)).logs
    assert record.message == "confidence 0.75"


@pytest.mark.parametrize(("confidence", "count"), [(0.6999, 0), (0.7, 1), (0.71, 1), (None, 0)])
def test_a_stage_is_consolidated_from_seven_tenths(confidence: float | None, count: int) -> None:
    node = told(ReasoningStage(node="x", ts=START, id=1, confidence=confidence))
    assert (node.stages_total, node.consolidated_total) == (1, count)


def test_a_counted_session_becomes_one_entry_of_the_feed() -> None:
    partition = Partition("sim", START, 1)
    partition.fold(f"{START}-0", entry(session(7, node="sim-x", confidence=0.9)), START)
    [(kind, body)] = partition.collect("e", 1, START).feed
    assert kind == "memory"
    assert msgspec.json.decode(body, type=list[MemoryRecord]) == [
        MemoryRecord(
            ts=START,
            node="sim-x",
            id=7,
            severity="consolidation",
            message="[simulated] planner: confidence 0.90: why",
            source="simulated",
        )
    ]


def test_what_is_recalled_is_in_the_lists_and_nowhere_else() -> None:
    partition = Partition("0", START, 1)
    recalled: list[Event] = [
        ReasoningSession(node="x", ts=START, id=1, recalled=True),
        ReasoningStage(node="x", ts=START, id=1, confidence=1.0, delta=0.25, recalled=True),
    ]
    partition.fold(f"{START}-0", entry(*recalled), START)
    work = partition.collect("e", 1, START)
    [node] = msgspec.json.decode(work.partial, type=Partial).memory
    assert work.feed == []
    assert (node.sessions_total, node.stages_total, node.consolidated_total, node.rates) == (0, 0, 0, None)
    assert ([record.id for record in node.logs], node.deltas) == ([1], ((START, 0.25),))


def test_a_stage_that_is_told_again_replaces_its_difference() -> None:
    assert told(stage(1, 0.5), stage(2, 0.1), stage(1, 0.75)).deltas == ((START, 0.75), (START, 0.1))


def test_a_stage_that_is_told_again_without_a_difference_has_none() -> None:
    assert told(stage(1, 0.5), stage(2, 0.1), stage(1, None)).deltas == ((START, 0.1),)


def test_a_session_that_is_told_again_replaces_its_log() -> None:
    again = ReasoningSession(node="x", ts=START, id=1, agent="critic", recalled=True)
    assert [record.message for record in told(session(1), again).logs] == ["critic: confidence unknown"]


def test_the_newest_by_id_are_kept_whatever_their_order() -> None:
    order = [*range(30, 60), *range(30)]
    node = told(*(stage(row_id, float(row_id)) for row_id in order), *(session(row_id) for row_id in order))
    assert [delta for _, delta in node.deltas] == [float(row_id) for row_id in range(10, 60)]
    assert [record.id for record in node.logs] == list(range(40, 60))


def test_a_database_that_is_another_begins_the_lists_again_and_keeps_the_totals() -> None:
    anew = NodeSeen(node="x", ts=START, group="reasoning", anew=True)
    node = told(session(900), stage(900, 0.5), anew, session(1), stage(1, 0.25))
    assert ([record.id for record in node.logs], node.deltas) == ([1], ((START, 0.25),))
    assert (node.sessions_total, node.stages_total) == (2, 2)


def test_the_code_database_being_another_leaves_the_lists_of_sessions_alone() -> None:
    node = told(session(900), NodeSeen(node="x", ts=START, group="code", anew=True))
    assert [record.id for record in node.logs] == [900]


@pytest.mark.parametrize(("age_ms", "late"), [(59_999, 0), (60_000, 1)])
def test_a_session_that_comes_after_its_window_is_late_and_counts(age_ms: int, late: int) -> None:
    node = told(session(1, ts=START - age_ms))
    assert (node.sessions_total, node.late_total) == (1, late)


def test_a_time_too_far_ahead_is_replaced_by_that_of_the_arrival() -> None:
    node = told(session(1, ts=START + 5_001), CodeState(node="x", ts=START + HOUR, usage=1))
    assert (node.reasoning_as_of, node.code_as_of, node.seen) == (START, START, START)
    assert node.logs[0].ts == START
    assert told(CodeState(node="x", ts=START + HOUR, usage=1), CodeState(node="x", ts=START, usage=2)).usage == 2


def test_a_node_is_not_seen_before_the_news_of_it_arrived() -> None:
    node = told(NodeSeen(node="x", ts=START + 4_000, group="reasoning"))
    assert (node.seen, node.code_as_of, node.reasoning_as_of) == (START, None, START + 4_000)


def test_a_node_whose_clock_is_behind_is_seen_when_the_news_of_it_arrived() -> None:
    assert told(session(1, ts=START - 2 * HOUR)).seen == START


def test_an_older_state_of_the_code_is_ignored() -> None:
    newer, older = CodeState(node="x", ts=START, usage=9), CodeState(node="x", ts=START - 1, usage=5)
    assert told(newer, older).usage == 9
    assert told(older, newer).usage == 9


def test_totals_began_when_the_first_of_them_began() -> None:
    seen = [NodeSeen(node="x", ts=START, group="reasoning", since=since) for since in (50, None, 40, 60)]
    assert told(*seen).since == 40


def test_that_a_node_was_seen_is_committed() -> None:
    partition = Partition("0", START, 1)
    partition.collect("e", 1, START)
    partition.fold(f"{START}-0", entry(NodeSeen(node="x", ts=START, group="code")), START)
    assert partition.needs_commit()
    assert set(partition.collect("e", 2, START).state) == {"node:x", "totals"}


def test_a_node_that_falls_silent_is_told_no_more_without_any_event_and_comes_back_with_its_totals() -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(session(1)), START)
    partition.collect("e", 1, START)
    assert partition.next_deadline() == START + HOUR
    partition.pass_time(START + HOUR - 1)
    assert not partition.needs_commit()
    partition.pass_time(START + HOUR)
    assert partition.needs_commit()
    gone = commit(partition, {}, {}, START + HOUR)
    assert (gone.memory, gone.nodes, partition.next_deadline()) == ((), 0, None)
    back = START + 2 * HOUR
    partition.fold(f"{back}-0", entry(NodeSeen(node="x", ts=back, group="reasoning")), back)
    [node] = commit(partition, {}, {}, back).memory
    assert node.sessions_total == 1


def test_of_many_nodes_those_seen_last_are_told_and_all_are_counted() -> None:
    partition = Partition("0", START, 1)
    nodes = [NodeSeen(node=f"n{number:02}", ts=START - number, group="code") for number in range(40)]
    partition.fold(f"{START}-0", entry(*nodes), START)
    partial = commit(partition, {}, {}, START)
    assert [node.node for node in partial.memory] == [f"n{number:02}" for number in range(32)]
    assert partial.nodes == 40


def test_of_too_many_nodes_the_one_that_was_not_seen_longest_is_forgotten() -> None:
    partition = Partition("0", START, 1)
    state: dict[str, bytes] = {}
    for chunk in range(MAX_KEPT // MAX_BATCH_EVENTS):
        nodes = [
            NodeSeen(node=f"{chunk}-{number}", ts=START + chunk, group="code") for number in range(MAX_BATCH_EVENTS)
        ]
        partition.fold(f"{START + chunk}-0", entry(*nodes), START + chunk)
        commit(partition, state, {}, START + chunk)
    now = START + 100
    partition.fold(f"{now}-0", entry(NodeSeen(node="0-0", ts=now, group="code"), session(1, ts=now)), now)
    partial = commit(partition, state, {}, now)
    assert (partial.nodes, len(state) - 1) == (MAX_KEPT, MAX_KEPT)
    assert {"node:x", "node:0-0"} < set(state)
    assert "node:0-1" not in state


def test_a_batch_of_new_nodes_fits_into_one_commit_when_as_many_are_forgotten() -> None:
    partition = Partition("0", START, 1)
    for chunk in range(2 * MAX_KEPT // MAX_BATCH_EVENTS):
        assert partition.has_room()
        partition.fold(
            f"{START}-{chunk}", entry(*(session(1, node=f"{chunk}-{k}") for k in range(MAX_BATCH_EVENTS))), START
        )
        assert len(partition.collect("e", 1, START).state) <= MAX_DIRTY


def test_a_commit_that_changes_no_node_encodes_none_again(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition("0", START, 1)
    partition.fold(f"{START}-0", entry(session(1)), START)
    before = commit(partition, {}, {}, START)
    monkeypatch.setattr("processors.aggregators.memory._encode", None)
    partition.fold(f"{START}-1", entry(Heartbeat(peer="a", ts=START)), START)
    after = commit(partition, {}, {}, START)
    assert (after.memory, after.nodes) == (before.memory, before.nodes)
    assert after.federation != before.federation


def test_a_fact_of_another_partitions_node_is_rejected() -> None:
    partition = Partition("0", START, 16)
    home = partition_of("stray", 16)
    assert home != "0"
    partition.fold(f"{START}-0", entry(session(1, node="stray")), START)
    work = partition.collect("e", 1, START)
    assert (set(work.state), work.feed) == ({"totals"}, [])
    assert msgspec.json.decode(work.dead[0], type=DeadLetter).reason == f"belongs into partition {home}"


def test_that_a_database_answers_does_not_say_that_all_of_its_rows_are_known() -> None:
    node = told(CodeState(node="x", ts=START - 9_000, usage=1), NodeSeen(node="x", ts=START, group="code"))
    assert (node.seen, node.code_as_of) == (START, START - 9_000)
