"""The lease of a source: which of several collectors works it, while the others stand by.

The cursors alone keep the counting exact; without a lease two collectors would go on taking the source from each other.
Whoever starts last has it: that is the one that an operator started again, or put in the place of another.
"""

import asyncio
import contextlib
import uuid
from typing import Final, Literal

from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from processors.runtime.script import Script
from schemas import streams

__all__ = ["LEASE_MS", "Lease"]

LEASE_MS: Final = 15_000
"""How long a collector that was killed keeps others standing by, ms; it renews its lease every five seconds."""

_FREE_S: Final = 1.0

_HOLD: Final = Script("hold")

_logger = get_logger("collectors")


class Lease:
    """One collector's claim on its source."""

    def __init__(self, bus: Bus, collector: str, node: str) -> None:
        self._bus = bus
        self._collector = collector
        # Who we are: the node, and what tells two processes of it apart.
        self._name = f"{node} {uuid.uuid4().hex[:12]}"

    async def take(self) -> None:
        """Have the source, whoever had it. Raises redis-py's errors."""
        await self._ask("take")

    async def other(self) -> str | None:
        """Renew the lease, or have it if nobody has: the node of the one who has it instead; None if we have it.

        Raises redis-py's errors.
        """
        holder = await self._ask("keep")
        return None if holder == self._name else holder.rpartition(" ")[0]

    async def free(self) -> None:
        """Let go of the source, within a second at most: another need not wait for the lease to end."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FREE_S):
                    await self._ask("free")
        except BUS_FAILURES as error:
            _logger.debug("%s: the lease is not given back, it ends by itself: %s", self._collector, error)

    async def _ask(self, what: Literal["take", "keep", "free"]) -> str:
        holder = await _HOLD.run(self._bus.client, [streams.lease_key(self._collector)], [self._name, LEASE_MS, what])
        return bytes(holder).decode("utf-8", "surrogateescape")
