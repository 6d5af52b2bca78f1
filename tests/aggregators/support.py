"""Partitions in tests: entries to fold, commits without a server, time that acts as the runner's timer lets it."""

from collections.abc import Sequence

import msgspec
import pytest

from processors.aggregators.merge_federation import merge_federation
from processors.aggregators.partition import Partition
from schemas import codec
from schemas.events import Event, SyncOut
from schemas.metrics import FederationSummary, Partial, SourceState
from schemas.streams import partition_of
from tests.aggregators.model import Model

__all__ = ["HOUR", "START", "check_summary", "commit", "entry", "fold_all", "settle", "summary_of"]

START = 1_700_000_000_000
HOUR = 3_600_000


def entry(*events: Event) -> dict[bytes, bytes]:
    return {b"v": b"1", b"t": b"events", b"ts": b"0", b"d": codec.encode(list(events))}


def commit(partition: Partition, state: dict[str, bytes], roster: dict[str, bytes], now: int) -> Partial:
    """What the server would hold after a commit, and the partial."""
    work = partition.collect("epoch", 1, now)
    for target, fields in ((state, work.state), (roster, work.roster)):
        for name, value in fields.items():
            if value is None:
                target.pop(name, None)
            else:
                target[name] = value
    return msgspec.json.decode(work.partial, type=Partial)


def settle(partition: Partition, now: int) -> None:
    """Let all time up to `now` act, as the runner's timer would."""
    while (deadline := partition.next_deadline()) is not None and deadline <= now:
        partition.pass_time(now)


def summary_of(partials: list[Partial], now: int) -> FederationSummary:
    states = [
        SourceState(node="n", collector="peers", group="peers", state="live", since=0, as_of=now),
        SourceState(node="n", collector="sync_events", group="sync", state="live", since=0, as_of=now),
    ]
    heard = {(state.node, state.collector): (now, state) for state in states}
    return merge_federation({partial.partition: partial for partial in partials}, heard, "e", 1, now)


def fold_all(history: list[tuple[int, Event]], now: int, count: int = 1) -> FederationSummary:
    """The summary at `now` of `history`, split over `count` partitions as the publisher splits it."""
    partitions = {str(number): Partition(str(number), START, count) for number in range(count)}
    for arrived, event in history:
        key = event.sender if isinstance(event, SyncOut) else event.peer  # type: ignore[union-attr]
        home = partitions[partition_of(key, count)]
        settle(home, arrived)
        home.fold(f"{arrived}-0", entry(event), arrived)
    partials = []
    for partition in partitions.values():
        settle(partition, now)
        partials.append(commit(partition, {}, {}, now))
    return summary_of(partials, now)


def check_summary(summary: FederationSummary, history: Sequence[tuple[int, Event]], now: int) -> None:
    """Every value of the summary is the model's."""
    model = Model(list(history))
    known, counted = model.beats(now)
    online = [latency for status, latency, _ in known.values() if status != "offline"]
    latencies = sorted(latency for latency in online if latency is not None)
    assert (summary.total_peers, summary.online_peers, summary.heartbeats_total) == (len(known), len(online), counted)
    assert summary.network_health == (100 * len(online) / len(known) if known else None)
    assert summary.data_integrity == pytest.approx(model.integrity(now), abs=1e-6)
    assert summary.avg_latency == (pytest.approx(sum(latencies) / len(latencies)) if latencies else None)
    for value, share in ((summary.latency_p50, 50), (summary.latency_p95, 95), (summary.latency_p99, 99)):
        nearest = latencies[max(1, -(-share * len(latencies) // 100)) - 1] if latencies else None
        assert value == (None if nearest is None else pytest.approx(nearest, rel=0.0101))
    assert (summary.sync_rate, summary.sync_bytes_rate, summary.sync_success_rate) == model.rates(now)
    assert summary.active_syncs == model.active_syncs(now)
    assert summary.sync_events_total == len(model.syncs)
    assert summary.sync_bytes_total == sum(event.bytes for event, _ in model.syncs)
    assert summary.sync_failures_total == sum(event.ok is False for event, _ in model.syncs)
    assert summary.future_total == sum(event.ts > arrived + 5_000 for arrived, event in history)
    late = [isinstance(e, SyncOut) and Model.time_of(at, e) <= at - 300_000 for at, e in history]
    assert summary.late_total == sum(late)
