"""A hundred thousand peers at five thousand heartbeats and five hundred syncs a second, as the constants promise it.

A producer in a process of its own publishes through the collectors' publisher, a batch every 20 ms. The lag of an entry
goes from its id to the commit that consumed it, both by the server's clock; the commits are asked for every 10 ms, so
that one between two questions counts as the next: a lag is told too long rather than too short.
"""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import uvloop

from processors.collectors.publisher import Publisher, SourceBatch
from processors.runtime.bus import Bus
from schemas import streams
from schemas.events import MAX_BATCH_EVENTS, Event, SyncIn, SyncOut
from schemas.positions import EntryId, entry_id
from tests.benchmarks.events import PARTITIONS, Totals, heartbeat, shares, totals_of
from tests.benchmarks.idle import cpu_s, rss_mib
from tests.benchmarks.rig import Rig, running_rig
from tests.benchmarks.tables import quantile, table

__all__ = ["measure", "produce"]

_PEERS: Final = 100_000
_SPAN_S: Final = 60
_BATCH_S: Final = 0.02
_HEARTBEATS: Final = 100
_SYNCS: Final = 10
_ASK_S: Final = 0.01
# Coprime to the number of peers: each is heard of every twenty seconds, and no two neighbours after each other.
_STRIDE: Final = 7_919
_MOST_S: Final = 60
_MIB: Final = 1024**2


class _Usage(NamedTuple):
    """What aggregator and server have used so far, or hold."""

    worker_s: float
    server_s: float
    producer_s: float
    worker_mib: float
    server_mib: float
    server_used_mib: float
    # Commits of all live partitions since they began.
    commits: int


def _batches() -> Iterator[list[Event]]:
    turns = itertools.count()
    while True:
        ts = int(time.time() * 1_000)
        names = [f"peer-{next(turns) * _STRIDE % _PEERS}" for _ in range(_HEARTBEATS)]
        events: list[Event] = [heartbeat(name, ts, len(name) * 7.5) for name in names]
        for source, target in zip(names[:_SYNCS], names[_SYNCS:], strict=False):
            events.append(SyncOut(ts=ts, sender=source, target=target, action="memory_sync", bytes=1_024, ok=True))
            events.append(SyncIn(ts=ts, peer=target, ok=True))
        yield events


async def _publish(url: str) -> dict[str, Any]:
    bus = Bus(url)
    await bus.open(PARTITIONS)
    publisher = Publisher(bus, "load", streams.live_partitions(PARTITIONS))
    await publisher.read_cursors()
    counted = [0, 0, 0]
    late_s = 0.0
    began = time.perf_counter()
    for number, events in enumerate(itertools.islice(_batches(), round(_SPAN_S / _BATCH_S))):
        spare_s = began + number * _BATCH_S - time.perf_counter()
        late_s = max(late_s, -spare_s)
        await asyncio.sleep(max(0.0, spare_s))
        await publisher.publish(SourceBatch(str(number), events))
        counted = [sum(pair) for pair in zip(counted, totals_of(events), strict=True)]
    await bus.close()
    return {"totals": counted, "late_s": late_s, "cpu_s": time.process_time()}


def produce(url: str) -> None:
    """Publish at the pace; print what was published as JSON. Runs as a process of its own."""
    print(json.dumps(uvloop.run(_publish(url))))


def _usage(rig: Rig, pid: int, producer_s: float = 0.0) -> _Usage:
    assert rig.server.process is not None
    server = rig.server.process.pid
    used_mib, commits = rig.used_bytes() / _MIB, sum(meta.n for meta in rig.metas().values())
    return _Usage(cpu_s(pid), cpu_s(server), producer_s, rss_mib(pid), rss_mib(server), used_mib, commits)


def _follow(rig: Rig, producer: subprocess.Popen[bytes]) -> dict[str, list[tuple[EntryId, int]]]:
    """How far each partition had come when, as often as it was asked, until the producer has ended and all is done."""
    steps: dict[str, list[tuple[EntryId, int]]] = {name: [] for name in streams.live_partitions(PARTITIONS)}
    deadline = time.monotonic() + _SPAN_S + _MOST_S
    done = False
    while not done:
        assert time.monotonic() < deadline, "the producer does not end"
        done = producer.poll() is not None
        if done:
            rig.until_committed()
        for name, meta in rig.metas().items():
            position = entry_id(meta.position)
            if not steps[name] or steps[name][-1][0] != position:
                steps[name].append((position, meta.last_ms))
        time.sleep(_ASK_S)
    return steps


def _lags_ms(rig: Rig, steps: dict[str, list[tuple[EntryId, int]]], since_ms: int) -> list[int]:
    """Milliseconds from each entry to the first commit known to have it."""
    lags: list[int] = []
    for name, moments in steps.items():
        commits = iter(moments)
        position, moment = next(commits)
        for text in rig.ids(streams.events_key(name), since_ms):
            entry = entry_id(text)
            while position < entry:
                position, moment = next(commits)
            lags.append(max(0, moment - entry.ms))
    return lags


def _prepare(rig: Rig) -> Totals:
    """Have every peer known."""
    now = int(time.time() * 1_000)
    events: list[Event] = [heartbeat(f"peer-{number}", now, 20.0) for number in range(_PEERS)]
    rig.stage(shares(events), MAX_BATCH_EVENTS)
    rig.fold_staged()
    return totals_of(events)


def _run(rig: Rig, pid: int) -> tuple[list[int], _Usage, _Usage, dict[str, Any]]:
    before = _prepare(rig)
    code = f"from tests.benchmarks.capacity import produce; produce({rig.server.url!r})"
    start, since_ms = _usage(rig, pid), int(time.time() * 1_000)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as producer:
        steps = _follow(rig, producer)
        assert producer.stdout is not None
        said: dict[str, Any] = json.loads(producer.stdout.read())
    end = _usage(rig, pid, said["cpu_s"])
    expected = Totals(*(sum(pair) for pair in zip(before, said["totals"], strict=True)))
    assert rig.totals() == expected, f"{rig.totals()} is not {expected}"
    return _lags_ms(rig, steps, since_ms), start, end, said


def measure() -> str:
    """The table."""
    with running_rig(0) as rig:
        pid = rig.start_worker()
        rig.until_held()
        lags_ms, start, end, said = _run(rig, pid)
        sizes = [rig.bytes_of(make) for make in (streams.events_key, streams.changes_key, streams.feed_key)]
        summary = rig.bytes_an_entry(streams.METRICS_FEDERATION)
    heartbeats, syncs, _ = said["totals"]
    p50, p99, most = (quantile(lags_ms, share) for share in (0.5, 0.99, 1.0))
    cpu = [f"{100 * (b - a) / _SPAN_S:.0f}" for a, b in zip(start[:3], end[:3], strict=True)]
    rows: list[list[object]] = [
        ["peers", f"{_PEERS:,}"],
        ["heartbeats/s, syncs/s", f"{heartbeats / _SPAN_S:,.0f}, {syncs / _SPAN_S:,.0f}"],
        ["entries; each counted once", f"{len(lags_ms):,}; yes"],
        ["ms from an entry to its commit: p50, p99, most", f"{p50}, {p99}, {most}"],
        ["commits/s", f"{(end.commits - start.commits) / _SPAN_S:.0f}"],
        ["CPU, % of a core: aggregator, server, producer", ", ".join(cpu)],
        ["aggregator, MiB resident: begin, end", f"{start.worker_mib:.0f}, {end.worker_mib:.0f}"],
        ["server, MiB resident: begin, end", f"{start.server_mib:.0f}, {end.server_mib:.0f}"],
        ["server, MiB used: begin, end", f"{start.server_used_mib:.0f}, {end.server_used_mib:.0f}"],
        ["MiB of all event streams, changes, feeds at the end", ", ".join(f"{size / _MIB:.0f}" for size in sizes)],
        ["bytes a sync on the feed", f"{sizes[-1] / syncs:.0f}"],
        ["bytes a summary", f"{summary:.0f}"],
        ["producer behind its pace at most, ms", f"{1_000 * said['late_s']:.0f}"],
    ]
    return table(["what", f"in {_SPAN_S} s"], rows)
