"""The list `sync_events`: what is pushed onto it, and what is told of it on the bus."""

import json
from collections import Counter

from redis.asyncio import Redis

from processors.collectors.sync_reader import SyncCollector
from processors.runtime.bus import Bus
from schemas.events import Event, Rejected, SyncIn, SyncOut
from tests.collectors.helpers import LIVE, new_status, published, until


def item(number: int, ts: int) -> str:
    return json.dumps({"timestamp": ts, "source": f"s{number % 7}", "target": f"t{number % 5}", "bytes": number})


async def push(ark: Redis, bus: Bus, *numbers: int, age_ms: int = 0) -> None:
    await ark.lpush("sync_events", *(item(number, bus.clock.now_ms() - age_ms) for number in numbers))


def numbers(events: list[Event]) -> tuple[Counter[int], int]:
    """How often each sync was told to its source, and how many were told to their targets."""
    sent = Counter(event.bytes for event in events if isinstance(event, SyncOut))
    return sent, sum(isinstance(event, SyncIn) for event in events)


def once(*ranges: range) -> tuple[Counter[int], int]:
    every = Counter(number for range_ in ranges for number in range_)
    return every, every.total()


async def arrived(bus: Bus, expected: tuple[Counter[int], int]) -> None:
    async def enough() -> bool:
        sent, received = numbers(await published(bus))
        return sent.total() >= expected[0].total() and received >= expected[1]

    await until(enough)
    assert numbers(await published(bus)) == expected


def collector(bus: Bus, url: str) -> SyncCollector:
    return SyncCollector(bus, url, LIVE, new_status("sync_events"))


async def reasons(bus: Bus) -> list[str]:
    return [event.reason for event in await published(bus) if isinstance(event, Rejected)]


async def newest(ark: Redis, index: int = 0) -> bytes:
    [found] = await ark.lrange("sync_events", index, index)
    assert isinstance(found, bytes)
    return found


async def push_many(ark: Redis, bus: Bus, numbers: range) -> None:
    for start in numbers[::500]:
        await push(ark, bus, *range(start, min(start + 500, numbers.stop)))
