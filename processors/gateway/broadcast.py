"""From what is known to what clients are sent: one timer for ticks and for staleness."""

import asyncio
from typing import Any, Final

from processors.gateway.fanout import Fanout, text_frame
from processors.gateway.half import Half
from processors.gateway.legacy import Frames
from processors.gateway.pace import Pacer
from processors.runtime.clock import BusClock
from processors.runtime.tasks import is_set_within

__all__ = ["Broadcast"]

_REUSE_S: Final = 0.1


class Broadcast:
    """Tells the clients of one half of every change, at the pace of `Pacer`."""

    def __init__(self, half: Half[Any], frames: Frames, clock: BusClock, *, drain_s: float | None = None) -> None:
        self._half = half
        self._frames = frames
        self._clock = clock
        self._pacer = Pacer()
        self._wake = asyncio.Event()
        # Moment (ms of the bus) of the view that the clients were told last.
        self._told_at = 0
        # Whether the last change was told to nobody, because nobody was there.
        self._untold = True
        # The whole state as WebSocket frames, and until when (loop time, s) it may be used: a thousand clients
        # that come back at once get the same bytes. None after a change.
        self._whole: tuple[bytes, float] | None = None
        self.fanout = Fanout(self.whole) if drain_s is None else Fanout(self.whole, drain_s=drain_s)

    def note_change(self) -> None:
        """The half has changed."""
        self._whole = None
        self._pacer.note_change(_loop_ms())
        self._wake.set()

    def whole(self) -> bytes:
        """The whole state as WebSocket frames."""
        now = asyncio.get_running_loop().time()
        if self._whole is None or self._whole[1] <= now:
            if self._untold:
                self._frames.changes(self._clock.now_ms())  # changes count from what this client gets
                self._untold = False
            frames = self._frames.whole(self._clock.now_ms())
            self._whole = (b"".join(map(text_frame, frames)), now + _REUSE_S)
        return self._whole[0]

    async def run(self) -> None:
        """Send until cancelled. Cancellation: safe."""
        while True:
            self._wake.clear()
            if self._pacer.take(_loop_ms()):
                self._tick()
            if not await is_set_within(self._wake, self._pause_s()):
                self._note_staleness()

    def _tick(self) -> None:
        self._told_at = self._clock.now_ms()
        # Frames that nobody gets would be half of what an idle gateway costs.
        self._untold = not len(self.fanout)
        if self._untold:
            return
        frames = self._frames.changes(self._told_at)
        if frames:
            self.fanout.send(b"".join(map(text_frame, frames)))

    def _note_staleness(self) -> None:
        """Time alone may have made a live group stale: that is a change too."""
        deadline = self._half.next_deadline(self._told_at)
        if deadline is not None and deadline <= self._clock.now_ms():
            self.note_change()

    def _pause_s(self) -> float | None:
        """How long nothing is due; None if only a change can make something due."""
        tick, stale = self._pacer.next_deadline(), self._half.next_deadline(self._told_at)
        if tick is not None:
            pause_ms = tick - _loop_ms()
        elif stale is not None:
            pause_ms = stale - self._clock.now_ms()
        else:
            return None
        return max(pause_ms, 1) / 1000


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
