"""What a peer takes: memory of an aggregator and of the server, time to restore it, and to commit a change of it.

One aggregator holds all partitions. Each peer has three heartbeats and two syncs, of which its target hears too. Memory
of a process is its resident set less that before the first peer; what it keeps of its working space counts too, and is
most of it where peers are few. What a restore takes is the median of three.
"""

import random
import statistics
import time
from typing import Any, Final, NamedTuple

import uvloop

from processors.aggregators.checkpoint import commit, read_state
from processors.aggregators.ownership import acquire, new_owner
from processors.aggregators.partition import Partition
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import MAX_BATCH_EVENTS, Event, SyncIn, SyncOut
from tests.benchmarks.events import PARTITIONS, heartbeat, shares
from tests.benchmarks.idle import rss_mib
from tests.benchmarks.rig import Rig, running_rig
from tests.benchmarks.tables import quantile, table

__all__ = ["measure"]

_PEERS: Final = (1_000, 10_000, 100_000)
_HEARTBEATS: Final = 3
_SYNCS: Final = 2
_STEP_MS: Final = 5_000
_RESTORES: Final = 3
# Of one partition, each of as many peers as a commit takes, or as there are.
_COMMITS: Final = 60
_WARM: Final = 10
_RETENTION_MS: Final = 3_600_000
_START_S: Final = 60


class _Restore(NamedTuple):
    """A fresh process on the committed state."""

    # Seconds from its start to its first lease, and from there to the last partition's first commit.
    start_s: float
    restore_s: float
    mib: float


class _Commits(NamedTuple):
    """Commits of one partition, with nothing else going on."""

    dirty: int
    # Microseconds of one commit: at the client (p50, p99), and in the server.
    client_us: float
    client_p99_us: float
    server_us: float
    # Bytes of what a commit adds to the changes and to the partials.
    changes_bytes: float
    partial_bytes: float


def _events(peers: int, now: int) -> list[Event]:
    rng = random.Random(peers)
    events: list[Event] = []
    for turn in range(_HEARTBEATS):
        ts = now - (_HEARTBEATS - turn) * _STEP_MS
        for number in range(peers):
            peer = f"peer-{number}"
            events.append(heartbeat(peer, ts, rng.random() * 90))
            if turn < _SYNCS:
                target = f"peer-{rng.randrange(peers)}"
                events.append(SyncOut(ts=ts, sender=peer, target=target, action="memory_sync", bytes=number, ok=True))
                events.append(SyncIn(ts=ts, peer=target, ok=True))
    return events


def _restore(rig: Rig) -> _Restore:
    before = {name: meta.n for name, meta in rig.metas().items()}
    began, leased_s = time.perf_counter(), 0.0
    pid = rig.start_worker()
    while True:
        metas = rig.metas()
        elapsed_s = time.perf_counter() - began
        if not leased_s and any(meta.pid == pid for meta in metas.values()):
            leased_s = elapsed_s
        if all(meta.pid == pid and meta.n > before[name] for name, meta in metas.items()):
            return _Restore(leased_s, elapsed_s - leased_s, rss_mib(pid))
        assert elapsed_s < _START_S, "the state was not restored"
        time.sleep(0.002)


def _restored(rig: Rig) -> _Restore:
    """The medians of several fresh processes, one after the other."""
    runs = []
    for _ in range(_RESTORES):
        runs.append(_restore(rig))
        rig.stop_workers()
    return _Restore(*(statistics.median(column) for column in zip(*runs, strict=True)))


async def _commits(url: str, peers: int) -> _Commits:
    """Commit changes of peers of the first partition, as its owner would; the aggregators have ended."""
    name = "0"
    ours = [peer for number in range(peers) if streams.partition_of(peer := f"peer-{number}", PARTITIONS) == name]
    # More than two entries of full batches may not fit into one commit.
    ours = ours[: 2 * MAX_BATCH_EVENTS]
    bus = Bus(url)
    await bus.open(PARTITIONS)
    [grant] = await acquire(bus, [streams.meta_key(name)], new_owner())
    assert grant is not None, "the partition is held by another"
    partition = Partition(name, bus.clock.now_ms(), PARTITIONS)
    async for slice_ in read_state(bus, name):
        partition.restore(grant.position, slice_)
    taken_us, works = [], []
    for number in range(_COMMITS + _WARM):
        if number == _WARM:
            await bus.client.config_resetstat()
        now = bus.clock.now_ms()
        for start in range(0, len(ours), MAX_BATCH_EVENTS):
            batch = [heartbeat(peer, now, number) for peer in ours[start : start + MAX_BATCH_EVENTS]]
            body = codec.encode(batch)
            fields: Any = codec.entry_fields("events", now, body)
            entry: Any = await bus.client.xadd(streams.events_key(name), fields)
            partition.fold(entry.decode(), {b"v": b"1", b"d": body}, bus.clock.now_ms())
        works.append(partition.collect(grant.epoch, grant.n + 1, now))
        began = time.perf_counter()
        grant = await commit(bus, name, grant, works[-1], _RETENTION_MS)
        taken_us.append(1e6 * (time.perf_counter() - began))
    stats = await bus.client.info("commandstats")
    await bus.close()
    works, taken_us = works[_WARM:], taken_us[_WARM:]
    return _Commits(
        len(works[-1].state),
        quantile(taken_us, 0.5),
        quantile(taken_us, 0.99),
        float(stats["cmdstat_evalsha"]["usec_per_call"]),
        statistics.mean(len(work.changes or b"") for work in works),
        statistics.mean(len(work.partial) for work in works),
    )


class _Memory(NamedTuple):
    """What the peers took of memory when all of their events were committed."""

    # MiB of the aggregator.
    idle_mib: float
    full_mib: float
    # Bytes of the server: all of it, state and roster, one event on its stream.
    used_bytes: int
    hash_bytes: int
    event_bytes: float


def _memory(rig: Rig, pid: int, peers: int) -> _Memory:
    events = _events(peers, int(time.time() * 1_000))
    idle_mib, used_bytes = rss_mib(pid), rig.used_bytes()
    rig.stage(shares(events), MAX_BATCH_EVENTS)
    rig.fold_staged()
    return _Memory(
        idle_mib,
        rss_mib(pid),
        rig.used_bytes() - used_bytes,
        rig.bytes_of(streams.state_key, streams.peers_key),
        rig.bytes_of(streams.events_key) / len(events),
    )


def _measure(peers: int) -> tuple[list[object], list[object]]:
    with running_rig(0) as rig:
        pid = rig.start_worker()
        rig.until_held()
        memory = _memory(rig, pid, peers)
        rig.stop_workers()
        restore = _restored(rig)
        cost = uvloop.run(_commits(rig.server.url, peers))
    # KiB of a peer in one MiB of all, bytes of all in one KiB of a peer.
    kib, kib_bytes = 1024 / peers, 1024 * peers
    row: list[object] = [
        f"{peers:,}", f"{memory.idle_mib:.0f}", f"{memory.full_mib:.0f}",
        f"{(memory.full_mib - memory.idle_mib) * kib:.2f}", f"{restore.mib:.0f}",
        f"{(restore.mib - memory.idle_mib) * kib:.2f}", f"{restore.start_s:.2f}", f"{restore.restore_s:.2f}",
        f"{memory.hash_bytes / kib_bytes:.2f}", f"{memory.used_bytes / kib_bytes:.2f}", f"{memory.event_bytes:.0f}",
    ]  # fmt: skip
    cells: list[object] = [
        f"{peers:,}", cost.dirty, f"{cost.client_us / 1_000:.1f} / {cost.client_p99_us / 1_000:.1f}",
        f"{cost.client_us / cost.dirty:.1f}", f"{cost.server_us / cost.dirty:.1f}",
        f"{cost.changes_bytes / cost.dirty:.0f}", f"{cost.partial_bytes:.0f}",
    ]  # fmt: skip
    return row, cells


def measure() -> str:
    """Two tables: what is kept of the peers, and what a commit of changes takes."""
    rows, cells = zip(*(_measure(peers) for peers in _PEERS), strict=True)
    kept = [
        "peers", "aggregator, MiB: none", "all", "KiB a peer (asked: <= 1)", "restored", "KiB a peer (asked: <= 1)",
        "s to the first lease", "s from it to the last first commit (asked: <= 2)", "state and roster, KiB a peer",
        "server, KiB a peer", "bytes an event on its stream",
    ]  # fmt: skip
    written = [
        "peers", "dirty keys a commit", "ms, p50 / p99", "us a key", "server us a key", "bytes of changes a key",
        "bytes of partial a commit",
    ]  # fmt: skip
    return f"{table(kept, rows)}\n\n{table(written, cells)}"
