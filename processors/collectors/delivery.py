"""Delivery: a publisher that does not give up while the bus is away or full.

A batch is tried, unchanged, until every partition has it: the publisher recognises what was taken already. Only a
cursor that somebody else moved ends it; the collector then begins again with what the bus holds.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, TypeVar

from processors.collectors.backoff import Backoff
from processors.collectors.publisher import BusFull, Publisher, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from schemas import streams
from schemas.events import Rejected

__all__ = ["Delivery", "ever_published", "until_bus_answers"]

# A refused script (no disk space, read-only replica) is the operator's to mend; we go on when it is.
_RETRIED: Final = (*BUS_FAILURES, BusFull)
_LEAST_S: Final = 0.05
_MOST_S: Final = 2.0

_logger = get_logger("collectors")

T = TypeVar("T")


async def until_bus_answers(what: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns, once the bus lets it. Logs once why it waits, and that it goes on.

    Cancellation: as safe as `attempt`.
    """
    backoff = Backoff(random.random, least_s=_LEAST_S, most_s=_MOST_S)
    waiting = ""
    while True:
        try:
            result = await attempt()
        except _RETRIED as error:
            clause = f"{type(error).__name__}: {error}"[:200]
            if type(error).__name__ != waiting:
                waiting = type(error).__name__
                _logger.warning("%s: waiting for the bus: %s", what, clause)
            await asyncio.sleep(backoff.next_s())  # nothing announces a bus that comes back, or has room again
        else:
            if waiting:
                _logger.info("%s: the bus answers again", what)
            return result


async def ever_published(bus: Bus, partitions: Sequence[str], collectors: Sequence[str]) -> set[str]:
    """Those of `collectors` that have been live on this bus: they have a cursor in some partition.

    Waits while the bus is away. Cancellation: safe.
    """

    async def read() -> list[list[bytes | None]]:
        async with bus.client.pipeline(transaction=False) as pipe:
            for partition in partitions:
                pipe.hmget(streams.cursors_key(partition), list(collectors))
            return await pipe.execute()

    answers = await until_bus_answers("collectors", read)
    return {name for answer in answers for name, cursor in zip(collectors, answer, strict=True) if cursor is not None}


class Delivery:
    """Publishes one collector's batches, and keeps the counts of its status."""

    def __init__(self, bus: Bus, collector: str, partitions: Sequence[str], status: SourceStatus) -> None:
        self._publisher = Publisher(bus, collector, partitions)
        self._collector = collector
        self._status = status
        # Who writes the cursors: another name after every resume, so that a batch of an earlier life that is still
        # under way can never be taken for one of this.
        self._author = ""
        # Batches since the resume.
        self._batches = 0

    async def resume(self) -> dict[str, str]:
        """The cursor in every partition ("" if none), from which the collector goes on. Cancellation: safe."""
        cursors = await until_bus_answers(self._collector, self._publisher.read_cursors)
        self._author = uuid.uuid4().hex[:8]
        self._batches = 0
        return cursors

    async def digests(self) -> dict[str, bytes]:
        """The digests of all published values. Cancellation: safe."""
        return await until_bus_answers(self._collector, self._publisher.read_digests)

    def signature(self) -> str:
        """A text that no other batch of this source carries."""
        self._batches += 1
        return f"{self._author}-{self._batches}"

    async def send(self, batch: SourceBatch, only: Collection[str] | None = None) -> None:
        """Publish `batch`, waiting while the bus is away or full. `only`: see `Publisher.publish`.

        Raises CursorConflict: if another collector of this source was here. Cancellation: the batch may be in some
        partitions; the next resume finds out.
        """

        async def attempt() -> None:
            await self._publisher.publish(batch, only)

        await until_bus_answers(self._collector, attempt)
        self._status.published = self._publisher.published
        self._status.rejected += sum(isinstance(event, Rejected) for event in batch.events)

    async def verify(self) -> None:
        """Raises CursorConflict: if the bus does not hold what was published. Cancellation: safe."""
        await until_bus_answers(self._collector, self._publisher.verify)
