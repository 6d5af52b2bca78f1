"""How far the bus was read, for those who have to wait for it."""

import asyncio
from typing import Final

from processors.runtime.tasks import is_set_within

__all__ = ["READY_S", "Progress"]

READY_S: Final = 5.0
"""How long those who come back wait for a gateway that has not read the bus yet."""


class Progress:
    """Told by who reads the bus."""

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._moved = asyncio.Event()

    def note_ready(self) -> None:
        """The bus was read for the first time."""
        self._ready.set()

    def note_moved(self) -> None:
        """More of it was read."""
        self._moved.set()
        self._moved.clear()  # who waits was woken

    async def until_ready(self) -> None:
        """Return once the bus was read for the first time, or could not be read for `READY_S`. Cancellation: safe.

        A gateway that has just been started would tell everybody who comes back to begin anew.
        """
        await is_set_within(self._ready, READY_S)

    async def until_moved(self) -> None:
        """Return when more was read. Cancellation: safe."""
        await self._moved.wait()
