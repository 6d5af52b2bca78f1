"""The merger's logic for the memory engines: from the newest partials, the states of the sources and `now`, a summary.

A pure function: any split of the nodes over partitions gives the same summary, as long as none has more of them than
its partial tells.
"""

import heapq
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, Final

from processors.aggregators.merge import Heard, Partials, group_state, half_origin, head, world_of
from processors.aggregators.windows import RATE_WINDOW_MS, is_over
from schemas.metrics import (
    MAX_DELTAS,
    MAX_LOGS,
    MAX_NODES,
    NODE_TIMEOUT_MS,
    RATE_WINDOW_S,
    SOURCE_TIMEOUT_MS,
    GroupState,
    MemoryPartial,
    MemoryRecord,
    MemorySummary,
    NodeSummary,
    Origin,
    Partial,
    Tiers,
    worst,
)

__all__ = ["merge_memory", "next_deadline"]

_GROUPS: Final = ("reasoning", "code")


def merge_memory(partials: Partials, heard: Heard, epoch: str, n: int, now: int) -> MemorySummary:
    """The summary of the memory engines at `now`, entry `n` of `epoch`, from the newest partial of each partition."""
    origin = half_origin(heard, "memory", _GROUPS, now)
    world = world_of(partials, origin)
    nodes = sorted((node for partial in world for node in _present(partial, now)), key=attrgetter("node"))
    own = {node.node: _states(node, heard, origin, now) for node in nodes}
    states = {
        group: _worst_state([own[node.node][group] for node in nodes]) or group_state(heard, group, origin, None, now)
        for group in _GROUPS
    }
    values = head(world, states, epoch, n, now) | _values(nodes, states, now)
    if states["reasoning"].as_of is not None:
        values |= {"logs": _newest_logs(nodes), "late_total": sum(node.late_total for node in nodes)}
    told = sorted(heapq.nlargest(MAX_NODES, nodes, key=attrgetter("seen")), key=attrgetter("node"))
    return MemorySummary(
        nodes={node.node: _node_summary(node, own[node.node], now) for node in told},
        nodes_total=sum(_count(partial, now) for partial in world),
        **values,
    )


def _present(partial: Partial, now: int) -> list[MemoryPartial]:
    return [node for node in partial.memory if now - node.seen < NODE_TIMEOUT_MS]


def _count(partial: Partial, now: int) -> int:
    """How many nodes a partition has. Those that it does not tell were silent longer than any it tells."""
    present = len(_present(partial, now))
    return partial.nodes if present == len(partial.memory) else present


def _node_summary(node: MemoryPartial, states: dict[str, GroupState], now: int) -> NodeSummary:
    values: dict[str, Any] = {**states, **_values([node], states, now)}
    return NodeSummary(source=worst(*(state.source for state in states.values())), seen=node.seen, **values)


def _states(node: MemoryPartial, heard: Heard, origin: Origin, now: int) -> dict[str, GroupState]:
    """Where the values of a node come from, by its own collectors."""
    own = {key: word for key, word in heard.items() if word[1].node == node.node}
    newest = {"reasoning": node.reasoning_as_of, "code": node.code_as_of}
    return {group: group_state(own, group, origin, newest[group], now) for group in _GROUPS}


def _worst_state(states: Sequence[GroupState]) -> GroupState | None:
    """Where a sum over nodes comes from: it is as good as the worst of those that have the group, and as old.

    None if no node has it.
    """
    known = [(state.source, state.as_of) for state in states if state.as_of is not None]
    if not known:
        return None
    return GroupState(source=worst(*(source for source, _ in known)), as_of=min(as_of for _, as_of in known))


def _values(nodes: Sequence[MemoryPartial], states: dict[str, GroupState], now: int) -> dict[str, Any]:
    """What is known of `nodes` together, of each group that was ever read."""
    values: dict[str, Any] = {}
    if states["reasoning"].as_of is not None:
        values |= _reasoning(nodes, now)
    if states["code"].as_of is not None:
        values |= _code(nodes)
    return values


def _reasoning(nodes: Sequence[MemoryPartial], now: int) -> dict[str, Any]:
    sessions = consolidated = 0
    for node in nodes:
        if node.rates is None:
            continue
        for index in range(len(node.rates.sessions)):
            second = node.rates.start + index
            if second * 1000 <= now and not is_over(second, 1000, RATE_WINDOW_MS, now):
                sessions += node.rates.sessions[index]
                consolidated += node.rates.consolidated[index]
    # Each node's own order stays as it is: its clock may have been set back between two rows.
    deltas = heapq.merge(*(node.deltas[::-1] for node in nodes), key=itemgetter(0), reverse=True)
    return {
        "ingestion_rate": sessions / RATE_WINDOW_S,
        "consolidation_rate": consolidated / RATE_WINDOW_S,
        "confidence_deltas": tuple(delta for _, delta in islice(deltas, MAX_DELTAS))[::-1],
        "sessions_total": sum(node.sessions_total for node in nodes),
        "stages_total": sum(node.stages_total for node in nodes),
        "consolidated_total": sum(node.consolidated_total for node in nodes),
        "since": min((node.since for node in nodes if node.since is not None), default=None),
    }


def _newest_logs(nodes: Sequence[MemoryPartial]) -> tuple[MemoryRecord, ...]:
    logs = heapq.merge(*(node.logs[::-1] for node in nodes), key=attrgetter("ts"), reverse=True)
    return tuple(islice(logs, MAX_LOGS))[::-1]


def _code(nodes: Sequence[MemoryPartial]) -> dict[str, Any]:
    known = [(node.usage, node.snippets) for node in nodes if node.usage is not None and node.snippets is not None]
    usage = sum(usage for usage, _ in known)
    snippets = sum(snippets for _, snippets in known)
    quarantined = [node.quarantined for node in nodes if node.quarantined is not None]
    indexed = [node.tiers for node in nodes if node.tiers is not None]
    return {
        "dedup_rate": min(max(100 * (usage - snippets) / usage, 0.0), 100.0) if usage > 0 else None,
        "quarantine_count": sum(quarantined) if quarantined else None,
        "trust_distribution": _sum_of_tiers(indexed) if indexed else None,
    }


def _sum_of_tiers(indexed: Sequence[Tiers]) -> Tiers:
    total: Tiers = {}
    for tiers in indexed:
        for tier, count in tiers.items():
            total[tier] = total.get(tier, 0) + count
    return total


def next_deadline(partials: Partials, heard: Heard, now: int) -> int | None:
    """When time alone changes the summary next, ms.

    A second enters or leaves a window, a node was silent for too long, or a source falls silent.
    """
    moments = [moment + SOURCE_TIMEOUT_MS for moment, _ in heard.values()]
    for node in (node for partial in partials.values() for node in partial.memory):
        moments.append(node.seen + NODE_TIMEOUT_MS)
        if node.rates is None:
            continue
        for index, counts in enumerate(zip(node.rates.sessions, node.rates.consolidated, strict=True)):
            if any(counts):
                start = (node.rates.start + index) * 1000
                moments += [start, start + 999 + RATE_WINDOW_MS]
    return min((moment for moment in moments if moment > now), default=None)
