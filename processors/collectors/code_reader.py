"""The collector `code_memory`: what a node's `ark.db` holds, published as a whole whenever it changed.

Delivery: the newest state at least; states in between may never be told, as they may never have been read. After a
start, and whenever the bus lost it, the state is published again. What another file said stays until the one that
replaced it is known completely.
"""

import asyncio
from pathlib import Path
from typing import Any, Final, cast

from processors.collectors.code_memory import COLLECTOR, Values
from processors.collectors.code_scanner import CodeScanner
from processors.collectors.database import Database, keep_reading
from processors.collectors.delivery import Delivery
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus
from schemas.events import MAX_ID, CodeState, Event, NodeSeen, Rejected

__all__ = ["CodeCollector"]

_SEEN_S: Final = 60.0


class CodeCollector:
    """Watches one node's `ark.db`. `partition`: the node's own."""

    def __init__(self, bus: Bus, path: Path, node: str, partition: str, status: SourceStatus) -> None:
        self._path = path
        self._node = node
        self._clock = bus.clock
        self._status = status
        self._delivery = Delivery(bus, f"{COLLECTOR}:{node}", [partition], status)
        # Whether the cursor was read.
        self._resumed = False
        # What is published; None while the bus holds nothing of this process.
        self._published: Values | None = None
        # Whether what is published is of an earlier file or process, and stays until this file is known.
        self._outdated = False
        # When all was last known that was committed, ms; 0 before the first piece was read.
        self._known_at = 0
        # Loop time, seconds, when the node is to be told as seen.
        self._seen_at = 0.0

    async def run(self) -> None:
        """Collect until cancelled. Cancellation: a state may be published or not; the next start publishes it again."""
        async with self._delivery.held():
            await keep_reading(self._path, self._follow, status=self._status, clock=self._clock)

    async def _follow(self, database: Database) -> None:
        self._outdated = self._published is not None
        scanner = CodeScanner(database)
        try:
            while True:
                try:
                    await self._turn(scanner)
                    await scanner.rest()
                except CursorConflict as conflict:
                    self._resumed, self._published = False, None
                    await self._delivery.begin_again(conflict)
        finally:
            await scanner.close()

    async def _turn(self, scanner: CodeScanner) -> None:
        """Publish what is new after one more piece."""
        if not self._resumed:
            self._outdated = any((await self._delivery.resume()).values())
            self._resumed = True
            self._seen_at = 0.0
        await scanner.notice()
        await scanner.work()
        if scanner.caught_up or not self._known_at:
            self._known_at = self._clock.now_ms()
        await self._publish(scanner)
        self._status.detail = scanner.detail()
        trouble = scanner.trouble or (scanner.detail() if self._outdated else "")
        if trouble:
            self._status.failed(self._clock.now_ms(), trouble)
        else:
            await self._delivery.confirm(self._known_at)

    async def _publish(self, scanner: CodeScanner) -> None:
        await self._delivery.check()
        now = asyncio.get_running_loop().time()
        values = self._news(scanner)
        events = self._events(scanner, values, seen=now >= self._seen_at)
        if not events:
            return
        await self._delivery.send(SourceBatch(self._delivery.signature(), events))
        scanner.letters.clear()
        if values is not None:
            self._published, self._outdated = values, False
        if now >= self._seen_at:
            self._seen_at = now + _SEEN_S

    def _news(self, scanner: CodeScanner) -> Values | None:
        """The values, if they are to be published."""
        if self._outdated and not scanner.settled:
            return None
        values = scanner.values()
        unknown = not scanner.settled and all(value is None for value in values.values())
        return None if unknown or values == self._published else values

    def _events(self, scanner: CodeScanner, values: Values | None, *, seen: bool) -> list[Event]:
        ts = self._clock.now_ms()
        events: list[Event] = [NodeSeen(node=self._node, ts=ts, group="code")] if seen else []
        if values is not None:
            events.append(CodeState(node=self._node, ts=self._known_at, **cast("dict[str, Any]", values)))
        return events + [Rejected(ts=ts, collector=COLLECTOR, reason=letter[:MAX_ID]) for letter in scanner.letters]
