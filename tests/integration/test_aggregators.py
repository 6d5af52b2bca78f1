"""Aggregators on a real bus: exactly once whatever happens to them."""

import asyncio
from collections.abc import Sequence

import pytest

from processors.collectors.publisher import Publisher, SourceBatch
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import (
    CodeState,
    Event,
    Heartbeat,
    NodeSeen,
    ReasoningSession,
    ReasoningStage,
    Rejected,
    SyncIn,
    SyncOut,
)
from schemas.metrics import FederationSummary, MemorySummary, SourceState
from schemas.positions import entry_id
from tests.collectors.helpers import until
from tests.integration.aggregation import aggregating, memory_when, summary_when
from tests.reading import entries_of


async def say_live(bus: Bus) -> None:
    """Have all groups of both halves vouched for."""
    now = bus.clock.now_ms()
    collectors = {"peers": "peers", "sync_events": "sync", "reasoning": "reasoning", "code_memory": "code"}
    for name, group in collectors.items():
        state = SourceState(node="n", collector=name, group=group, state="live", since=now, as_of=now)  # type: ignore[arg-type]
        await bus.client.xadd(streams.SOURCES, codec.entry_fields("source", now, codec.encode(state)))  # type: ignore[arg-type]


async def publisher(bus: Bus) -> Publisher:
    made = Publisher(bus, "test", streams.live_partitions(16))
    await made.read_cursors()
    return made


def traffic(now: int, count: int) -> Sequence[Event]:
    return [
        event
        for number in range(count)
        for event in (
            Heartbeat(peer=f"p{number}", ts=now, tier="core", latency_ms=float(number)),
            SyncOut(ts=now, sender=f"p{number}", target="p0", bytes=10, ok=True),
            SyncIn(ts=now, peer="p0", ok=True),
        )
    ]


def thoughts(now: int, nodes: int, row_id: int = 1) -> Sequence[Event]:
    return [
        event
        for node in [f"node-{number}" for number in range(nodes)]
        for event in (
            NodeSeen(node=node, ts=now, group="reasoning", since=now),
            ReasoningSession(node=node, ts=now, id=row_id, agent="planner", query="why", confidence=0.9),
            ReasoningStage(node=node, ts=now, id=row_id, confidence=0.8, delta=0.25),
            CodeState(node=node, ts=now, usage=4, snippets=1, quarantined=2, tiers={"core": 3}),
        )
    ]


async def test_events_of_all_partitions_become_one_summary(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        await say_live(bus)
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 40))))
        summary = await summary_when(bus, lambda s: s.sync_events_total == 40 and s.source == "live")
    assert (summary.total_peers, summary.online_peers, summary.network_health) == (40, 40, 100)
    assert (summary.data_integrity, summary.avg_latency, summary.active_syncs) == (100, 19.5, 40)
    assert (summary.sync_rate, summary.sync_bytes_rate, summary.sync_success_rate) == (40 / 60, 400 / 60, 100)
    assert len(summary.partials) == 16


async def test_every_entry_of_the_summary_counts_on_by_one(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        for step in range(1, 6):
            await sender.publish(SourceBatch(str(step), list(traffic(bus.clock.now_ms(), 5))))
            await summary_when(bus, lambda s, n=5 * step: s.heartbeats_total == n)  # type: ignore[misc]
    entries = await entries_of(bus, streams.METRICS_FEDERATION)
    numbers = [entry_id(text).n for text, _ in entries]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len({fields[b"e"] for _, fields in entries}) == 1
    assert [codec.decode_federation(fields).n for _, fields in entries] == numbers


async def test_a_successor_goes_on_where_the_last_owner_stopped(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    total = 0
    for generation in range(3):
        async with aggregating(server_url):
            total += 10
            await sender.publish(SourceBatch(str(generation + 1), list(traffic(bus.clock.now_ms(), 10))))
            await summary_when(bus, lambda s: s.heartbeats_total == total)  # noqa: B023  - used before it changes

    async def all_gathered() -> bool:
        return len(await entries_of(bus, streams.FEED_SYNC)) >= total

    async with aggregating(server_url):
        await until(all_gathered)
    assert len(await entries_of(bus, streams.FEED_SYNC)) == total


async def test_events_published_while_nobody_aggregates_are_not_lost(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    for step in range(1, 21):
        await sender.publish(SourceBatch(str(step), list(traffic(bus.clock.now_ms(), 50))))
    async with aggregating(server_url):
        summary = await summary_when(bus, lambda s: s.heartbeats_total == 1_000)
    assert (summary.sync_events_total, summary.sync_bytes_total) == (1_000, 10_000)


async def test_two_aggregators_never_count_an_event_twice(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url) as first, aggregating(server_url):
        for step in range(1, 11):
            await sender.publish(SourceBatch(str(step), list(traffic(bus.clock.now_ms(), 50))))
            if step == 5:
                first.set()
        summary = await summary_when(bus, lambda s: (s.heartbeats_total or 0) >= 500)
        assert summary.heartbeats_total == 500
        assert summary.sync_bytes_total == 5_000


async def test_a_wiped_bus_is_begun_again_in_a_new_epoch(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 10))))
        before = await summary_when(bus, lambda s: s.heartbeats_total == 10)
        await bus.client.flushall()
        await sender.read_cursors()
        await sender.publish(SourceBatch("again", list(traffic(bus.clock.now_ms(), 7))))
        after = await summary_when(bus, lambda s: s.epoch != before.epoch and s.heartbeats_total == 7)
    assert after.total_peers == 7


async def test_a_cut_connection_costs_nothing(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 10))))
        await summary_when(bus, lambda s: s.heartbeats_total == 10)
        await bus.client.client_kill_filter(_type="normal", skipme=True)
        await sender.publish(SourceBatch("2", list(traffic(bus.clock.now_ms(), 10))))
        summary = await summary_when(bus, lambda s: (s.heartbeats_total or 0) >= 20)
    assert summary.heartbeats_total == 20


async def test_a_foreign_entry_of_plain_fields_counts_like_ours(bus: Bus, server_url: str) -> None:
    home = streams.events_key(streams.partition_of("foreign", 16))
    async with aggregating(server_url):
        await say_live(bus)
        body = f'{{"t":"heartbeat","peer":"foreign","ts":{bus.clock.now_ms()},"tier":"trusted"}}'
        await bus.client.xadd(home, {"v": "1", "t": "heartbeat", "ts": "0", "d": body})
        summary = await summary_when(bus, lambda s: s.total_peers == 1)
    assert summary.data_integrity == 95


async def test_an_entry_of_a_newer_version_is_counted_once_by_the_first_owner_that_knows_it(
    bus: Bus, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = streams.partition_of("newer", 16)
    body = f'{{"t":"heartbeat","peer":"newer","ts":{bus.clock.now_ms()}}}'
    async with aggregating(server_url):
        await bus.client.xadd(streams.events_key(home), {"v": "2", "t": "heartbeat", "ts": "0", "d": body})
        await until(lambda: bus.newest(streams.parked_key(home)))
    monkeypatch.setattr(codec, "VERSION", 2)
    for _ in range(2):
        async with aggregating(server_url):
            await say_live(bus)
            summary = await summary_when(bus, lambda s: s.heartbeats_total == 1)
            assert summary.total_peers == 1
    assert await bus.client.xlen(streams.parked_key(home)) == 0


async def test_rejected_input_of_all_partitions_is_gathered_once(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    rejected = [Rejected(ts=1, collector=f"c{number}", reason="no") for number in range(50)]
    await sender.publish(SourceBatch("1", [*rejected]))
    for _ in range(2):
        async with aggregating(server_url), asyncio.timeout(10):
            while len(letters := await entries_of(bus, streams.DEAD)) < 50:
                await bus.read_many({streams.DEAD: "$"}, block_ms=50)
    assert sorted(codec.decode_dead(fields).rejected_by for _, fields in letters) == sorted(f"c{k}" for k in range(50))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("totals", "no json"),
        ("rate:x", "[1,1,1,1]"),
        (b"peer:\xff", "[1]"),
        ("peer:p1", b'[1,"\xff"]'),
        ("sync:p1", f"[[{2**64},1,1],{{}}]"),
    ],
    ids=["no JSON", "no second", "no id", "no text", "too large"],
)
async def test_a_partition_whose_state_cannot_be_read_does_not_stop_the_others(
    bus: Bus, server_url: str, name: str | bytes, value: str | bytes
) -> None:
    sender = await publisher(bus)
    spoilt = streams.partition_of("p1", 16)
    await bus.client.hset(streams.state_key(spoilt), name, value)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 40))))
        theirs = sum(streams.partition_of(f"p{number}", 16) != spoilt for number in range(40))
        await summary_when(bus, lambda s: s.sync_events_total == theirs)
        await bus.client.delete(streams.state_key(spoilt))
        await summary_when(bus, lambda s: s.sync_events_total == 40)


async def test_foreign_entries_in_streams_of_ours_are_passed_over(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    foreign = [streams.feed_key("3"), streams.dead_key("4"), streams.partials_key("5"), streams.SOURCES]
    for stream in foreign:
        await bus.client.xadd(stream, {"foo": "bar"})
    await say_live(bus)
    for stream in foreign:
        await bus.client.xadd(stream, {"foo": "bar"})
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 20))))
        await summary_when(bus, lambda s: s.sync_events_total == 20 and s.source == "live")
        async with asyncio.timeout(10):
            while len(await entries_of(bus, streams.FEED_SYNC)) < 20:
                await bus.read_many({streams.FEED_SYNC: "$"}, block_ms=50)


async def test_a_server_that_refuses_writes_for_a_while_costs_nothing(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 10))))
        await summary_when(bus, lambda s: s.heartbeats_total == 10)
        await sender.publish(SourceBatch("2", list(traffic(bus.clock.now_ms(), 10))))
        await bus.client.config_set("min-replicas-to-write", "1")
        await asyncio.sleep(0.7)
        await bus.client.config_set("min-replicas-to-write", "0")
        await sender.publish(SourceBatch("3", list(traffic(bus.clock.now_ms(), 10))))
        summary = await summary_when(bus, lambda s: (s.heartbeats_total or 0) >= 30)
    assert summary.heartbeats_total == 30


async def test_roster_and_changes_say_the_same(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    async with aggregating(server_url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 20))))
        await summary_when(bus, lambda s: s.heartbeats_total == 20)
    for partition in streams.live_partitions(16):
        hashed = await bus.client.hgetall(streams.peers_key(partition))
        followed: dict[bytes, bytes] = {}
        for _, fields in await entries_of(bus, streams.changes_key(partition)):
            for peer_id, row in codec.decode_roster_change(fields).items():
                assert row is not None
                followed[peer_id.encode()] = codec.encode(row)
        assert hashed == followed


async def test_the_memory_engines_of_all_partitions_become_one_summary(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    now = bus.clock.now_ms()
    async with aggregating(server_url):
        await say_live(bus)
        await sender.publish(SourceBatch("1", list(thoughts(now, 20))))
        summary = await memory_when(bus, lambda s: s.sessions_total == 20 and s.quarantine_count == 40)
    assert (summary.ingestion_rate, summary.consolidation_rate, summary.dedup_rate) == (20 / 60, 20 / 60, 75)
    assert (summary.quarantine_count, summary.trust_distribution) == (40, {"core": 60})
    assert (summary.confidence_deltas, summary.since) == ((0.25,) * 20, now)
    assert summary.logs is not None
    assert {record.message for record in summary.logs} == {"planner: confidence 0.90: why"}
    assert (len(summary.logs), len(summary.nodes), summary.nodes_total, len(summary.partials)) == (20, 20, 20, 16)


async def test_nodes_survive_their_aggregators(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    for generation in range(1, 4):
        async with aggregating(server_url):
            batch = SourceBatch(str(generation), list(thoughts(bus.clock.now_ms(), 5, generation)))
            await sender.publish(batch)
            summary = await memory_when(bus, lambda s: s.sessions_total == 5 * generation)  # noqa: B023  - as above
    assert (summary.stages_total, summary.consolidated_total, len(summary.confidence_deltas or ())) == (15, 15, 15)


async def test_each_feed_holds_its_own_kind_once(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    for generation in range(1, 3):
        now = bus.clock.now_ms()
        async with aggregating(server_url), asyncio.timeout(10):
            await sender.publish(SourceBatch(str(generation), [*traffic(now, 10), *thoughts(now, 10, generation)]))
            while (
                len(syncs := await entries_of(bus, streams.FEED_SYNC)) < 10 * generation
                or len(sessions := await entries_of(bus, streams.FEED_MEMORY)) < 10 * generation
            ):
                await bus.read_many({streams.FEED_SYNC: "$", streams.FEED_MEMORY: "$"}, block_ms=50)
    assert {codec.decode_sync(fields).target for _, fields in syncs} == {"p0"}
    told = [codec.decode_memory_record(fields) for _, fields in sessions]
    assert sorted((record.node, record.id) for record in told) == [
        (f"node-{number}", row_id) for number in range(10) for row_id in (1, 2)
    ]


async def test_what_changes_one_half_adds_nothing_to_the_other(bus: Bus, server_url: str) -> None:
    sender = await publisher(bus)
    names, steps = [*streams.live_partitions(16), streams.SIMULATED], iter(range(1, 100))

    async def beat(count: int) -> FederationSummary:
        event = Heartbeat(peer="node-0", ts=bus.clock.now_ms())
        await sender.publish(SourceBatch(str(next(steps)), [event]))
        return await summary_when(bus, lambda s: s.heartbeats_total == count)

    async def think(count: int) -> MemorySummary:
        # Of a second that is over, or time would change the summary once more.
        batch = SourceBatch(str(next(steps)), list(thoughts(bus.clock.now_ms() - 2_000, 1, count)))
        await sender.publish(batch)
        return await memory_when(bus, lambda s: s.sessions_total == count)

    async with aggregating(server_url):
        await asyncio.gather(*(bus.read_many({streams.partials_key(name): "0-0"}) for name in names))
        await beat(1)
        federation, memory = await beat(2), await think(1)
        for count in range(2, 12):
            memory = await think(count)
        federation_after = await beat(3)
        for count in range(4, 14):
            await beat(count)
        memory_after = await think(12)
    home = streams.partition_of("node-0", 16)
    assert (federation_after.n, memory_after.n) == (federation.n + 1, memory.n + 1)
    assert federation_after.partials[home][1] >= federation.partials[home][1] + 12
    assert memory_after.partials[home][1] >= memory.partials[home][1] + 12
