"""The collectors `simulator` and `memory_simulator`: each publishes a simulated half while there is no real one.

Their partition is their own, never mixed with live ones; whether one runs is decided by `activation` from ARK_SIMULATE
and what `ark:sources` tells of the live collectors of its half, of this process or of another.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Protocol, TypeAlias

from processors.collectors.activation import Activation, Half
from processors.collectors.delivery import Delivery, until_bus_answers
from processors.collectors.publisher import CursorConflict, SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime.bus import Bus, Entry
from processors.runtime.logging import get_logger
from processors.runtime.tasks import is_set_within
from schemas import codec, streams
from schemas.errors import SchemaError
from schemas.events import Event

__all__ = ["Making", "SimulatedHalf", "Simulator"]

_logger = get_logger("collectors")


class SimulatedHalf(Protocol):
    """What makes the events of a half up."""

    def next_deadline(self) -> int:
        """When the next thing happens, ms."""
        ...

    def step(self, now: int) -> list[Event]:
        """What happened up to `now` (ms), at most one batch of it."""
        ...


Making: TypeAlias = Callable[[Callable[[], float], int], SimulatedHalf]
"""A new simulation, from random numbers in [0, 1) and the time (ms)."""


class Simulator:
    """Simulates `half` as `mode` (ARK_SIMULATE) says, under the name that `status` has.

    `ever_live`: that half was live on this bus.
    """

    def __init__(
        self, bus: Bus, status: SourceStatus, half: Half, make: Making, *, mode: str, seed: int, ever_live: bool
    ) -> None:
        self._bus = bus
        self._clock = bus.clock
        self._status = status
        self._make = make
        self._delivery = Delivery(bus, status.collector, [streams.SIMULATED], status)
        self._activation = Activation(half, mode, ever_live=ever_live, started=bus.clock.now_ms())
        self._random = random.Random(seed).random  # noqa: S311  - a half that can be repeated, not a secret
        # None while nothing is simulated.
        self._simulation: SimulatedHalf | None = None
        # Set when a source said something.
        self._heard = asyncio.Event()
        # Whether something could not be read when it last brought anything.
        self._unreadable = False

    async def run(self) -> None:
        """Simulate, or wait for the need to, until cancelled. Cancellation: safe."""
        after = await until_bus_answers(self._status.collector, self._newest)
        following = await self._bus.subscribe(streams.SOURCES, after, self._hear)
        try:
            async with self._delivery.held():
                await self._follow()
        finally:
            await following.stop()

    async def _follow(self) -> None:
        while True:
            try:
                await self._turn()
                await self._wait()
            except CursorConflict as conflict:
                self._simulation = None
                await self._delivery.begin_again(conflict)

    async def _newest(self) -> str:
        newest = await self._bus.newest(streams.SOURCES)
        return newest[0].decode() if newest else "0-0"

    async def _hear(self, entries: list[Entry]) -> None:
        failure: SchemaError | None = None
        for _, fields in entries:
            try:
                self._activation.observe(codec.decode_source(fields), self._clock.now_ms())
            except SchemaError as error:
                failure = error
        if failure is not None and not self._unreadable:
            # Whoever writes rubbish writes much of it.
            name = self._status.collector
            _logger.warning("%s: what cannot be read of %s is left out: %s", name, streams.SOURCES, failure)
        self._unreadable = failure is not None
        self._heard.set()

    async def _turn(self) -> None:
        """Publish what is due, or rest."""
        now = self._clock.now_ms()
        if not self._activation.active(now):
            self._simulation = None
            self._status.resting(now, self._activation.why_not())
            return
        if self._simulation is None:
            await self._delivery.resume()
            self._simulation = self._make(self._random, now)
        await self._delivery.check()
        events = self._simulation.step(now)
        if events:
            await self._delivery.send(SourceBatch(self._delivery.signature(), events))
        self._status.simulating(now)

    async def _wait(self) -> None:
        """Until a source says something, or time alone changes something."""
        now = self._clock.now_ms()
        due = self._simulation.next_deadline() if self._simulation else self._activation.next_deadline(now)
        await is_set_within(self._heard, None if due is None else (due - now) / 1000)
        self._heard.clear()
