"""The observer: follows what the sources say, and keeps when the peers were watched."""

from typing import Final, cast

from processors.aggregators.watch import Watch
from processors.runtime.bus import Bus, Entry, Subscription
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.errors import BusDown
from processors.runtime.logging import get_logger
from schemas import codec, streams
from schemas.errors import SchemaError
from schemas.positions import entry_id

__all__ = ["Observer"]

_READ_BACK: Final = 10_000

_logger = get_logger("aggregators")


class Observer:
    """One for all partitions of a process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.watch = Watch()
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Learn what was watched as far back as the sources' words are kept, and follow them from there.

        Raises BusDown: if the bus does not answer. Cancellation: safe.
        """
        try:
            entries = cast("list[Entry]", await self._bus.client.xrevrange(streams.SOURCES, count=_READ_BACK))
        except BUS_FAILURES as error:
            raise BusDown(f"the bus does not answer: {error}") from error
        await self._hear(entries[::-1])
        after = entries[0][0].decode() if entries else "0-0"
        self._subscription = await self._bus.subscribe(streams.SOURCES, after, self._hear)

    async def stop(self) -> None:
        """Follow no more."""
        if self._subscription is not None:
            await self._subscription.stop()

    async def _hear(self, entries: list[Entry]) -> None:
        now = self._bus.clock.now_ms()
        for text, fields in entries:
            try:
                # A foreign hand may have chosen an id that is still to come.
                self.watch.hear(min(entry_id(text).ms, now), codec.decode_source(fields))
            except SchemaError as error:
                _logger.debug("an entry of %s is left out: %s", streams.SOURCES, error)  # the merger tells of it
