"""The registry of a process: the readers of all that it tells when a Prometheus asks, and the event loop's delay.

Bound: nothing is kept for who asks; a second ask reads anew.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Final

from processors.runtime.metrics import Histogram, Reader, Sample, gauge, histogram

__all__ = ["MetricsRegistry"]

_EVERY_S: Final = 1.0
_VERSION: Final = metadata.version("ark-pulse")

_BUILD: Final = gauge("build_info", "1, of the stage and the version that it runs", "stage", "version")
_LOOP: Final = histogram("event_loop_delay_seconds", "how late the event loop comes to what is due, seen once a second")


class MetricsRegistry:
    """What one process of `stage` tells."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._delay = Histogram()
        # The next look; None while the event loop is not watched.
        self._timer: asyncio.TimerHandle | None = None
        self._readers: list[Reader] = [self._read]
        # Asked before the readers are.
        self._askers: list[Callable[[], Awaitable[None]]] = []

    def add(self, reader: Reader, ask: Callable[[], Awaitable[None]] | None = None) -> None:
        """Have `reader` asked too. `ask` gets ready what it tells; it must have a deadline, and raise nothing."""
        self._readers.append(reader)
        if ask is not None:
            self._askers.append(ask)

    async def samples(self) -> list[Sample]:
        """Everything that is to be told now. Cancellation: safe."""
        await asyncio.gather(*(ask() for ask in self._askers))
        return [sample for reader in self._readers for sample in reader()]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the event loop, which must be running, is watched."""
        self._wait()
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wait(self) -> None:
        # Not the loop's time, which stands still while a callback runs.
        due_s = time.monotonic() + _EVERY_S
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._look, due_s)

    def _look(self, due_s: float) -> None:
        self._delay.observe(max(time.monotonic() - due_s, 0.0))
        self._wait()

    def _read(self) -> Iterator[Sample]:
        yield _BUILD.of(1, self._stage, _VERSION)
        yield _LOOP.of(self._delay)
