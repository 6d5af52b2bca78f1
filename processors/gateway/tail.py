"""Reads the bus: summaries, rosters, syncs and sources, and reads all of them again after a lost connection.

Delivery: at least once; whole values make repeats harmless. Ordering: as committed, per stream. A stream that was
wiped or lost its tail is noticed within five seconds, although reading it stays silent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from processors.gateway.half import Half
from processors.gateway.mesh import MAX_SYNCS
from processors.gateway.roster import Roster
from processors.gateway.state import State
from processors.runtime.bus import BLOCK_MS, Bus, Entry
from processors.runtime.connection import BUS_FAILURES, in_one_trip
from processors.runtime.logging import get_logger
from processors.runtime.reads import StreamReader
from schemas import codec, streams
from schemas.errors import BadPosition, MalformedEntry, SchemaError
from schemas.metrics import MAX_SOURCES, PeerRow, RosterChange
from schemas.positions import ZERO, EntryId, entry_id, entry_text

__all__ = ["CHECK_MS", "Tail"]

CHECK_MS: Final = 5_000
"""How often the position in each stream is compared with the bus."""

_RETRY_S: Final = 0.25
_HEARTBEATS: Final = 4

_logger = get_logger("gateway")

T = TypeVar("T")


class _Wiped(Exception):
    """A stream ends before what we have read of it: everything is read again."""


class Tail:
    """Keeps the state up to date, and calls a half's `changed` after each change of it."""

    def __init__(self, bus: Bus, state: State, changed: Mapping[Half[Any], Callable[[], None]]) -> None:
        self._bus = bus
        self._state = state
        self._mesh = state.mesh
        self._changed = changed
        # Newest entry that was read of each stream that FastStream follows.
        self._tops: dict[str, EntryId] = {}
        # Streams whose last entry could not be read: each is logged once until it can be.
        self._unreadable: set[str] = set()
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
        await self._take_sources(await self._read_last(streams.SOURCES, _HEARTBEATS * MAX_SOURCES))
        await self._read_syncs()
        for partition in self._rosters:
            await self._read_roster(partition)
        for half in self._state.halves:
            await self._take_summaries(half, await self._read_last(half.stream, 1))
        if not self._state.bus_answers:
            self._state.bus_answers = True
            _logger.info("following the bus")
        self._all_changed()
        handlers: dict[str, Callable[[list[Entry]], Awaitable[None]]] = {
            **{half.stream: partial(self._take_summaries, half) for half in self._state.halves},
            streams.FEED_SYNC: self._take_syncs,
            streams.SOURCES: self._take_sources,
        }
        async with AsyncExitStack() as subscriptions:
            for stream, handler in handlers.items():
                subscription = await self._bus.subscribe(stream, entry_text(self._tops[stream]), handler)
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
                self._take_changes(self._partition_of[stream], stream, entries)
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

    async def _read_last(self, stream: str, count: int) -> list[Entry]:
        """The newest entries of a stream, oldest first; it is followed from there."""
        entries: list[Entry] = await self._bus.client.xrevrange(stream, count=count)  # type: ignore[assignment]
        self._tops[stream] = entry_id(entries[0][0]) if entries else ZERO
        return entries[::-1]

    async def _read_syncs(self) -> None:
        held = self._tops.get(streams.FEED_SYNC)
        for each in await self._read_last(streams.FEED_SYNC, MAX_SYNCS):
            # After a lost connection, what came meanwhile is news; at the start nothing is.
            self._take_sync(each, fresh=held is not None and held < entry_id(each[0]))

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
                self._complain(key, error)
        world = self._mesh.world_of(partition)
        world.load(partition, _text(meta[0]), _id_or_zero(meta[1]), rows)
        self._changed[self._mesh]()

    async def _take_summaries(self, half: Half[Any], entries: list[Entry]) -> None:
        for each, fields in entries:
            self._tops[half.stream] = entry_id(each)
            summary = self._decoded(half.stream, fields, half.decode)
            if summary is not None:
                half.hold(summary)
                self._changed[half]()

    async def _take_syncs(self, entries: list[Entry]) -> None:
        for each in entries:
            self._tops[streams.FEED_SYNC] = entry_id(each[0])
            self._take_sync(each, fresh=True)

    def _take_sync(self, entry: Entry, *, fresh: bool) -> None:
        record = self._decoded(streams.FEED_SYNC, entry[1], codec.decode_sync)
        if record is not None:
            self._mesh.add_sync(entry_id(entry[0]), record, fresh=fresh)
            self._changed[self._mesh]()

    async def _take_sources(self, entries: list[Entry]) -> None:
        for each, fields in entries:
            self._tops[streams.SOURCES] = heard = entry_id(each)
            state = self._decoded(streams.SOURCES, fields, codec.decode_source)
            if state is not None:
                # A foreign producer may name an id of its own; it was heard now at the latest.
                self._state.sources.hear(min(heard.ms, self._bus.clock.now_ms()), state)
                for half in self._state.halves:
                    if state.group in half.groups:
                        self._changed[half]()

    def _take_changes(self, partition: str, stream: str, entries: list[Entry]) -> None:
        world = self._mesh.world_of(partition)
        for each, fields in entries:
            change = self._decoded(stream, fields, _decode_change)
            if change is None:
                world.rosters[partition].pass_over(entry_id(each))
                return
            if not world.apply(partition, entry_id(each), *change):
                return
            self._changed[self._mesh]()

    def _all_changed(self) -> None:
        for changed in self._changed.values():
            changed()

    def _decoded(self, stream: str, fields: dict[bytes, bytes], decode: Callable[[dict[bytes, bytes]], T]) -> T | None:
        """What an entry holds; None if it cannot be read, which is logged."""
        try:
            value = decode(fields)
        except SchemaError as error:
            self._complain(stream, error)
            return None
        self._unreadable.discard(stream)
        return value

    def _complain(self, stream: str, error: Exception) -> None:
        if stream not in self._unreadable:
            self._unreadable.add(stream)
            _logger.warning("%s holds what cannot be read: %s", stream, error)


def _decode_change(fields: dict[bytes, bytes]) -> tuple[str, EntryId, RosterChange]:
    """Epoch, id of the previous change, and the change. Raises MalformedEntry, NewerVersion."""
    change = codec.decode_roster_change(fields)
    epoch, previous = fields.get(b"e"), fields.get(b"prev")
    if epoch is None or previous is None:
        raise MalformedEntry("field e or prev is missing")
    return epoch.decode("utf-8", "replace"), entry_id(previous), change


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _id_or_zero(value: bytes | None) -> EntryId:
    try:
        return ZERO if value is None else entry_id(value)
    except BadPosition:
        return ZERO  # a foreign hand was in the meta; the hash is read whole in any case
