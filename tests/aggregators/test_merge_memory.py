from typing import Any

import pytest

from processors.aggregators.merge_memory import merge_memory, next_deadline
from schemas.metrics import (
    MAX_DELTAS,
    MAX_LOGS,
    NODE_TIMEOUT_MS,
    SOURCE_TIMEOUT_MS,
    FederationPartial,
    GroupState,
    MemoryPartial,
    MemoryRates,
    MemoryRecord,
    MemorySummary,
    Partial,
)
from tests.aggregators.test_merge import NOW, Said, heard

REASONING: Said = ("reasoning", "reasoning", "live", NOW)
CODE: Said = ("code_memory", "code", "live", NOW)
SIMULATOR: Said = ("simulator", "memory", "simulated", NOW)

NOTHING = FederationPartial(
    known=0,
    online=0,
    integrity_nano=0,
    latency_us=0,
    latencies=0,
    sketch=(),
    rates=None,
    heartbeats_total=0,
    sync_events_total=0,
    sync_bytes_total=0,
    sync_failures_total=0,
    late_total=0,
    future_total=0,
    peers_as_of=None,
    sync_as_of=None,
)


def node(name: str, seen: int = NOW, **fields: Any) -> MemoryPartial:
    return MemoryPartial(node=name, seen=seen, **{"reasoning_as_of": seen, "code_as_of": seen, **fields})


def partial(name: str, *nodes: MemoryPartial, count: int | None = None) -> Partial:
    total = len(nodes) if count is None else count
    return Partial(
        partition=name, epoch="e", n=1, ts=NOW, since=0, federation=NOTHING, memory=tuple(nodes), nodes=total
    )


def merged(*nodes: MemoryPartial, said: tuple[Said, ...] = (REASONING, CODE), now: int = NOW) -> MemorySummary:
    """The summary of nodes that each have a partition of their own."""
    return merge_memory({str(k): partial(str(k), each) for k, each in enumerate(nodes)}, heard(*said), "e", 1, now)


def record(name: str, row_id: int, ts: int) -> MemoryRecord:
    return MemoryRecord(ts=ts, node=name, id=row_id, severity="info", message="", source="live")


def test_values_of_a_group_that_was_never_read_are_absent() -> None:
    only_code = merged(node("a", reasoning_as_of=None, usage=2, snippets=1), said=())
    assert (only_code.ingestion_rate, only_code.sessions_total, only_code.logs) == (None, None, None)
    assert (only_code.confidence_deltas, only_code.late_total, only_code.since) == (None, None, None)
    assert only_code.dedup_rate == 50
    only_reasoning = merged(node("a", code_as_of=None), said=())
    assert (only_reasoning.dedup_rate, only_reasoning.quarantine_count) == (None, None)
    assert (only_reasoning.trust_distribution, only_reasoning.ingestion_rate) == (None, 0)


def test_live_and_empty_is_zero_sessions_and_no_rate_of_what_there_is_nothing_of() -> None:
    summary = merged()
    assert (summary.source, summary.ingestion_rate, summary.sessions_total) == ("live", 0, 0)
    assert (summary.logs, summary.confidence_deltas, summary.nodes, summary.nodes_total) == ((), (), {}, 0)
    assert (summary.dedup_rate, summary.quarantine_count, summary.trust_distribution) == (None, None, None)


def test_a_half_that_was_never_live_nor_simulated_is_stale_and_unknown() -> None:
    summary = merged(said=())
    assert (summary.source, summary.as_of, summary.ingestion_rate, summary.nodes_total) == ("stale", None, None, 0)


@pytest.mark.parametrize(
    ("usage", "snippets", "rate"),
    [(4, 1, 75), (4, 4, 0), (4, 9, 0), (3, 0, 100), (0, 0, None), (-2, 1, None), (None, 1, None), (4, None, None)],
)
def test_the_share_of_repeated_uses_is_bounded_and_absent_without_uses(
    usage: int | None, snippets: int | None, rate: float | None
) -> None:
    assert merged(node("a", usage=usage, snippets=snippets)).dedup_rate == rate


def test_counts_add_up_over_the_nodes_that_know_them() -> None:
    summary = merged(
        node("a", usage=10, snippets=2, quarantined=1, tiers={"core": 1, "other": 2}),
        node("b", usage=None, snippets=7),
        node("c", usage=30, snippets=8, tiers={"core": 3}),
    )
    assert (summary.dedup_rate, summary.quarantine_count) == (75, 1)
    assert summary.trust_distribution == {"core": 4, "other": 2}
    assert [each.quarantine_count for each in summary.nodes.values()] == [1, None, None]


def test_rates_and_totals_add_up_and_began_with_the_first_of_them() -> None:
    rates = MemoryRates(start=NOW // 1000 - 1, sessions=(2, 1), consolidated=(0, 3))
    summary = merged(
        node("a", rates=rates, sessions_total=5, stages_total=6, consolidated_total=3, late_total=1, since=70),
        node("b", rates=rates, sessions_total=1, late_total=1, since=60),
        node("c"),
    )
    assert (summary.ingestion_rate, summary.consolidation_rate) == (6 / 60, 6 / 60)
    assert (summary.sessions_total, summary.stages_total, summary.consolidated_total) == (6, 6, 3)
    assert (summary.late_total, summary.since) == (2, 60)
    assert [each.since for each in summary.nodes.values()] == [70, 60, None]


def test_differences_of_several_nodes_meet_by_time_and_keep_each_nodes_order() -> None:
    # The clock of `a` was set back between its two rows.
    summary = merged(node("a", deltas=((NOW, 0.1), (NOW - 50, 0.2))), node("b", deltas=((NOW - 60, 1.0), (NOW, 2.0))))
    assert summary.confidence_deltas == (1.0, 0.1, 0.2, 2.0)


def test_of_the_differences_and_logs_of_all_nodes_the_newest_are_told() -> None:
    nodes = [
        node(
            name,
            deltas=tuple((NOW + 2 * k + at, float(2 * k + at)) for k in range(MAX_DELTAS)),
            logs=tuple(record(name, k, NOW + 2 * k + at) for k in range(MAX_LOGS)),
        )
        for at, name in enumerate("ab")
    ]
    summary = merged(*nodes)
    assert summary.confidence_deltas == tuple(float(value) for value in range(MAX_DELTAS, 2 * MAX_DELTAS))
    assert summary.logs is not None
    assert [log.ts for log in summary.logs] == [NOW + value for value in range(MAX_LOGS, 2 * MAX_LOGS)]


def test_a_node_that_was_silent_for_an_hour_leaves_the_sum() -> None:
    nodes = [node("a", seen=NOW - NODE_TIMEOUT_MS + 1, sessions_total=1), node("b", sessions_total=2)]
    before, after = merged(*nodes), merged(*nodes, now=NOW + 1)
    assert (before.sessions_total, before.nodes_total, list(before.nodes)) == (3, 2, ["a", "b"])
    assert (after.sessions_total, after.nodes_total, list(after.nodes)) == (2, 1, ["b"])


def test_of_many_nodes_those_seen_last_are_told_and_all_are_summed() -> None:
    nodes = [node(f"n{number:02}", seen=NOW - number, sessions_total=1) for number in range(40)]
    summary = merged(*nodes)
    assert list(summary.nodes) == [f"n{number:02}" for number in range(32)]
    assert (summary.sessions_total, summary.nodes_total) == (40, 40)


def test_nodes_that_a_partial_only_counts_are_counted_until_one_that_it_tells_is_silent() -> None:
    partials = {"0": partial("0", node("a"), node("b", seen=NOW - 1), count=40)}
    later = NOW + NODE_TIMEOUT_MS - 1
    assert merge_memory(partials, heard(), "e", 1, later - 1).nodes_total == 40
    assert merge_memory(partials, heard(), "e", 1, later).nodes_total == 1


def test_each_node_says_where_its_own_values_come_from() -> None:
    summary = merged(node("n", seen=NOW - 500), node("b", code_as_of=None))
    assert summary.nodes["n"].source == "live"
    assert summary.nodes["n"].reasoning == GroupState(source="live", as_of=NOW)
    assert summary.nodes["b"].reasoning == GroupState(source="stale", as_of=NOW)
    assert summary.nodes["b"].code == GroupState(source="stale")
    assert summary.nodes["b"].source == "stale"


def test_a_sum_is_as_good_as_its_worst_node_and_as_old_as_its_oldest() -> None:
    summary = merged(node("n", seen=NOW - 500), node("b", seen=NOW - 700, code_as_of=None))
    assert (summary.source, summary.as_of) == ("stale", NOW - 700)
    assert summary.reasoning == GroupState(source="stale", as_of=NOW - 700)
    assert summary.code == GroupState(source="live", as_of=NOW)


def test_the_worst_group_is_the_state_of_the_whole() -> None:
    down: Said = ("code_memory", "code", "stale", NOW)
    summary = merged(node("n", seen=NOW - 9, usage=4, snippets=1), said=(REASONING, down))
    assert (summary.source, summary.reasoning.source, summary.code.source) == ("stale", "live", "stale")
    assert (summary.as_of, summary.dedup_rate) == (NOW - 9, 75)


def test_simulated_nodes_are_never_mixed_with_live_ones() -> None:
    partials = {
        "0": partial("0", node("n", sessions_total=1)),
        "sim": partial("sim", node("sim-a", sessions_total=5)),
    }
    simulated = merge_memory(partials, heard(SIMULATOR), "e", 1, NOW)
    live = merge_memory(partials, heard(SIMULATOR, CODE), "e", 1, NOW)
    assert (simulated.source, simulated.sessions_total, list(simulated.partials)) == ("simulated", 5, ["sim"])
    assert simulated.nodes["sim-a"].reasoning == GroupState(source="simulated", as_of=NOW)
    assert (live.code.source, live.sessions_total, list(live.partials)) == ("live", 1, ["0"])


def test_rates_change_at_the_deadlines_and_only_there() -> None:
    rates = MemoryRates(start=NOW // 1000, sessions=(3, 0, 0), consolidated=(0, 0, 6))
    partials = {"0": partial("0", node("a", rates=rates))}
    changes = []
    now: int | None = NOW
    while now is not None:
        summary = merge_memory(partials, heard(), "e", 1, now)
        changes.append((now - NOW, summary.ingestion_rate, summary.consolidation_rate, summary.nodes_total))
        now = next_deadline(partials, {}, now)
    # A window holds a second until its last moment is over.
    assert changes == [
        (0, 0.05, 0.0, 1),
        (2_000, 0.05, 0.1, 1),
        (60_999, 0.0, 0.1, 1),
        (62_999, 0.0, 0.0, 1),
        (NODE_TIMEOUT_MS, None, None, 0),
    ]


def test_a_source_that_may_fall_silent_is_a_deadline() -> None:
    assert next_deadline({}, heard(REASONING), NOW) == NOW + SOURCE_TIMEOUT_MS
    assert next_deadline({}, {}, NOW) is None
