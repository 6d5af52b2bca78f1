"""Reads the bus for what clients missed that is not kept here any more: once for all who come back at once.

Delivery: what is read comes directly before what is kept, or is not taken. Bound: that of the backlogs.
"""

import asyncio
from typing import Final, cast

import msgspec

from processors.gateway.backlog import Backlog, Kept
from processors.gateway.progress import READY_S
from processors.gateway.roster import Roster
from processors.gateway.roster_log import Changed
from processors.gateway.state import State
from processors.runtime.bus import Bus, Entry
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from schemas import streams
from schemas.errors import BadPosition, SchemaError
from schemas.positions import EntryId, Position, RosterPosition, entry_id, entry_text
from schemas.topics import TOPICS, Decoder

__all__ = ["History"]

# Entries of 50 KB and more come too: a page is held and decoded in one go.
_PAGE: Final = 100
_ids_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_logger = get_logger("gateway")


class History:
    """What the streams hold before what is kept."""

    def __init__(self, bus: Bus, state: State) -> None:
        self._bus = bus
        self._mesh = state.mesh
        self._backlogs = state.backlogs
        # One reader of a channel at a time: the others find what it read.
        self._locks = {channel: asyncio.Lock() for channel in ("peers", *self._backlogs)}

    async def reach(self, channel: str, position: Position | RosterPosition) -> None:
        """Have what follows `position` in a channel kept, if the bus still has it and tells it within `READY_S`.

        Cancellation: safe.
        """
        if channel not in self._locks:
            return
        try:
            # With the wait for the others: a bus that is frozen would keep each of a herd for its own timeout.
            async with asyncio.timeout(READY_S), self._locks[channel]:
                if isinstance(position, RosterPosition):
                    await self._reach_roster(position)
                else:
                    await self._reach_entry(channel, self._backlogs[channel], position)
        except BUS_FAILURES as error:
            # Whoever comes back now is told that it must begin anew.
            _logger.debug("what clients missed cannot be read: %s", error)

    async def _reach_entry(self, channel: str, backlog: Backlog, position: Position) -> None:
        stream, decode = TOPICS[channel]
        while (oldest := backlog.oldest) is not None and position.entry < oldest and backlog.has_room:
            epoch = backlog.top.epoch if backlog.top else ""
            if epoch != position.epoch:
                return
            page = await self._before(stream, oldest, entry_text(position.entry))
            older = [
                Kept(entry_id(each), fields[b"d"])
                for each, fields in page
                if fields.get(b"e", b"").decode("utf-8", "replace") == epoch and _is_readable(fields, decode)
            ]
            if backlog.oldest != oldest or not older:
                return
            backlog.extend(older)

    async def _reach_roster(self, position: RosterPosition) -> None:
        world = self._mesh.shown
        if len(position.entries) == len(world.rosters):
            for (partition, roster), entry in zip(world.rosters.items(), position.entries, strict=True):
                await self._reach_change(streams.changes_key(partition), roster, entry)

    async def _reach_change(self, stream: str, roster: Roster, entry: EntryId) -> None:
        log = roster.log
        while entry < (begin := log.begin) and log.has_room:
            # With the change at `begin` itself: it is the first of which the peers are not kept.
            page = await self._before(stream, EntryId(begin.ms, begin.n + 1), entry_text(entry))
            epoch = None if roster.epoch is None else roster.epoch.encode()
            older = [each for each in page if each[1].get(b"e") == epoch]
            if log.begin != begin or not older or entry_id(older[-1][0]) != begin:
                return
            first = _previous(older[0])
            if first >= begin:
                return
            try:
                log.extend(first, [Changed(entry_id(each), _peers(fields)) for each, fields in older])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return  # whom a foreign hand meant to change cannot be told

    async def _before(self, stream: str, before: EntryId, least: str) -> list[Entry]:
        """The at most `_PAGE` newest entries before an id, not older than `least`, oldest first."""
        answer = await self._bus.client.xrevrange(stream, f"({entry_text(before)}", least, count=_PAGE)
        return cast("list[Entry]", answer)[::-1]


def _previous(entry: Entry) -> EntryId:
    try:
        return entry_id(entry[1].get(b"prev", b""))
    except BadPosition:
        return entry_id(entry[0])  # a foreign hand wrote it: nothing before it is known to belong to it


def _peers(fields: dict[bytes, bytes]) -> tuple[str, ...]:
    return tuple(_ids_decoder.decode(fields.get(b"d", b"")))


def _is_readable(fields: dict[bytes, bytes], decode: Decoder) -> bool:
    """Whether an entry would have been kept when it came."""
    try:
        decode(fields)
    except SchemaError:
        return False
    return True
