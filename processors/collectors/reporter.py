"""The reporter: tells the bus what each source of this process says of itself.

Delivery: every change at once, and all of them every five seconds as a heartbeat; while the bus is away only the
newest state of each source is kept. Ordering: that of the changes of one source. Repeating a state does no harm.
"""

import asyncio
import contextlib
import logging
import random
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Final

from processors.collectors.backoff import Backoff
from processors.collectors.status import STOPPED, SourceStatus
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES, in_one_trip
from processors.runtime.logging import get_logger
from processors.runtime.metrics import Sample
from processors.runtime.tasks import is_set_within
from schemas import codec, streams
from schemas.metrics import Group

__all__ = ["HEARTBEAT_S", "Reporter"]

HEARTBEAT_S: Final = 5.0
"""How often every source is reported, whether it changed or not."""

_MAX_ENTRIES: Final = 10_000
_FAREWELL_S: Final = 1.0
# Most lines of a source, and within how long.
_MOST_LINES: Final = 8
_LINES_WITHIN_S: Final = 60.0
_PROGRESS: Final = re.compile("[0-9]+ %")

_logger = get_logger("collectors")


class Reporter:
    """Writes `ark:sources` for the sources of one process."""

    def __init__(self, bus: Bus, node: str, retention_ms: int) -> None:
        self._bus = bus
        self._node = node
        self._retention_ms = retention_ms
        self._sources: list[SourceStatus] = []
        # Set by a change that is to be reported at once.
        self._wake = asyncio.Event()
        # Sources that changed since they were last written.
        self._pending: set[str] = set()
        # When the newest lines of each source were logged, seconds; and sources whose state is still to be logged.
        self._lines: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_MOST_LINES))
        self._unlogged: dict[str, SourceStatus] = {}
        # What was logged last of each source, but how far it was.
        self._said: dict[str, str] = {}

    def source(self, collector: str, group: Group, *, lived: bool = False) -> SourceStatus:
        """A new source of this process. `lived`: see `SourceStatus`."""
        status = SourceStatus(collector, group, node=self._node, changed=self._note, lived=lived)
        self._sources.append(status)
        return status

    def read(self) -> Iterator[Sample]:
        """What is told of all of them to a Prometheus."""
        for status in self._sources:
            yield from status.read()

    def _note(self, status: SourceStatus) -> None:
        self._log(status)
        self._pending.add(status.collector)
        self._wake.set()

    def _log(self, status: SourceStatus) -> None:
        """Log a source's state; that of one that changes all the time with a later heartbeat, so that the last is."""
        lines, now = self._lines[status.collector], time.monotonic()
        self._unlogged.pop(status.collector, None)
        said = _PROGRESS.sub("", f"{status.state} {status.reason}")
        if said == self._said.get(status.collector):
            return  # it only got on
        if len(lines) == _MOST_LINES and now - lines[0] < _LINES_WITHIN_S:
            self._unlogged[status.collector] = status
            return
        lines.append(now)
        self._said[status.collector] = said
        is_trouble = status.state == "stale" and status.reason != STOPPED
        reason = f": {status.reason}" if status.reason else ""
        level = logging.WARNING if is_trouble else logging.INFO
        _logger.log(level, "%s is %s%s", status.collector, status.state or "standing by", reason)

    async def run(self) -> None:
        """Report until cancelled. Cancellation: safe."""
        backoff = Backoff(random.random)
        loop = asyncio.get_running_loop()
        heartbeat_at = loop.time()
        while True:
            due = loop.time() >= heartbeat_at
            if await self._write(everything=due):
                backoff.reset()
                if due:
                    heartbeat_at = loop.time() + HEARTBEAT_S
                await is_set_within(self._wake, heartbeat_at - loop.time())
            else:
                await asyncio.sleep(backoff.next_s())  # nothing announces a bus that comes back

    async def close(self) -> None:
        """Say that every source stopped: once, and not for longer than a second. Cancellation: safe."""
        for status in self._sources:
            status.stopped(self._bus.clock.now_ms())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await self._write(everything=True)

    async def _write(self, *, everything: bool) -> bool:
        """Write the states that changed, or all of them. Returns whether the bus took them."""
        self._wake.clear()
        chosen: set[str] = set()
        try:
            if everything:
                for status in list(self._unlogged.values()):
                    self._log(status)
                await self._note_losses()
            chosen = {status.collector for status in self._sources} if everything else set(self._pending)
            reports = [report for status in self._sources if status.collector in chosen and (report := status.report())]
            if not reports:
                return True
            now = self._bus.clock.now_ms()
            self._pending -= chosen
            async with self._bus.client.pipeline(transaction=False) as pipe:
                for report in reports:
                    fields = codec.entry_fields("source", now, codec.encode(report))
                    pipe.xadd(streams.SOURCES, fields, maxlen=_MAX_ENTRIES, approximate=True)  # type: ignore[arg-type]
                pipe.xtrim(streams.SOURCES, minid=str(now - self._retention_ms), approximate=True)
                await pipe.execute()
        except BUS_FAILURES as error:
            self._pending |= chosen
            _logger.debug("%s is not written: %s", streams.SOURCES, error)
            return False
        return True

    async def _note_losses(self) -> None:
        """Doubt the live sources whose cursors are gone: a wiped bus says nothing by itself.

        Raises redis-py's errors.
        """
        live = [status for status in self._sources if status.state == "live" and status.published_at is not None]
        answers = await in_one_trip(self._bus.client, [("HEXISTS", *(status.published_at or ())) for status in live])
        lost = [status for status, there in zip(live, answers, strict=True) if not there]
        if lost:
            await self._bus.claim()
        for status in lost:
            status.lost(self._bus.clock.now_ms())
