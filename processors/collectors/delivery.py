"""Delivery: a publisher that does not give up while the bus is away or full.

A batch is tried, unchanged, until every partition has it: the publisher recognises what was taken already. Only a
cursor that somebody else moved ends it; the collector then begins again with what the bus holds. Of two collectors of
one source the one that started last works it, the other stands by until that one ends.
"""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

from processors.collectors.backoff import Backoff
from processors.collectors.lease import Lease
from processors.collectors.publisher import BusFull, CursorConflict, Publisher, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES, in_one_trip
from processors.runtime.logging import get_logger
from processors.runtime.tracing import source_step
from schemas import streams
from schemas.events import Rejected

__all__ = ["Delivery", "ever_published", "until_bus_answers"]

# A refused script (no disk space, read-only replica) is the operator's to mend; we go on when it is.
_RETRIED: Final = (*BUS_FAILURES, BusFull)
_LEAST_S: Final = 0.05
_MOST_S: Final = 2.0
_CHECK_S: Final = 5.0
_STAND_BY_S: Final = 1.0

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
            if type(error).__name__ != waiting:
                waiting = type(error).__name__
                _logger.warning("%s: waiting for the bus: %s: %s", what, waiting, str(error)[:200])
            await asyncio.sleep(backoff.next_s())  # nothing announces a bus that comes back, or has room again
        else:
            if waiting:
                _logger.info("%s: the bus answers again", what)
            return result


async def ever_published(bus: Bus, partitions: Sequence[str], collectors: Sequence[str]) -> set[str]:
    """Those of `collectors` that have been live on this bus: they have a cursor in some partition.

    Waits while the bus is away. Cancellation: safe.
    """
    asked = [("HMGET", streams.cursors_key(partition), *collectors) for partition in partitions]
    answers = await until_bus_answers("collectors", partial(in_one_trip, bus.client, asked))
    return {name for answer in answers for name, cursor in zip(collectors, answer, strict=True) if cursor is not None}


class Delivery:
    """Publishes one collector's batches, keeps its status, and shares the source with other collectors of it."""

    def __init__(self, bus: Bus, collector: str, partitions: Sequence[str], status: SourceStatus) -> None:
        self._clock = bus.clock
        self._publisher = Publisher(bus, collector, partitions)
        self._lease = Lease(bus, collector, status.node)
        self._collector = collector
        self._status = status
        self._backoff = Backoff(random.random)
        # Who writes the cursors: another name after every resume, so that a batch of an earlier life that is still
        # under way can never be taken for one of this. Empty before the first.
        self._author = ""
        # Batches since the resume.
        self._batches = 0
        # Loop time, seconds, when the bus is to be asked next whether it holds what was published.
        self._check_at = 0.0

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """While the collector runs; at its end others may have the source."""
        try:
            yield
        finally:
            await self._lease.free()

    async def resume(self) -> dict[str, str]:
        """The cursor in every partition ("" if none), from which the collector goes on.

        Raises CursorConflict: if another collector works this source; the first time it is taken from whoever does.
        Cancellation: safe.
        """
        if self._author:
            await self._keep()
        else:
            await until_bus_answers(self._collector, self._lease.take)
        cursors = await until_bus_answers(self._collector, self._publisher.read_cursors)
        self._author = uuid.uuid4().hex[:8]
        self._batches = 0
        self._status.published_at = (streams.cursors_key(self._publisher.partitions[0]), self._collector)
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
        with source_step(self._collector, len(batch.events)) as traceparent:
            await until_bus_answers(self._collector, partial(self._try, batch, only, traceparent))
        self._status.published = self._publisher.published
        self._status.rejected += sum(isinstance(event, Rejected) for event in batch.events)

    async def _try(self, batch: SourceBatch, only: Collection[str] | None, traceparent: str) -> None:
        """Try once to publish `batch`, and count what comes of it."""
        tally, began = self._status.tally, time.monotonic()
        try:
            await self._publisher.publish(batch, only, traceparent)
        except (CursorConflict, *_RETRIED) as error:
            why = "conflict" if isinstance(error, CursorConflict) else "full" if isinstance(error, BusFull) else "bus"
            tally.refusals[why] += 1
            raise
        tally.took.observe(time.monotonic() - began)

    async def check(self) -> None:
        """See from time to time whether the source is ours, and the bus holds what was published.

        Raises CursorConflict: if not. Not while a batch is to be tried again. Cancellation: safe.
        """
        now = asyncio.get_running_loop().time()
        if now < self._check_at and not self._status.doubted:
            return
        await self._keep()
        await until_bus_answers(self._collector, self._publisher.verify)
        self._check_at = now + _CHECK_S
        self._status.doubted = False
        self._backoff.reset()

    async def confirm(self, as_of: int | None = None) -> None:
        """All that the source held at `as_of` (ms, None: now) is published: it is live.

        Raises CursorConflict: if the bus does not hold it. Cancellation: safe.
        """
        await self.check()
        self._status.answered(self._clock.now_ms() if as_of is None else as_of)

    async def begin_again(self, conflict: CursorConflict) -> None:
        """Tell of a conflict, and wait until it is our turn: while another collector works the source, or a moment.

        Cancellation: safe.
        """
        other = await until_bus_answers(self._collector, self._lease.other)
        if other is None:
            # What the bus shows is not what the source holds until it is published again.
            _logger.info("%s: %s", self._collector, conflict)
            self._status.failed(self._clock.now_ms(), "publishing again: the bus does not hold what was published")
            await asyncio.sleep(self._backoff.next_s())  # whatever moved the cursors may move them again
        while other is not None:
            self._status.standing_by(self._clock.now_ms(), other)
            await asyncio.sleep(_STAND_BY_S)  # nothing announces a collector that was killed
            other = await until_bus_answers(self._collector, self._lease.other)

    async def _keep(self) -> None:
        other = await until_bus_answers(self._collector, self._lease.other)
        if other is not None:
            raise CursorConflict(f"the collector of {other[:80]} works this source")
