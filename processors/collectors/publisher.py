"""The publisher: from a collector to the event streams, without loss and without double.

Delivery: exactly once. A collector names how far its source has been published (the cursor) before and after a batch;
each partition's script compares and sets it together with the events. Ordering: the events of one batch keep their
order within a partition. Idempotency: a batch that is sent again, because the answer was lost, is recognised.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from redis.exceptions import OutOfMemoryError

from processors.runtime.bus import Bus
from processors.runtime.connection import in_one_trip
from processors.runtime.script import Script
from schemas import codec, streams
from schemas.events import MAX_BATCH_EVENTS, Event, subject

__all__ = ["BusFull", "CursorConflict", "Publisher", "SourceBatch"]

_MAX_STREAM_BYTES: Final = 8 << 20

_PUBLISH: Final = Script("publish")

T = TypeVar("T")


class CursorConflict(Exception):
    """Another collector of this source was here, or a reply was lost: read all cursors and begin there."""


class BusFull(Exception):
    """The bus refuses more: keep the batch, wait, try again."""


@dataclass(slots=True)
class SourceBatch:
    """What one reading of a source gave, for one or several partitions."""

    # The source's cursor after this batch; ordering and meaning are the collector's.
    cursor: str
    events: list[Event] = field(default_factory=list)
    # For sources that are no log: digest of the published value per key, None for a key that is gone.
    digests: dict[str, bytes | None] = field(default_factory=dict)


class Publisher:
    """Publishes the batches of one collector into `partitions`: all live ones, or the only one that it is to use."""

    def __init__(self, bus: Bus, collector: str, partitions: Sequence[str]) -> None:
        self._bus = bus
        self._collector = collector
        self.partitions = tuple(partitions)
        # Cursor of this source in each partition, as this process knows it.
        self._cursors: dict[str, str] = {}
        # Events published since the start.
        self.published = 0

    async def read_cursors(self) -> dict[str, str]:
        """The source's cursor in every partition, "" where it never published.

        To be called before the first batch and after a CursorConflict. Raises redis-py's errors.
        """
        self._cursors = await self._stored()
        return dict(self._cursors)

    async def verify(self) -> None:
        """Check that the cursors are still where this process left them: a wiped server says nothing by itself.

        Raises CursorConflict: if one is not. Raises redis-py's errors. Not while a batch is to be tried again.
        """
        for partition, cursor in (await self._stored()).items():
            if cursor != self._cursors[partition]:
                raise CursorConflict(f"partition {partition}: cursor is {cursor[:80]!r}")

    async def read_digests(self) -> dict[str, bytes]:
        """The digests of all published values, by key. Raises redis-py's errors."""
        digests: dict[str, bytes] = {}
        for partition in self.partitions:
            key = streams.published_key(partition, self._collector)
            async for name, digest in self._bus.client.hscan_iter(key, count=1_000):
                digests[name.decode("utf-8", "surrogateescape")] = digest
        return digests

    async def publish(self, batch: SourceBatch, only: Collection[str] | None = None, traceparent: str = "") -> None:
        """Publish `batch`, of at most `MAX_BATCH_EVENTS` events, into every partition that does not have it yet.

        `only`: leave the other partitions as they are; they have these events already, from before a restart.
        `traceparent` goes with the events; "" if they are not traced.
        Partitions without events of it advance their cursor too. Raises CursorConflict: if a partition's cursor is
        neither what this process knows nor the batch's own; nothing of the batch went into that partition. Raises
        BusFull: if a partition refused. Raises redis-py's errors. After the last two the same batch may be tried
        again: partitions that took it are left out. Cancellation: the batch may be in some partitions;
        `read_cursors` tells.
        """
        assert len(batch.events) <= MAX_BATCH_EVENTS, "the collector cuts its batches"
        chosen = self.partitions if only is None else only
        pending = [partition for partition in chosen if self._cursors[partition] != batch.cursor]
        events = self._shares((subject(event), event) for event in batch.events)
        digests = self._shares((key, (key, value)) for key, value in batch.digests.items())
        ts = self._bus.clock.now_ms()
        calls = [
            self._call(partition, batch.cursor, ts, events.get(partition, []), digests.get(partition, []))
            for partition in pending
        ]
        if traceparent:
            calls = [(keys, [*args, traceparent]) for keys, args in calls]
        answers = await _PUBLISH.run_many(self._bus.client, calls) if calls else []
        self._settle(batch, pending, events, answers)

    def _settle(
        self, batch: SourceBatch, pending: Sequence[str], events: Mapping[str, list[Event]], answers: Sequence[Any]
    ) -> None:
        """Take note of what each partition said, all of it, before the first refusal is raised."""
        refusals: list[Exception] = []
        for partition, answer in zip(pending, answers, strict=True):
            if isinstance(answer, Exception):
                full = isinstance(answer, OutOfMemoryError)
                refusals.append(BusFull(f"partition {partition}: the server's memory is full") if full else answer)
                continue
            status, detail, server_ms = answer
            self._bus.clock.sync(server_ms)
            if status == b"OK" or (status == b"CONFLICT" and detail.decode() == batch.cursor):
                # A conflict with our own cursor: the batch is there, only its answer was lost on the way.
                self._cursors[partition] = batch.cursor
                self.published += len(events.get(partition, ()))
            elif status == b"FULL":
                refusals.append(BusFull(f"partition {partition}: the event stream holds {detail} bytes"))
            else:
                refusals.append(CursorConflict(f"partition {partition}: cursor is {detail.decode()[:80]!r}"))
        # A conflict outweighs the rest: the collector must read all cursors again, whatever else was refused.
        refusals.sort(key=lambda error: not isinstance(error, CursorConflict))
        if refusals:
            raise refusals[0]

    async def _stored(self) -> dict[str, str]:
        asked = [("HGET", streams.cursors_key(partition), self._collector) for partition in self.partitions]
        answers = await in_one_trip(self._bus.client, asked)
        return {
            partition: "" if answer is None else answer.decode()
            for partition, answer in zip(self.partitions, answers, strict=True)
        }

    def _shares(self, items: Iterable[tuple[str, T]]) -> Mapping[str, list[T]]:
        """What each partition gets: every item goes where the key before it belongs."""
        shares: dict[str, list[T]] = defaultdict(list)
        for key, item in items:
            shares[self.partitions[int(streams.partition_of(key, len(self.partitions)))]].append(item)
        return shares

    def _call(
        self, partition: str, cursor: str, ts: int, events: list[Event], digests: list[tuple[str, bytes | None]]
    ) -> tuple[list[str], list[str | int | bytes]]:
        keys = [
            streams.events_key(partition),
            streams.cursors_key(partition),
            streams.published_key(partition, self._collector),
            streams.meta_key(partition),
        ]
        body = codec.encode(events) if events else b""
        named = [(key.encode("utf-8", "surrogateescape"), value) for key, value in digests]
        sets = [item for key, value in named if value is not None for item in (key, value)]
        removals = [key for key, value in named if value is None]
        args: list[str | int | bytes] = [self._collector, self._cursors[partition], cursor, _MAX_STREAM_BYTES, ts, body]
        return keys, [*args, len(sets) // 2, *sets, len(removals), *removals]
