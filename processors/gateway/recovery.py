"""Where clients begin that come back with positions."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from processors.gateway.channel import Channel, Cursor, Lost
from processors.gateway.group import Mark
from processors.gateway.history import History
from processors.gateway.hub import Hub
from processors.gateway.progress import Progress
from processors.gateway.subscriptions import Refused
from processors.runtime.clock import Clock
from schemas.errors import BadPosition
from schemas.positions import Position, RosterPosition, decode_position

__all__ = ["Recovery"]

_MAX_FOUND: Final = 256
_AHEAD_S: Final = 0.5


class Recovery:
    """Finds the cursors of positions. Those who come back to one share its cursor, and so what leads on from it."""

    def __init__(self, hub: Hub, history: History, progress: Progress, clock: Clock) -> None:
        self._hub = hub
        self._history = history
        self._progress = progress
        self._clock = clock
        # Cursors by channel and text, the newest last.
        self._found: OrderedDict[tuple[str, str], Cursor] = OrderedDict()

    async def begin(self, names: Iterable[str], since: Mapping[str, str]) -> tuple[dict[str, Mark], list[Refused]]:
        """Where a client begins in each channel of `names`, and which of `since` are no positions.

        A position that cannot be gone on from begins with a reset. Cancellation: safe.
        """
        if since:
            await self._progress.until_ready()
        marks: dict[str, Mark] = {}
        refused: list[Refused] = []
        for name in names:
            channel, text = self._hub.channel(name), since.get(name)
            assert channel is not None, "its name was checked"
            try:
                marks[name] = Mark(None) if text is None else await self._go_on(channel, text)
            except BadPosition as error:
                refused.append(Refused("bad_position", str(error), name))
        return marks, refused

    async def _go_on(self, channel: Channel, text: str) -> Mark:
        """Raises BadPosition: if it is none."""
        position = decode_position(text)
        found = self._locate(channel, position)
        if found == Lost("gone"):
            await self._history.reach(channel.name, position)
            found = self._locate(channel, position)
        # Another gateway may be some milliseconds ahead of this one.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AHEAD_S):
                while found == Lost("ahead"):
                    await self._progress.until_moved()
                    found = self._locate(channel, position)
        if isinstance(found, Lost):
            return Mark(None, reset=found.reason)
        found = self._found.setdefault((channel.name, text), found)
        if len(self._found) > _MAX_FOUND:
            self._found.popitem(last=False)
        return Mark(found)

    def _locate(self, channel: Channel, position: Position | RosterPosition) -> Cursor | Lost:
        channel.cursor(self._clock.now_ms())
        return channel.locate(position)
