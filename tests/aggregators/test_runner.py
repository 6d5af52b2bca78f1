"""The runner of one partition on a real bus: what waits in the stream is folded before time may act."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from processors.aggregators import checkpoint, runner
from processors.aggregators.ownership import Grant, acquire
from processors.aggregators.partition import Partition
from processors.aggregators.runner import PartitionRunner
from processors.aggregators.tally import Tally
from processors.aggregators.watch import Watch
from processors.runtime.bus import Bus, Entry
from processors.runtime.clock import BusClock
from schemas import codec, streams
from schemas.events import Event, Heartbeat
from tests.aggregators.support import commit, entry, settle
from tests.collectors.helpers import until
from tests.reading import entries_of

MINUTE = 60_000
META = streams.meta_key("0")


@asynccontextmanager
async def working(bus: Bus) -> AsyncIterator[PartitionRunner]:
    """The runner of partition 0 of one, at work; it must not lose it."""
    lost: list[str] = []
    [grant] = await acquire(bus, [META], "one")
    assert isinstance(grant, Grant)
    worker = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=Tally())
    await worker.start(grant, lost.append)
    try:
        yield worker
    finally:
        await worker.stop()
    assert lost == []


async def beats(bus: Bus, peer: str, times: range) -> None:
    """One entry for each heartbeat, as it arrived, all at once."""
    async with bus.client.pipeline(transaction=True) as pipe:
        for ts in times:
            event: Event = Heartbeat(peer=peer, ts=ts)
            pipe.xadd(streams.events_key("0"), codec.entry_fields("events", ts, codec.encode([event])), id=f"{ts}-0")  # type: ignore[arg-type]
        await pipe.execute()


async def told(bus: Bus, peer: str) -> list[str]:
    """Every status of a peer that was ever told, in order."""
    changes = [codec.decode_roster_change(fields) for _, fields in await entries_of(bus, streams.changes_key("0"))]
    return [row.status for change in changes if (row := change.get(peer)) is not None]


async def consumed(bus: Bus, position: str) -> None:
    """Wait until everything up to `position` is committed."""

    async def so() -> bool:
        return bool(await bus.client.hget(META, "pos") == position.encode())

    await until(so)


class PausedClock(BusClock):
    """The bus's clock for a process that stood still, and goes on when the test says so."""

    def __init__(self, moment: int) -> None:
        super().__init__()
        self.moment = moment

    def now_ms(self) -> int:
        return self.moment

    def sync(self, server_ms: int) -> None:
        pass


@pytest.fixture
def clock(bus: Bus) -> PausedClock:
    """The clock of an owner that stands still since a minute ago."""
    bus.clock = paused = PausedClock(bus.clock.now_ms() - MINUTE)
    return paused


async def test_a_peer_whose_heartbeats_wait_in_the_stream_is_not_declared_offline(bus: Bus, clock: PausedClock) -> None:
    # More than is read at once.
    times = range(clock.moment + 600, clock.moment + MINUTE, 600)
    async with working(bus):
        clock.moment += MINUTE
        await beats(bus, "a", times)
        await consumed(bus, f"{times[-1]}-0")
    assert set(await told(bus, "a")) == {"online"}


async def test_a_commit_in_the_midst_of_what_waits_declares_nobody_offline(bus: Bus, clock: PausedClock) -> None:
    # Two entries of so many peers fill a commit.
    groups = [[f"{group}-{number}" for number in range(240)] for group in range(4)]
    times = range(clock.moment + 4_000, clock.moment + MINUTE, 4_000)
    async with working(bus):
        clock.moment += MINUTE
        async with bus.client.pipeline(transaction=True) as pipe:
            for ts in times:
                for group, peers in enumerate(groups):
                    body = codec.encode([Heartbeat(peer=peer, ts=ts) for peer in peers])
                    pipe.xadd(streams.events_key("0"), codec.entry_fields("events", ts, body), id=f"{ts}-{group}")  # type: ignore[arg-type]
            await pipe.execute()
        await consumed(bus, f"{times[-1]}-3")
    assert {status for group in groups for status in await told(bus, group[0])} == {"online"}


async def test_what_came_before_a_pause_says_nothing_of_what_came_in_it(bus: Bus, clock: PausedClock) -> None:
    times = range(clock.moment + 600, clock.moment + MINUTE, 600)
    async with working(bus) as worker:
        # Read before the pause, and handled after it.
        async with worker._working:
            await beats(bus, "a", times[:10])
            await until(lambda: worker._working._waiters)
            clock.moment += MINUTE
            await beats(bus, "a", times[10:])
        await consumed(bus, f"{times[-1]}-0")
    assert set(await told(bus, "a")) == {"online"}


async def test_time_that_acts_late_acts_after_what_came_meanwhile(bus: Bus, clock: PausedClock) -> None:
    times = range(clock.moment - 6_000, clock.moment + MINUTE, 600)
    async with working(bus) as worker:
        await beats(bus, "a", times[:10])
        await consumed(bus, f"{times[9]}-0")
        async with worker._working:
            worker._wake()
            await until(lambda: worker._working._waiters)
            clock.moment += MINUTE
            await beats(bus, "a", times[10:])
        await consumed(bus, f"{times[-1]}-0")
    assert set(await told(bus, "a")) == {"online"}


async def test_a_successor_folds_what_waits_as_of_when_it_came(bus: Bus, clock: PausedClock) -> None:
    times = range(clock.moment - 6_000, clock.moment + MINUTE, 600)
    async with working(bus):
        await beats(bus, "a", times[:10])
        await consumed(bus, f"{times[9]}-0")
    clock.moment += MINUTE
    await beats(bus, "a", times[10:])
    async with working(bus):
        await consumed(bus, f"{times[-1]}-0")
    assert set(await told(bus, "a")) == {"online"}


async def test_who_died_during_a_pause_is_found_after_it_and_what_is_known_is_as_without_it(
    bus: Bus, clock: PausedClock
) -> None:
    times = range(clock.moment + 600, clock.moment + MINUTE, 600)
    on_time = Partition("0", times[0], 1)
    state: dict[str, bytes] = {}
    async with working(bus):
        clock.moment += MINUTE
        await beats(bus, "dead", times[:40])
        await beats(bus, "a", times[40:])
        await consumed(bus, f"{times[-1]}-0")

        async def found() -> bool:
            return (await told(bus, "dead"))[-1] == "offline"

        await until(found)
    for peer, part in (("dead", times[:40]), ("a", times[40:])):
        for ts in part:
            settle(on_time, ts)
            on_time.fold(f"{ts}-0", entry(Heartbeat(peer=peer, ts=ts)), ts)
            commit(on_time, state, {}, ts)
    settle(on_time, clock.moment)
    commit(on_time, state, {}, clock.moment)
    committed = await bus.client.hgetall(streams.state_key("0"))
    for peer in ("peer:dead", "peer:a"):
        assert committed[peer.encode()] == state[peer]


async def test_time_does_not_wait_for_an_entry_that_was_lost_before_it_was_read(
    bus: Bus, clock: PausedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = range(clock.moment + 600, clock.moment + MINUTE, 600)
    seen: list[Entry] = []

    async def newest(stream: str) -> Entry | None:
        seen.append((f"{clock.moment - 1}-0".encode(), {}))
        return seen[0] if len(seen) == 1 else await look(stream)

    async def found() -> bool:
        return (await told(bus, "a"))[-1:] == ["offline"]

    look = bus.newest
    async with working(bus):
        clock.moment += MINUTE
        monkeypatch.setattr(bus, "newest", newest)
        await beats(bus, "a", times[:40])
        await until(found)


async def test_a_partition_is_restored_when_the_clock_of_the_bus_went_back(bus: Bus, clock: PausedClock) -> None:
    lost: list[str] = []
    [grant] = await acquire(bus, [META], "one")
    assert grant is not None
    worker = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=Tally())
    await worker.start(grant, lost.append)
    clock.moment += MINUTE
    await beats(bus, "a", range(clock.moment, clock.moment + 1))
    await consumed(bus, f"{clock.moment}-0")
    clock.moment -= MINUTE
    await beats(bus, "a", range(clock.moment + MINUTE + 1, clock.moment + MINUTE + 2))
    await until(lambda: lost)
    await worker.stop()
    assert lost == ["partition 0: the clock of the bus went back"]


async def test_no_timer_keeps_the_state_of_a_runner_that_was_stopped_while_it_committed(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Grant:
        begun.set()
        await go_on.wait()
        return await checkpoint.commit(*args)

    now = bus.clock.now_ms()
    async with working(bus) as worker:
        monkeypatch.setattr(runner, "commit", slow)
        await beats(bus, "a", range(now, now + 1))
        await begun.wait()
        stopping = asyncio.create_task(worker.stop())
        await until(lambda: worker._on_lost is None)
        go_on.set()
        await stopping
        assert worker._timer is not None
        assert worker._timer.cancelled()


@pytest.mark.parametrize("written", [True, False], ids=["after its commit", "before its commit"])
async def test_parked_entries_count_once_although_the_owner_that_drains_them_is_killed(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    fields = {b"v": b"2", b"t": b"heartbeat", b"d": codec.encode(Heartbeat(peer="a", ts=bus.clock.now_ms()))}
    async with bus.client.pipeline(transaction=False) as pipe:
        for _ in range(2_000):
            pipe.xadd(streams.parked_key("0"), fields)  # type: ignore[arg-type]
        await pipe.execute()
    monkeypatch.setattr(codec, "VERSION", 2)
    commits = 0

    async def dies(*args: Any) -> Grant:
        nonlocal commits
        commits += 1
        if commits < 2:
            return await checkpoint.commit(*args)
        if written:
            await checkpoint.commit(*args)
        raise RedisConnectionError("killed")

    [grant] = await acquire(bus, [META], "one")
    assert grant is not None
    killed = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=Tally())
    with monkeypatch.context() as patch:
        patch.setattr(runner, "commit", dies)
        with pytest.raises(RedisConnectionError):
            await killed.start(grant, lambda why: None)
    await killed.stop()
    left = await bus.client.xlen(streams.parked_key("0"))
    assert 0 < left < 2_000
    async with working(bus):
        pass
    newest = await bus.newest(streams.partials_key("0"))
    assert newest is not None
    assert codec.decode_partial(newest[1]).federation.heartbeats_total == 2_000
    assert await bus.client.xlen(streams.parked_key("0")) == 0


async def test_a_state_of_another_type_is_named_and_told(bus: Bus) -> None:
    lost: list[str] = []
    [grant] = await acquire(bus, [META], "one")
    assert grant is not None
    await bus.client.set(streams.state_key("0"), "rubbish")
    worker = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=Tally())
    await worker.start(grant, lost.append)
    await worker.stop()
    assert [reason.partition("cannot be read")[0] for reason in lost] == ["the state of partition 0 "]
