"""The merger's logic: from the newest partials of a world, the states of the sources and `now`, one summary.

A pure function: merging the partials of any split of the same events gives the same summary.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from processors.aggregators.statistics import quantile
from processors.aggregators.windows import PAIR_WINDOW_MS, RATE_WINDOW_MS, is_over
from schemas.metrics import (
    RATE_WINDOW_S,
    SOURCE_TIMEOUT_MS,
    FederationPartial,
    FederationSummary,
    GroupState,
    Origin,
    Partial,
    SourceState,
    worst,
)
from schemas.streams import SIMULATED

__all__ = ["Heard", "group_state", "half_origin", "merge_federation", "next_deadline"]

Heard = Mapping[tuple[str, str], tuple[int, SourceState]]
"""By (node, collector): when a source was last heard of, ms, and what it said."""


def half_origin(heard: Heard, half: str, groups: Sequence[str], now: int) -> Origin:
    """Which world a half shows: a live source is believed before the simulation, the simulation before silence."""
    fresh = [state for moment, state in heard.values() if now - moment < SOURCE_TIMEOUT_MS]
    if any(state.group in groups and state.state == "live" for state in fresh):
        return "live"
    if any(state.group == half and state.state == "simulated" for state in fresh):
        return "simulated"
    return "stale"


def group_state(heard: Heard, group: str, origin: Origin, newest: int | None, now: int) -> GroupState:
    """Where a group's values come from: stale if none of its sources is live, or none was heard of for 15 s.

    `newest` is the time of the newest fact, ms. What a live source confirms, it confirms as of its last word.
    """
    if origin == "simulated":
        return GroupState(source="simulated", as_of=None if newest is None else min(newest, now))
    states = [(moment, state) for moment, state in heard.values() if state.group == group]
    live = [s for moment, s in states if s.state == "live" and now - moment < SOURCE_TIMEOUT_MS]
    moments = [state.as_of for _, state in states if state.as_of is not None]
    if newest is not None:
        # A producer's clock may be ahead; nothing is known to be right at a time that is still to come.
        moments.append(min(newest, now))
    return GroupState(source="live" if live else "stale", as_of=max(moments, default=None))


def merge_federation(partials: Mapping[str, Partial], heard: Heard, epoch: str, n: int, now: int) -> FederationSummary:
    """The summary of the mesh at `now`, entry `n` of `epoch`, from the newest partial of each partition."""
    origin = half_origin(heard, "federation", ("peers", "sync"), now)
    world = [partial for name, partial in sorted(partials.items()) if (name == SIMULATED) == (origin == "simulated")]
    parts = [partial.federation for partial in world]
    peers = group_state(heard, "peers", origin, _newest(part.peers_as_of for part in parts), now)
    sync = group_state(heard, "sync", origin, _newest(part.sync_as_of for part in parts), now)
    values: dict[str, Any] = {}
    if peers.as_of is not None:
        values |= _peers(parts)
    if sync.as_of is not None:
        values |= _sync(parts, now)
    moments = [state.as_of for state in (peers, sync) if state.as_of is not None]
    return FederationSummary(
        ts=now,
        epoch=epoch,
        n=n,
        source=worst(peers.source, sync.source),
        peers=peers,
        sync=sync,
        as_of=min(moments, default=None),
        partials={partial.partition: (partial.epoch, partial.n) for partial in world},
        since=min((partial.since for partial in world), default=None),
        **values,
    )


def _newest(moments: Iterable[int | None]) -> int | None:
    return max((moment for moment in moments if moment is not None), default=None)


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
    }


def next_deadline(partials: Mapping[str, Partial], heard: Heard, now: int) -> int | None:
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
