"""The owner with small duties on a real bus: what is lost is taken up again, whatever else goes on meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

import pytest
from redis.exceptions import ResponseError

from processors.aggregators.owner import own
from processors.aggregators.ownership import LEASE_MS, Grant, acquire, free, join, renew
from processors.aggregators.tally import Tally
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
    task = asyncio.create_task(own(bus, [{key: lambda key=key: SmallDuty(work, key) for key in KEYS}], stop, Tally()))  # type: ignore[misc]
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
        task = asyncio.create_task(own(bus, [makers], asyncio.Event(), Tally()))
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


class Workers:
    """Owners of the same duties that come, end in order, and are killed."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        # What each that runs does, its end, and its task.
        self.running: list[tuple[Work, asyncio.Event, asyncio.Task[None]]] = []

    def come(self) -> None:
        work, stop = Work(), asyncio.Event()
        makers = {key: lambda key=key: SmallDuty(work, key) for key in KEYS}
        self.running.append((work, stop, asyncio.create_task(own(self.bus, [makers], stop, Tally()))))

    async def end(self, number: int) -> None:
        _, stop, task = self.running.pop(number)
        stop.set()
        await task

    async def kill(self, number: int) -> None:
        # Cancelled it gives nothing back.
        await end_tasks([self.running.pop(number)[2]])

    async def share(self) -> None:
        """Wait until the duties are spread evenly, each held once."""
        base, left = divmod(len(KEYS), len(self.running))
        counts = [base] * (len(self.running) - left) + [base + 1] * left
        await shared(counts, *(work for work, _, _ in self.running))


@pytest.mark.parametrize("seed", [1, 2])
async def test_in_whatever_order_up_to_five_come_end_and_die_the_duties_are_spread_evenly(bus: Bus, seed: int) -> None:
    bus.failure = asyncio.get_running_loop().create_future()
    chance, workers = Random(seed), Workers(bus)
    for count in (1, 3, 2, 5, 1):
        while len(workers.running) < count:
            workers.come()
        while len(workers.running) > count:
            await chance.choice([workers.end, workers.kill])(chance.randrange(len(workers.running)))
        await workers.share()
    await workers.end(0)


async def test_leases_that_ran_out_while_the_server_stood_still_are_kept_if_nobody_else_took_them(bus: Bus) -> None:
    work = Work()
    async with owning(bus, work):
        await work.until(dict.fromkeys(KEYS, 1))
        before = dict(work.tokens)
        await bus.client.client_pause(1_500)

        async def kept() -> bool:
            return not await free(bus, KEYS)

        await until(kept)
        assert work.held == set(KEYS)
        assert work.tokens == before


async def test_what_another_took_in_the_meantime_is_taken_up_again_when_that_one_goes(bus: Bus) -> None:
    work = Work()
    async with owning(bus, work):
        await work.until(dict.fromkeys(KEYS, 1))
        await bus.client.hset(KEYS[1], "lease_until", 1)
        [grant] = await acquire(bus, [KEYS[1]], "another")
        assert grant is not None
        # It neither renews its lease nor says that it runs.
        await work.until({KEYS[0]: 1, KEYS[1]: 2, KEYS[2]: 1})
    assert await renew(bus, {KEYS[1]: grant.token}) == [KEYS[1]]


async def test_the_duties_of_one_that_died_before_the_servers_clock_went_back_are_taken_up(bus: Bus) -> None:
    await join(bus, "dead")
    await acquire(bus, KEYS, "dead")
    ahead = bus.clock.now_ms() + 3_600_000
    await bus.client.zadd(streams.AGGREGATORS, {"dead": ahead})
    for key in KEYS:
        await bus.client.hset(key, "lease_until", ahead)
    work = Work()
    async with owning(bus, work):
        await shared([3], work)
