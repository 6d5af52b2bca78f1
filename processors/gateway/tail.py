"""Reads the bus: summaries, rosters, syncs and sources, and reads all of them again after a lost connection.

Delivery: at least once; whole values make repeats harmless. Ordering: as committed, per stream. A stream that was
wiped or lost its tail is noticed within five seconds, although reading it stays silent.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar

import msgspec

from processors.gateway.backlog import Backlog
from processors.gateway.intake import Changed, Intake
from processors.gateway.progress import Progress
from processors.gateway.roster import Roster
from processors.gateway.state import State
from processors.runtime.bus import BLOCK_MS, Bus, Entry
from processors.runtime.connection import BUS_FAILURES, in_one_trip
from processors.runtime.logging import get_logger
from processors.runtime.reads import StreamReader
from processors.runtime.tracing import arriving
from schemas import codec, streams
from schemas.errors import BadPosition
from schemas.frames import RECORDS, STATES
from schemas.metrics import MAX_SOURCES, PeerRow
from schemas.positions import ZERO, EntryId, entry_id, entry_text
from schemas.topics import TOPICS

__all__ = ["CHECK_MS", "Tail"]

CHECK_MS: Final = 5_000
"""How often the position in each stream is compared with the bus."""

_RETRY_S: Final = 0.25
_HEARTBEATS: Final = 4
# What is read again of a stream after a lost connection, before clients are told that they must begin anew.
_SUMMARIES: Final = 20
_RECORDS: Final = 2_000

_logger = get_logger("gateway")

T = TypeVar("T")


class _Wiped(Exception):
    """A stream ends before what we have read of it: everything is read again."""


class Tail:
    """Keeps the state up to date, and tells after each change of it which channel has changed."""

    def __init__(self, bus: Bus, state: State, changed: Changed) -> None:
        self._bus = bus
        self._state = state
        self._changed = changed
        self._intake = Intake(state, changed)
        # Told of what was read.
        self.progress = Progress()
        # What is kept of each stream that FastStream follows, and how much of it is read at once.
        self._backlogs = {
            TOPICS[channel].stream: (backlog, _RECORDS if channel in RECORDS else _SUMMARIES)
            for channel, backlog in state.backlogs.items()
        }
        # Newest entry that was read of each stream that FastStream follows.
        self._tops: dict[str, EntryId] = {}
        self._rosters: dict[str, Roster] = state.mesh.live.rosters | state.mesh.simulated.rosters
        self._partition_of = {streams.changes_key(partition): partition for partition in self._rosters}

    async def run(self) -> None:
        """Read until cancelled. Cancellation: safe."""
        while True:
            try:
                await self._follow()
            except _Wiped as error:
                self._state.doubt()
                _logger.warning("%s; reading everything again", error)
            except BUS_FAILURES as error:
                if self._state.bus_answers:
                    _logger.warning("the bus is lost: %s", error)
                self._state.bus_answers = False
                self._state.doubt()
            self._all_changed()
            await asyncio.sleep(_RETRY_S)  # nothing announces a server that comes back

    async def _follow(self) -> None:
        """Read what is there, then what is added. Raises redis-py's errors, _Wiped."""
        await self._bus.sync_clock()
        # The newest word of each collector: as many entries as all of them write in a few heartbeats.
        self._take(streams.SOURCES, await self._read_last(streams.SOURCES, _HEARTBEATS * MAX_SOURCES))
        await self._read_silences()
        for partition in self._rosters:
            await self._read_roster(partition)
        for stream, (backlog, count) in self._backlogs.items():
            # After a lost connection, what came meanwhile is news; at the start nothing is.
            fresh = stream in self._tops
            self._intake.take(
                stream, await self._read_on(stream, backlog, count), self._bus.clock.now_ms(), fresh=fresh
            )
        if not self._state.bus_answers:
            self._state.bus_answers = True
            _logger.info("following the bus")
        self._all_changed()
        self.progress.note_ready()
        async with AsyncExitStack() as subscriptions:
            for stream, top in self._tops.items():
                subscription = await self._bus.subscribe(stream, entry_text(top), partial(self._handle, stream))
                subscriptions.push_async_callback(subscription.stop)
            reader = self._bus.reader()
            subscriptions.push_async_callback(reader.close)
            await self._follow_changes(reader)

    async def _follow_changes(self, reader: StreamReader) -> None:
        """All roster changes in one read, and a check every five seconds."""
        check_at = self._bus.clock.now_ms() + CHECK_MS
        while True:
            for partition, roster in self._rosters.items():
                if roster.must_read:
                    await self._read_roster(partition)
            positions = {
                stream: entry_text(self._rosters[partition].read_after)
                for stream, partition in self._partition_of.items()
            }
            wait_ms = min(max(check_at - self._bus.clock.now_ms(), 1), BLOCK_MS)
            for stream, entries in (await reader.read(positions, block_ms=wait_ms)).items():
                self._take_on(stream, entries)
            if self._bus.clock.now_ms() >= check_at or check_at - self._bus.clock.now_ms() > CHECK_MS:
                await self._check()
                check_at = self._bus.clock.now_ms() + CHECK_MS

    async def _check(self) -> None:
        """Compare what we hold with the bus. Raises _Wiped: if a stream has lost what we read of it."""
        await self._bus.sync_clock()
        for stream, held in self._tops.items():  # held before asking: what comes meanwhile is ahead of the answer
            newest = await self._bus.newest(stream)
            top = entry_id(newest[0]) if newest else ZERO
            if top < held:
                raise _Wiped(f"{stream} ends at {entry_text(top)}, before {entry_text(held)}")
        asked = [("HMGET", streams.meta_key(partition), "epoch", "changes_id") for partition in self._rosters]
        answers = await in_one_trip(self._bus.client, asked)
        for roster, (epoch, changes_id) in zip(self._rosters.values(), answers, strict=True):
            roster.check(_text(epoch), _id_or_zero(changes_id))
        await self._read_silences()

    async def _read_silences(self) -> None:
        """Another gateway may have written them."""
        held: dict[bytes, bytes] = await self._bus.client.hgetall(streams.SILENCES)  # type: ignore[assignment]
        if self._state.sources.silence(codec.decode_silences(held)):
            self._changed("sources")

    async def _read_last(self, stream: str, count: int) -> list[Entry]:
        """The newest entries of a stream, oldest first; it is followed from there."""
        entries: list[Entry] = await self._bus.client.xrevrange(stream, count=count)  # type: ignore[assignment]
        self._tops[stream] = entry_id(entries[0][0]) if entries else ZERO
        return entries[::-1]

    async def _read_on(self, stream: str, backlog: Backlog, count: int) -> list[Entry]:
        """What a stream got since it was read last, oldest first; if that is more than `count`, the newest.

        With the one that was read last, if it is still there. A backlog that these would not follow is emptied.
        """
        held = self._tops.get(stream, ZERO)
        entries = await self._read_last(stream, count + 1)
        if entry_id(entries[0][0]) > held if entries else held > ZERO:
            backlog.clear()
        return [each for each in entries if entry_id(each[0]) >= held or backlog.top is None]

    async def _read_roster(self, partition: str) -> None:
        """Meta first, then the hash: what is committed between is in both, and whole values may repeat."""
        meta: list[bytes | None] = await self._bus.client.hmget(  # type: ignore[assignment]
            streams.meta_key(partition), ["epoch", "changes_id"]
        )
        rows: dict[str, PeerRow] = {}
        key = streams.peers_key(partition)
        async for peer, body in self._bus.client.hscan_iter(key, count=1_000):
            try:
                rows[peer.decode()] = codec.decode_peer(body)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._intake.complain(key, error)
        world = self._state.mesh.world_of(partition)
        world.load(partition, _text(meta[0]), _id_or_zero(meta[1]), rows)
        self._changed("peers")

    async def _handle(self, stream: str, entries: list[Entry]) -> None:
        self._take(stream, entries)

    def _take(self, stream: str, entries: list[Entry]) -> None:
        if entries:
            self._tops[stream] = entry_id(entries[-1][0])
        self._take_on(stream, entries)

    def _take_on(self, stream: str, entries: list[Entry]) -> None:
        with arriving(entries):
            self._intake.take(stream, entries, self._bus.clock.now_ms())
        self.progress.note_moved()

    def _all_changed(self) -> None:
        for name in (*STATES, *RECORDS):
            self._changed(name)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _id_or_zero(value: bytes | None) -> EntryId:
    try:
        return ZERO if value is None else entry_id(value)
    except BadPosition:
        return ZERO  # a foreign hand was in the meta; the hash is read whole in any case
