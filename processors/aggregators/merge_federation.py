"""The merger's logic for the mesh: from the newest partials of a world, the states of the sources and `now`, a summary.

A pure function: merging the partials of any split of the same events gives the same summary.
"""

from collections.abc import Sequence
from typing import Any

from processors.aggregators.merge import Heard, Partials, group_state, half_origin, head, newest_of, world_of
from processors.aggregators.statistics import quantile
from processors.aggregators.talkers import top_of
from processors.aggregators.windows import PAIR_WINDOW_MS, RATE_WINDOW_MS, is_over
from schemas.metrics import RATE_WINDOW_S, SOURCE_TIMEOUT_MS, FederationPartial, FederationSummary, Talker

__all__ = ["merge_federation", "next_deadline"]


def merge_federation(partials: Partials, heard: Heard, epoch: str, n: int, now: int) -> FederationSummary:
    """The summary of the mesh at `now`, entry `n` of `epoch`, from the newest partial of each partition."""
    origin = half_origin(heard, "federation", ("peers", "sync", "discovery"), now)
    world = world_of(partials, origin)
    parts = [partial.federation for partial in world]
    peers = group_state(heard, _teller(heard), origin, newest_of(part.peers_as_of for part in parts), now)
    sync = group_state(heard, "sync", origin, newest_of(part.sync_as_of for part in parts), now)
    values = head(world, {"peers": peers, "sync": sync}, epoch, n, now)
    if peers.as_of is not None:
        values |= _peers(parts)
    if sync.as_of is not None:
        values |= _sync(parts, now)
    return FederationSummary(since=min((partial.since for partial in world), default=None), **values)


def _teller(heard: Heard) -> str:
    """The group of the sources that say whether the peers are right: ARK's own Redis, if it has ever answered.

    A service that is followed besides must neither hide that Redis is away, nor by its own failure make peers stale.
    """
    own = [state for _, state in heard.values() if state.group == "peers"]
    return "peers" if any(state.state != "down" or state.as_of is not None for state in own) else "discovery"


def _peers(parts: Sequence[FederationPartial]) -> dict[str, Any]:
    known = sum(part.known for part in parts)
    online = sum(part.online for part in parts)
    latencies = sum(part.latencies for part in parts)
    sketches = [part.sketch for part in parts]
    return {
        "total_peers": known,
        "online_peers": online,
        "network_health": 100 * online / known if known else None,
        "data_integrity": 100 * sum(part.integrity_nano for part in parts) / known / 10**9 if known else None,
        "avg_latency": sum(part.latency_us for part in parts) / latencies / 1000 if latencies else None,
        "latency_p50": quantile(sketches, 0.50),
        "latency_p95": quantile(sketches, 0.95),
        "latency_p99": quantile(sketches, 0.99),
        "heartbeats_total": sum(part.heartbeats_total for part in parts),
        "future_total": sum(part.future_total for part in parts),
    }


def _sync(parts: Sequence[FederationPartial], now: int) -> dict[str, Any]:
    syncs = size = finished = succeeded = pairs = 0
    for part in parts:
        if part.rates is None:
            continue
        for index in range(len(part.rates.syncs)):
            second = part.rates.start + index
            if second * 1000 > now:
                break
            if not is_over(second, 1000, RATE_WINDOW_MS, now):
                syncs += part.rates.syncs[index]
                size += part.rates.bytes[index]
                finished += part.rates.finished[index]
                succeeded += part.rates.succeeded[index]
            if not is_over(second, 1000, PAIR_WINDOW_MS, now):
                pairs += part.rates.pairs[index]
    talkers = (talker for part in parts for talker in part.talkers)
    return {
        "active_syncs": pairs,
        "sync_rate": syncs / RATE_WINDOW_S,
        "sync_bytes_rate": size / RATE_WINDOW_S,
        "sync_success_rate": 100 * succeeded / finished if finished else None,
        "sync_events_total": sum(part.sync_events_total for part in parts),
        "sync_bytes_total": sum(part.sync_bytes_total for part in parts),
        "sync_failures_total": sum(part.sync_failures_total for part in parts),
        "late_total": sum(part.late_total for part in parts),
        "overflow_total": sum(part.overflow_total for part in parts),
        "top_talkers": tuple(Talker(id=peer_id, bytes=sent) for peer_id, sent in top_of(talkers)),
    }


def next_deadline(partials: Partials, heard: Heard, now: int) -> int | None:
    """When time alone changes the summary next, ms: a second enters or leaves a window, or a source falls silent."""
    moments = [moment + SOURCE_TIMEOUT_MS for moment, _ in heard.values()]
    for partial in partials.values():
        rates = partial.federation.rates
        if rates is None:
            continue
        for index, (syncs, pairs) in enumerate(zip(rates.syncs, rates.pairs, strict=True)):
            start = (rates.start + index) * 1000
            if syncs:
                moments += [start, start + 999 + RATE_WINDOW_MS]
            if pairs:
                moments += [start, start + 999 + PAIR_WINDOW_MS]
    return min((moment for moment in moments if moment > now), default=None)
