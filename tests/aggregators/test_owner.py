"""The owner with small duties on a real bus: what is lost is taken up again, whatever else goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ResponseError

from processors.aggregators.owner import own
from processors.aggregators.ownership import LEASE_MS, Grant
from processors.runtime.bus import Bus
from processors.runtime.tasks import end_tasks
from schemas import streams
from tests.collectors.helpers import until

KEYS = [streams.meta_key(partition) for partition in ("0", "1", "2")]


class Work:
    """What the duties of one owner did: starts by key, and the way to lose each."""

    def __init__(self) -> None:
        self.starts: dict[str, int] = dict.fromkeys(KEYS, 0)
        self.lose: dict[str, Callable[[str], None]] = {}
        self.tokens: dict[str, str] = {}
        # Keys of the duties at work.
        self.held: set[str] = set()
        self.changed = asyncio.Condition()
        # Seconds that a start and a stop take, and keys whose start the server refuses.
        self.start_s = 0.0
        self.stop_s = 0.0
        self.refused: set[str] = set()

    async def until(self, starts: Mapping[str, int]) -> None:
        """Wait until the duties have been started so often."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: self.starts == dict(starts))


class SmallDuty:
    def __init__(self, work: Work, key: str) -> None:
        self.work = work
        self.key = key

    async def start(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        await asyncio.sleep(self.work.start_s)
        if self.key in self.work.refused:
            raise ResponseError("MISCONF no space")
        self.work.lose[self.key] = on_lost
        self.work.tokens[self.key] = grant.token
        async with self.work.changed:
            self.work.starts[self.key] += 1
            self.work.held.add(self.key)
            self.work.changed.notify_all()

    async def stop(self) -> None:
        await asyncio.sleep(self.work.stop_s)
        self.work.held.discard(self.key)


@asynccontextmanager
async def owning(bus: Bus, work: Work) -> AsyncIterator[None]:
    stop = asyncio.Event()
    bus.failure = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(own(bus, [{key: lambda key=key: SmallDuty(work, key) for key in KEYS}], stop))  # type: ignore[misc]
    try:
        yield
    finally:
        stop.set()
        await task


async def test_everything_free_is_taken_up_and_given_back(bus: Bus) -> None:
    work = Work()
    async with owning(bus, work):
        await work.until(dict.fromkeys(KEYS, 1))
    second = Work()
    async with owning(bus, second), asyncio.timeout(LEASE_MS / 2000):
        await second.until(dict.fromkeys(KEYS, 1))


async def test_a_duty_that_is_lost_while_another_is_being_stopped_is_taken_up_too(bus: Bus) -> None:
    work = Work()
    async with owning(bus, work):
        await work.until(dict.fromkeys(KEYS, 1))
        work.stop_s = 0.2
        work.lose[KEYS[0]]("first")
        await asyncio.sleep(0.1)
        work.lose[KEYS[1]]("second")
        await work.until({KEYS[0]: 2, KEYS[1]: 2, KEYS[2]: 1})


async def test_a_loss_that_is_told_late_does_not_end_the_duty_that_was_taken_up_since(bus: Bus) -> None:
    work = Work()
    async with owning(bus, work):
        await work.until(dict.fromkeys(KEYS, 1))
        told_late = work.lose[KEYS[0]]
        told_late("once")
        await work.until({KEYS[0]: 2, KEYS[1]: 1, KEYS[2]: 1})
        told_late("twice")
        work.lose[KEYS[1]]("another")
        await work.until({KEYS[0]: 2, KEYS[1]: 2, KEYS[2]: 1})


async def test_a_start_that_takes_longer_than_a_lease_keeps_its_lease(bus: Bus) -> None:
    work, rival = Work(), Work()
    work.start_s = 1.5 * LEASE_MS / 1000
    other = Bus(bus.url)
    await other.open(16)
    async with owning(bus, work):
        await asyncio.sleep(0.1)
        async with owning(other, rival):
            await work.until(dict.fromkeys(KEYS, 1))
            assert rival.starts == dict.fromkeys(KEYS, 0)
            stored = {key: await bus.client.hget(key, "token") for key in KEYS}
            assert stored == {key: token.encode() for key, token in work.tokens.items()}
    await other.close()


async def test_a_duty_that_the_server_refuses_does_not_take_its_neighbours_with_it(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work()
    work.refused = {KEYS[1]}
    async with owning(bus, work):
        await work.until({KEYS[0]: 1, KEYS[1]: 0, KEYS[2]: 1})
        await asyncio.sleep(1)
        assert len([record for record in caplog.records if "lost 1 of 3 duties" in record.message]) < 8
        work.refused = set()
        await work.until({KEYS[0]: 1, KEYS[1]: 1, KEYS[2]: 1})


async def shared(counts: list[int], *works: Work) -> None:
    """Wait until the duties are shared like this; a hand-over may take three seconds."""

    def so() -> bool:
        everything = set[str]().union(*(work.held for work in works))
        return sorted(len(work.held) for work in works) == counts and len(everything) == 3

    await until(so, 3)


async def test_those_that_run_share_evenly_and_nothing_is_held_twice(bus: Bus) -> None:
    first, second, third = Work(), Work(), Work()
    async with owning(bus, first):
        await shared([3], first)
        async with owning(bus, second):
            await shared([1, 2], first, second)
            async with owning(bus, third):
                await shared([1, 1, 1], first, second, third)
        await shared([3], first)


async def test_who_ends_in_order_is_followed_before_its_leases_are_over(bus: Bus) -> None:
    first, second = Work(), Work()
    async with owning(bus, first):
        async with owning(bus, second):
            await shared([1, 2], first, second)
        async with asyncio.timeout(LEASE_MS / 1000 - 0.2):
            await shared([3], first)


async def test_the_share_of_one_that_was_killed_is_taken_up_within_three_seconds(bus: Bus) -> None:
    work, killed = Work(), Work()
    async with owning(bus, work):
        makers = {key: lambda key=key: SmallDuty(killed, key) for key in KEYS}
        task = asyncio.create_task(own(bus, [makers], asyncio.Event()))
        await shared([1, 2], work, killed)
        # Cancelled it gives nothing back.
        await end_tasks([task])
        await shared([3], work)


async def test_a_duty_that_is_given_back_is_stopped_before_another_has_it(bus: Bus) -> None:
    first, second = Work(), Work()
    first.stop_s = 0.3
    async with owning(bus, first):
        await shared([3], first)
        async with owning(bus, second):
            await until(lambda: second.held, 3)
            assert not first.held & second.held
