"""Clients that want the same frames: they stand at the same cursors, and get the same bytes at the same moment.

Delivery: from the cursors that a client joins with, everything, or what stands for it; see `fanout`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from processors.gateway.channel import Channel, Cursor, Want
from processors.gateway.encodings import Encoding
from processors.gateway.fanout import DRAIN_S, Fanout, Guard
from processors.gateway.pace import GATHER_MS, Pacer
from processors.gateway.scribe import Scribe
from processors.gateway.traffic import Traffic
from processors.runtime.clock import Clock
from processors.runtime.tasks import is_set_within
from processors.runtime.tracing import Trail
from schemas.frames import Reset, Skipped
from schemas.positions import Position, RosterPosition

__all__ = ["Group", "Mark", "Marks", "is_ahead"]

_MAX_WRITE: Final = 256 << 10
"""About how many bytes are written at once; a tick that has more is led on piece by piece."""

_MAX_FRAMES: Final = 8
"""Most frames of one write to a client that is led on."""


class Mark(NamedTuple):
    """Where one client stands in one channel."""

    # None: it has nothing yet.
    cursor: Cursor | None
    # How many frames of the channel its group had sent by then; None if that says nothing of what it missed.
    sent: int | None = None
    # Why what it held cannot be gone on from, if it must be told.
    reset: Any = None


Marks: TypeAlias = Mapping[str, Mark]
"""By channel."""


class Group:
    """The clients of one set of wishes. `drain_s`: see `fanout`."""

    def __init__(
        self,
        wants: Iterable[Want],
        channels: Mapping[str, Channel],
        scribe: Scribe,
        encoding: Encoding,
        clock: Clock,
        *,
        guard: Guard,
        traffic: Traffic,
        drain_s: float = DRAIN_S,
    ) -> None:
        self.wants = {want.channel: want for want in wants}
        self.encoding = encoding
        self._channels = {name: channels[name] for name in self.wants}
        self._scribe = scribe
        self._clock = clock
        self._traffic = traffic
        # Says of each channel when its next tick is due.
        self._pacers = {name: Pacer(want.rate, _loop_ms()) for name, want in self.wants.items()}
        # Set when something is due earlier than was thought.
        self._wake = asyncio.Event()
        # Where everybody stands who got everything, and how many frames were sent of each channel.
        self._cursors = {name: channel.cursor(clock.now_ms()) for name, channel in self._channels.items()}
        self._sent = dict.fromkeys(self.wants, 0)
        # What has changed each channel since its last frame, of what is traced.
        self._trails = {name: Trail("frame") for name in self.wants}
        self.fanout = Fanout(self, guard, traffic, drain_s=drain_s)
        # Ticks and staleness, as long as somebody is there.
        self.task: asyncio.Task[None] = asyncio.create_task(self.run())
        guard(self.task)

    def note_change(self, channel: str) -> None:
        """A channel has changed."""
        self._trails[channel].note_arriving()
        if self._pacers[channel].note_change(_loop_ms()):
            self._wake.set()

    def mark(self) -> Marks:
        """Where those stand who got everything."""
        return {name: Mark(cursor, self._sent[name]) for name, cursor in self._cursors.items()}

    def catch_up_with(self, marks: Marks) -> None:
        """Tell everybody at once what a client that joins knows already."""
        for name, mark in marks.items():
            if mark.cursor is not None and is_ahead(mark.cursor, self._cursors[name]):
                self._tell([name], at_once=True)

    def lead(self, mark: Marks, until: Marks) -> Iterator[bytes]:
        """What leads a client from one mark to another, in pieces for one write each."""
        held: list[bytes] = []
        size = 0
        for name, there in until.items():
            for frame in self._lead_channel(name, mark[name], there):
                held.append(frame)
                size += len(frame)
                # Each was perhaps made for this: who writes them gives way between two writes.
                if size >= _MAX_WRITE or len(held) == _MAX_FRAMES:
                    yield self.encoding.pack(held, [])
                    held, size = [], 0
        if held:
            yield self.encoding.pack(held, [there.cursor.pos for there in until.values() if there.cursor is not None])

    def _lead_channel(self, name: str, mark: Mark, until: Mark) -> Iterator[bytes]:
        channel, shape, end = self._channels[name], self.wants[name].shape, until.cursor
        assert end is not None, "a group stands somewhere"
        begin = mark.cursor
        if begin is None:
            if mark.reset is not None:
                self._traffic.resets += 1
                yield self.encoding.frame(Reset(channel=name, reason=mark.reset))
            begin = channel.base(end)
            yield from self._scribe.frames(channel, None, begin, shape, self.encoding)
        if begin is end:
            return
        # One of the frames that it did not get is the one that now stands for all of them.
        missed = 0 if mark.sent is None or not channel.conflates else (until.sent or 0) - mark.sent - 1
        if missed > 0:
            self._traffic.skipped += missed
            yield self.encoding.frame(Skipped(channel=name, count=missed))
            shape = shape._replace(every=False)
        yield from self._scribe.frames(channel, begin, end, shape, self.encoding)

    async def run(self) -> None:
        """Tell the clients of changes until cancelled. Cancellation: safe."""
        while True:
            self._wake.clear()
            self._tick()
            if not await is_set_within(self._wake, self._pause_s()):
                self._note_staleness()

    def _tick(self) -> None:
        now = _loop_ms()
        due = [name for name, pacer in self._pacers.items() if pacer.take(now)]
        if due:
            # Whoever is due within the moment of gathering goes with them: what belongs together came ms apart.
            due += [name for name, pacer in self._pacers.items() if pacer.take(now + GATHER_MS)]
            self._tell(due)

    def _tell(self, names: Iterable[str], *, at_once: bool = False) -> None:
        """Tell what has changed in channels, several channels' frames in one write."""
        before = self.mark()
        frames: list[bytes] = []
        size = 0
        for name in names:
            for frame in self._advance(name, at_once=at_once):
                size += len(frame)
                if size > _MAX_WRITE:
                    break
                frames.append(frame)
        if size > _MAX_WRITE:
            self.fanout.lead_all_from(before)
        elif frames:
            positions = [cursor.pos for cursor in self._cursors.values()]
            self.fanout.send(self.encoding.pack(frames, positions), before)
        for name, mark in before.items():
            if self._sent[name] != mark.sent:
                self._trails[name].finish(channel=name, clients=len(self.fanout))

    def _advance(self, name: str, *, at_once: bool) -> Iterator[bytes]:
        """Go on to where a channel stands now, and give what leads there."""
        channel, shape, since = self._channels[name], self.wants[name].shape, self._cursors[name]
        until, now = channel.cursor(self._clock.now_ms()), _loop_ms()
        if until is since:
            self._trails[name].forget()
            return
        if not at_once and channel.is_quiet(since, until, shape) and self._pacers[name].put_off(now):
            return
        self._cursors[name] = until
        frames = iter(self._scribe.frames(channel, since, until, shape, self.encoding))
        first = next(frames, None)
        if first is None:
            self._trails[name].forget()
        else:
            self._sent[name] += 1
            if self._pacers[name].is_prompt:
                self._note_delay(since, until)
            self._pacers[name].note_told(now)
            yield first
            yield from frames

    def _note_delay(self, since: Cursor, until: Cursor) -> None:
        """Count how long ago the newest summary or record was committed that is told now, if one is."""
        if isinstance(until.position, Position) and until.position != since.position:
            self._traffic.frame_delay.observe(max(self._clock.now_ms() - until.position.entry.ms, 0) / 1_000)

    def _note_staleness(self) -> None:
        """Time alone may have made something stale: that is a change too."""
        now = self._clock.now_ms()
        if stale := [name for name, deadline in self._stale_at().items() if deadline <= now]:
            self._tell(stale, at_once=True)

    def _stale_at(self) -> dict[str, int]:
        deadlines = {name: self._channels[name].next_deadline(cursor) for name, cursor in self._cursors.items()}
        return {name: deadline for name, deadline in deadlines.items() if deadline is not None}

    def _pause_s(self) -> float | None:
        """How long nothing is due; None if only a change can make something due."""
        due = [deadline for pacer in self._pacers.values() if (deadline := pacer.next_deadline()) is not None]
        pauses_ms = [deadline - _loop_ms() for deadline in due]
        pauses_ms += [deadline - self._clock.now_ms() for deadline in self._stale_at().values()]
        return max(min(pauses_ms), 1) / 1_000 if pauses_ms else None


def is_ahead(mine: Cursor, other: Cursor) -> bool:
    """Whether a cursor of a channel is later than another one of it."""
    a, b = mine.position, other.position
    if isinstance(a, Position) and isinstance(b, Position):
        return a.epoch == b.epoch and a.entry > b.entry
    if isinstance(a, RosterPosition) and isinstance(b, RosterPosition):
        return a.epochs == b.epochs and any(x > y for x, y in zip(a.entries, b.entries, strict=True))
    return mine.ts > other.ts


def _loop_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)
