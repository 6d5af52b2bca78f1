"""What the tests of the collectors share: running one, and reading what it published."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from processors.collectors import publisher
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus, Entry
from processors.runtime.script import Script
from processors.runtime.tasks import end_tasks
from schemas import codec, streams
from schemas.events import Event, subject

_PUBLISH = Script("publish")

__all__ = ["LIVE", "FailingScript", "new_status", "published", "running", "until"]

LIVE = streams.live_partitions(16)


async def until(condition: Callable[[], Awaitable[Any]] | Callable[[], Any], timeout_s: float = 8) -> Any:
    """What `condition` returns once that is true."""
    last = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                last = condition()
                if asyncio.iscoroutine(last):
                    last = await last
                if last:
                    return last
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"it did not come true, last: {last!r}") from None


def new_status(collector: str = "peers") -> SourceStatus:
    return SourceStatus(collector, "peers" if collector == "peers" else "sync", node="n", changed=lambda status: None)


async def published(bus: Bus, partitions: Sequence[str] = tuple(LIVE)) -> list[Event]:
    """All events on the bus; each is checked to be in its own partition. Order holds within a partition."""
    events: list[Event] = []
    for partition in partitions:
        for _, fields in cast("list[Entry]", await bus.client.xrange(streams.events_key(partition))):
            batch = codec.decode_events(fields)
            assert not batch.rejected
            if len(partitions) > 1:
                assert {streams.partition_of(subject(event), len(partitions)) for event in batch.events} <= {partition}
            events += batch.events
    return events


@contextlib.asynccontextmanager
async def running(run: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """A collector that runs for as long as the block, and must not have failed."""
    task = asyncio.create_task(run)
    try:
        yield task
    finally:
        failed = task.done()
        await end_tasks([task])
        if not task.cancelled():
            task.result()
        assert not failed, "the collector ended by itself"


class FailingScript:
    """The publish script, on a connection that is lost for good after `allowed` runs of it."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.dead = asyncio.Event()

    async def run_many(self, client: Redis, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        answers: list[Any] = []
        for call in calls:
            if self.allowed == 0:
                self.dead.set()
                raise RedisConnectionError("killed")
            self.allowed -= 1
            answers += await _PUBLISH.run_many(client, [call])
        return answers

    @contextlib.contextmanager
    def installed(self) -> Iterator["FailingScript"]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publisher, "_PUBLISH", self)
            yield self
