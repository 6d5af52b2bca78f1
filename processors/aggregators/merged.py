"""What all writers of merged streams share: one entry after the other, under a token."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from processors.aggregators.ownership import Fenced, Grant
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.script import Script
from processors.runtime.tasks import end_tasks
from processors.runtime.tracing import Trail
from schemas.positions import entry_id
from schemas.streams import writer_key

__all__ = ["APPEND_INTERVAL_S", "CHECK_S", "MergedWriter"]

APPEND_INTERVAL_S: Final = 0.005
"""No sooner than this after the last: under load more partials go into one entry."""

CHECK_S: Final = 30.0
"""How often the positions are compared with the streams that are read."""

_APPEND: Final = Script("append")


class MergedWriter(ABC):
    """The one writer of a merged stream, as long as its lease is held. A subclass says what is written.

    Delivery: an entry that was appended is there once. Ordering: n grows by one with each.
    """

    def __init__(self, bus: Bus, stream: str, kind: str, retention_ms: int, most: int) -> None:
        # Holds its lease, and how far it has come.
        self.meta_key = writer_key(stream)
        self._bus = bus
        self._stream = stream
        self._kind = kind
        self._retention_ms = retention_ms
        self._most = most
        self._reader = bus.reader()
        # What was read since the last append, of what is traced.
        self.trail = Trail("append")
        self._task: asyncio.Task[None] | None = None

    async def start(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        """Begin to write. `on_lost` is told why it cannot go on, once."""
        self._task = asyncio.create_task(self._run(grant, on_lost))
        self._bus.guard(self._task)

    async def stop(self) -> None:
        """Write no more. What was read and not appended is read again by the next writer."""
        if self._task is not None:
            await end_tasks([self._task])
        await self._reader.close()

    async def _run(self, grant: Grant, on_lost: Callable[[str], None]) -> None:
        try:
            await self.write(grant)
        except (Fenced, *BUS_FAILURES) as error:
            on_lost(str(error) or type(error).__name__)

    @abstractmethod
    async def write(self, grant: Grant) -> None:
        """Read and append until cancelled. Raises Fenced, redis-py's errors."""

    async def begun_anew(self, positions: Mapping[str, str]) -> dict[str, str]:
        """Of the streams at `positions` those that end before them, with the position at which to go on: the beginning.

        A commit begins a stream anew if somebody used up its ids; an XREAD from where we were is silent for ever.
        Raises redis-py's errors.
        """
        async with self._bus.client.pipeline(transaction=False) as pipe:
            for stream in positions:
                pipe.xinfo_stream(stream)
            answers = await pipe.execute(raise_on_error=False)
        # The newest id that there ever was: the newest entry may have been trimmed, or deleted. No answer, no stream.
        tops = {stream: answer for stream, answer in zip(positions, answers, strict=True) if isinstance(answer, dict)}
        return {
            stream: "0-0"
            for stream, info in tops.items()
            if entry_id(info["last-generated-id"]) < entry_id(positions[stream])
        }

    async def append(self, grant: Grant, bodies: Sequence[bytes], gathered: Mapping[str, str]) -> Grant:
        """Add one entry for each of `bodies`, and note up to which id each partition was gathered.

        Returns the grant with its new n. Raises Fenced: if another writer is at work; nothing was written. Raises
        redis-py's errors: it may or may not have been written.
        """
        args: list[Any] = [grant.token, grant.n, self._kind, self._bus.clock.now_ms(), self._retention_ms, self._most]
        tail: list[Any] = [len(bodies), *bodies, *chain.from_iterable(gathered.items())]
        with self.trail.step(stream=self._stream) as traceparent:
            keys = [self._stream, self.meta_key]
            status, *detail = await _APPEND.run(self._bus.client, keys, [*args, traceparent, *tail])
        self._bus.clock.sync(detail[-1])
        if status != b"OK":
            raise Fenced(f"{self._stream}: {status.decode().lower()}")
        return grant._replace(n=detail[0])
