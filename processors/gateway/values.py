"""What the halves show, as metrics: for whoever keeps it for long.

A value that is not known is absent. `world` is simulated where the half says so of itself, else live: a stale value is
the last that was live, which `ark_pulse_group_state` tells.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from processors.gateway.half import Half
from processors.gateway.state import State
from processors.runtime.metrics import Family, Sample, counter, gauge
from schemas.metrics import FederationSummary, MemorySummary

__all__ = ["read_values"]

_GROUP_STATE: Final = gauge("group_state", "1 of the state that a group is in, else 0", "half", "group", "state")
_GROUP_AS_OF: Final = gauge("group_as_of_timestamp_seconds", "moment for which a group is right", "half", "group")
_PEERS: Final = gauge("federation_peers", "peers of the roster; those that synchronize are online", "world", "status")
_LATENCY: Final = gauge("federation_latency_seconds", "latency of the peers online", "world", "quantile")
_TIERS: Final = gauge("memory_indexed_files", "indexed files by trust tier", "world", "tier")

_Of: TypeAlias = tuple[Family, str, int]
"""A family, the field of a summary that it tells, and what that is divided by."""

_MESH: Final[tuple[_Of, ...]] = tuple(
    (make(f"federation_{name}", about, "world"), field, per)
    for make, name, field, per, about in (
        (gauge, "network_health_ratio", "network_health", 100, "share of the known peers that are online"),
        (gauge, "data_integrity_ratio", "data_integrity", 100, "weighted share of successful syncs, see metrics.md"),
        (gauge, "latency_mean_seconds", "avg_latency", 1_000, "mean latency of the peers that are online"),
        (gauge, "active_syncs", "active_syncs", 1, "directed pairs with a sync in the last ten seconds"),
        (gauge, "syncs_per_second", "sync_rate", 1, "syncs of a minute, a second"),
        (gauge, "sync_bytes_per_second", "sync_bytes_rate", 1, "bytes of the syncs of a minute, a second"),
        (gauge, "sync_success_ratio", "sync_success_rate", 100, "share of a minute's finished syncs that succeeded"),
        (counter, "heartbeats_total", "heartbeats_total", 1, "heartbeats of peers"),
        (counter, "syncs_total", "sync_events_total", 1, "syncs"),
        (counter, "sync_bytes_total", "sync_bytes_total", 1, "bytes of syncs"),
        (counter, "sync_failures_total", "sync_failures_total", 1, "syncs that failed"),
        (counter, "late_events_total", "late_total", 1, "syncs that came after all their windows, five minutes"),
    )
)

_MEMORY: Final[tuple[_Of, ...]] = tuple(
    (make(f"memory_{name}", about, "world"), field, per)
    for make, name, field, per, about in (
        (gauge, "sessions_per_second", "ingestion_rate", 1, "reasoning sessions of a minute, a second"),
        (gauge, "consolidations_per_second", "consolidation_rate", 1, "consolidated stages of a minute, a second"),
        (gauge, "dedup_ratio", "dedup_rate", 100, "share of the uses of patterns that were not their snippet's first"),
        (gauge, "quarantined_executions", "quarantine_count", 1, "executions in quarantine"),
        (gauge, "nodes", "nodes_total", 1, "nodes that were seen within the last hour"),
        (counter, "sessions_total", "sessions_total", 1, "reasoning sessions of these nodes"),
        (counter, "stages_total", "stages_total", 1, "stages of their sessions"),
        (counter, "consolidated_total", "consolidated_total", 1, "of these the ones with a confidence of 0.7 and more"),
    )
)


def read_values(state: State, now: int) -> Iterator[Sample]:
    """What is shown at `now`, ms."""
    for half in state.halves:
        yield from _groups(half, now)
    mesh, memory = state.mesh.view(now).summary, state.memory.view(now).summary
    if mesh is not None:
        yield from _told(_MESH, mesh)
        yield from _mesh(mesh)
    if memory is not None:
        yield from _told(_MEMORY, memory)
        for tier, count in (memory.trust_distribution or {}).items():
            yield _TIERS.of(count, _world(memory), tier)


def _groups(half: Half[Any], now: int) -> Iterator[Sample]:
    for group, origin in half.origins(half.view(now)).items():
        for state in ("live", "stale", "simulated"):
            yield _GROUP_STATE.of(state == origin, half.name, group, state)
        if (as_of := half.group(group, now).as_of) is not None:
            yield _GROUP_AS_OF.of(as_of / 1_000, half.name, group)


def _told(table: Iterable[_Of], summary: FederationSummary | MemorySummary) -> Iterator[Sample]:
    for family, field, per in table:
        if (value := getattr(summary, field)) is not None:
            # Whole numbers stay so: those of a foreign hand may have more digits than a float takes.
            yield family.of(value if per == 1 else value / per, _world(summary))


def _mesh(summary: FederationSummary) -> Iterator[Sample]:
    world = _world(summary)
    if summary.total_peers is not None and summary.online_peers is not None:
        yield _PEERS.of(summary.online_peers, world, "online")
        yield _PEERS.of(summary.total_peers - summary.online_peers, world, "offline")
    for quantile, told in (("0.5", summary.latency_p50), ("0.95", summary.latency_p95), ("0.99", summary.latency_p99)):
        if told is not None:
            yield _LATENCY.of(told / 1_000, world, quantile)


def _world(summary: FederationSummary | MemorySummary) -> str:
    return "simulated" if summary.source == "simulated" else "live"
