"""Plays a past stretch of the streams into a state of its own, at a clock of its own.

Delivery: every entry after the beginning, in the order of its stream, at the moment of the clock at which it came, or
as soon after that as it can be read. What was before is loaded as it was; rows of peers that changed since, and whose
earlier rows are not in the stream any more, appear with their first change.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final, cast

from processors.gateway.hub import Hub
from processors.gateway.intake import Intake, decode_change
from processors.gateway.mesh import MAX_SYNCS
from processors.gateway.roster import Roster
from processors.gateway.state import State
from processors.gateway.subscriptions import Refused
from processors.gateway.traffic import Traffic
from processors.runtime.bus import Bus, Entry
from processors.runtime.reads import count_for
from schemas import streams
from schemas.errors import SchemaError
from schemas.frames import PEER_PREFIX
from schemas.metrics import MAX_SOURCES, RosterChange
from schemas.positions import EntryId, end_of, entry_id, entry_text
from schemas.topics import TOPICS

__all__ = ["PastClock", "Player"]

_PAGE: Final = 20
# Of a roster's changes, which are decoded in one go: about a millisecond.
_ROSTER_BYTES: Final = 1 << 18
_ROSTER_PAGE: Final = 100
_NEAR_MS: Final = 1_000
_LONGEST_S: Final = 5.0
_LEAST_S: Final = 0.02
# How many entries tell how things stood.
_ENOUGH: Final = {streams.SOURCES: 4 * MAX_SOURCES, streams.FEED_SYNC: MAX_SYNCS, streams.FEED_MEMORY: MAX_SYNCS}


class PastClock:
    """A moment of the past, from which time goes on `speed` times as fast as it does."""

    def __init__(self, begin: int, speed: float) -> None:
        self._begin = begin
        self._speed = speed
        # Loop time at which it began, s; None: it stands.
        self._started: float | None = None

    def start(self) -> None:
        """Let time go on."""
        self._started = asyncio.get_running_loop().time()

    def now_ms(self) -> int:
        """The moment that is shown, ms of the bus."""
        if self._started is None:
            return self._begin
        return self._begin + int((asyncio.get_running_loop().time() - self._started) * 1_000 * self._speed)


class _Tape:
    """What is next of one stream."""

    def __init__(self, stream: str, after: EntryId) -> None:
        self.stream = stream
        self.after = after
        # Entries that were read and are still to come.
        self.ahead: deque[Entry] = deque()
        # Up to this moment nothing more comes, ms.
        self._ends_at = 0

    async def take(self, bus: Bus, until: int, present: int) -> list[Entry]:
        """What came by the moment `until`, a page at a time, until nothing is left. Raises redis-py's errors."""
        if not self.ahead and until >= self._ends_at:
            page = cast("list[Entry]", await bus.client.xrange(self.stream, f"({entry_text(self.after)}", count=_PAGE))
            self.ahead.extend(page)
            # What is not there yet will have come after the present.
            self._ends_at = self._ends_at if page else present
        taken = []
        while self.ahead and entry_id(self.ahead[0][0]).ms <= until:
            taken.append(self.ahead.popleft())
            self.after = entry_id(taken[-1][0])
        return taken


class Player:
    """One stretch of the past for one client. `present`: what is known now."""

    def __init__(self, bus: Bus, present: State, begin: int, speed: float) -> None:
        self._bus = bus
        self._present = present
        self._begin = begin
        self._speed = speed
        # The moment that is shown, and what was known then.
        self._clock = PastClock(begin, speed)
        self._state = State(present.partitions)
        # What is told of the past counts for nobody.
        self.hub = Hub(self._state, self._clock, bus.guard, Traffic())
        self._intake = Intake(self._state, self.hub.note_change)
        # What comes after the beginning, by stream.
        self._tapes: list[_Tape] = []

    async def load(self, names: Iterable[str]) -> list[Refused]:
        """Load how things stood for channels; which of them the streams do not reach. Raises redis-py's errors."""
        channels = dict.fromkeys(names)
        rosters = [name for name in channels if name == "peers" or name.startswith(PEER_PREFIX)]
        wanted = dict.fromkeys([streams.SOURCES, *(TOPICS[name].stream for name in channels if name in TOPICS)])
        if rosters:
            wanted[streams.METRICS_FEDERATION] = None
        reached = {stream: await self._load_stream(stream) for stream in wanted}
        refused = [self._out_of_reach(name) for name in channels if name in TOPICS and not reached[TOPICS[name].stream]]
        if rosters and not (reached[streams.METRICS_FEDERATION] and await self._load_rosters()):
            refused += map(self._out_of_reach, rosters)
        return refused

    async def play(self) -> None:
        """Play until the present is reached, or nearly and nothing is missing; at the speed 0 it never is.

        Raises redis-py's errors. Cancellation: safe.
        """
        if not self._speed:
            await asyncio.Event().wait()
        self._clock.start()
        while not self._is_broken():
            present, now = self._bus.clock.now_ms(), self._clock.now_ms()
            for tape in self._tapes:
                while taken := await tape.take(self._bus, now, present):
                    self._intake.take(tape.stream, taken, now)
            coming = [entry_id(tape.ahead[0][0]).ms for tape in self._tapes if tape.ahead]
            if now >= present or (not coming and now >= present - _NEAR_MS):
                return
            pause_s = (min(coming, default=present) - self._clock.now_ms()) / 1_000 / self._speed
            await asyncio.sleep(min(max(pause_s, _LEAST_S), _LONGEST_S))

    def _is_broken(self) -> bool:
        """Whether a roster cannot be followed any more, because its partition began anew."""
        return any(roster.must_read and roster.epoch is not None for roster in self._state.mesh.shown.rosters.values())

    def _out_of_reach(self, name: str) -> Refused:
        return Refused("out_of_reach", "what the streams hold begins later", name)

    async def _load_stream(self, stream: str) -> bool:
        """Load the newest entries of the moment. Returns whether the stream reaches it."""
        end = end_of(self._begin)
        answer = await self._bus.client.xrevrange(stream, entry_text(end), count=_ENOUGH.get(stream, 1))
        entries = cast("list[Entry]", answer)[::-1]
        self._intake.take(stream, entries, self._begin, fresh=False)
        self._tapes.append(_Tape(stream, end))
        return bool(entries) or stream in _ENOUGH

    async def _load_rosters(self) -> bool:
        """Load the rosters of the world that was shown. Returns whether all their streams reach the moment."""
        world = self._state.mesh.shown
        present = self._present.mesh.simulated if world is self._state.mesh.simulated else self._present.mesh.live
        for partition, roster in world.rosters.items():
            if not await self._load_roster(partition, roster, present.rosters[partition]):
                return False
        return True

    async def _load_roster(self, partition: str, roster: Roster, present: Roster) -> bool:
        # Copied before the stream is read: what changes meanwhile is in the stream, too.
        rows, epoch, held = dict(present.rows), present.epoch, present.held
        then: RosterChange = {}
        later: set[str] = set()
        is_first = True
        stream = streams.changes_key(partition)
        async for entry in self._entries(stream):
            try:
                entry_epoch, previous, change = decode_change(entry[1])
            except SchemaError:
                return False  # what it changed is not known
            here = entry_id(entry[0])
            if is_first and previous.ms > self._begin:
                return False
            if here.ms <= self._begin:
                epoch, held = entry_epoch, here
                then |= change
            else:
                epoch, held = (entry_epoch, previous) if is_first else (epoch, held)
                later |= change.keys()
            is_first = False
        rows = {peer: row for peer, row in rows.items() if peer not in later}
        rows |= {peer: row for peer, row in then.items() if row is not None}
        for peer in (peer for peer, row in then.items() if row is None):
            rows.pop(peer, None)
        roster.load(epoch, held, rows)
        self._tapes.append(_Tape(stream, max(held, end_of(self._begin))))
        return True

    async def _entries(self, stream: str) -> AsyncIterator[Entry]:
        after, count = "-", 1
        while page := cast("list[Entry]", await self._bus.client.xrange(stream, after, count=count)):
            for entry in page:
                yield entry
            after, count = f"({page[-1][0].decode()}", count_for(_ROSTER_BYTES, page, 1, _ROSTER_PAGE)
