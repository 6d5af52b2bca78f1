"""All clients, in groups by what they want, and all channels."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from processors.gateway.channel import Channel, Want
from processors.gateway.documents import PeerChannel, SourcesChannel, SummaryChannel
from processors.gateway.encodings import Encoding
from processors.gateway.fanout import DRAIN_S, Client, Guard
from processors.gateway.group import Group, Mark, Marks
from processors.gateway.legacy import LegacyChannel
from processors.gateway.legacy_memory import MemoryFrames
from processors.gateway.legacy_mesh import MeshFrames
from processors.gateway.mesh import MAX_SYNCS
from processors.gateway.records import RecordsChannel
from processors.gateway.rosters import RosterChannel
from processors.gateway.scribe import Scribe
from processors.gateway.state import State
from processors.gateway.traffic import Traffic
from processors.runtime.clock import Clock
from schemas.frames import PEER_PREFIX
from schemas.metrics import MAX_LOGS, FederationSummary, MemoryRecord, MemorySummary, SyncRecord

__all__ = ["LEGACY_FEDERATION", "LEGACY_MEMORY", "Hub"]

LEGACY_FEDERATION: Final = "/ws/federation"
LEGACY_MEMORY: Final = "/ws/memory"
"""The channels of the drop-in paths; nobody can ask for them by name."""

_CONCERNS: Final = {
    "federation": (LEGACY_FEDERATION,),
    "peers": (LEGACY_FEDERATION,),
    "sync": (LEGACY_FEDERATION,),
    "memory": (LEGACY_MEMORY,),
}
"""Channels that change with another one."""

_REFRESH_S: Final = 0.1

_Key: TypeAlias = tuple[tuple[Want, ...], int]


class Hub:
    """Everybody who follows something."""

    def __init__(self, state: State, clock: Clock, guard: Guard, traffic: Traffic, *, drain_s: float = DRAIN_S) -> None:
        self._state = state
        self._clock = clock
        self.traffic: Final = traffic
        self._drain_s = drain_s
        # What was encoded lately, for all groups.
        self._scribe = Scribe()
        mesh = state.mesh
        self.roster: Final = RosterChannel(mesh)
        made: list[Channel] = [
            SummaryChannel(mesh, FederationSummary.__struct_fields__),
            SummaryChannel(state.memory, MemorySummary.__struct_fields__),
            self.roster,
            SourcesChannel(state.sources),
            RecordsChannel("sync", state.syncs, SyncRecord.__struct_encode_fields__, MAX_SYNCS),
            RecordsChannel("logs", state.logs, MemoryRecord.__struct_encode_fields__, MAX_LOGS),
            LegacyChannel(LEGACY_FEDERATION, mesh, MeshFrames(mesh)),
            LegacyChannel(LEGACY_MEMORY, state.memory, MemoryFrames(state.memory)),
        ]
        # By name; that of a peer as long as somebody follows it.
        self._channels = {channel.name: channel for channel in made}
        self._groups: dict[_Key, Group] = {}
        # The groups of each channel that has any.
        self._followers: dict[str, set[Group]] = {}
        self._guard = guard
        # Where each client is that follows something.
        self._places: dict[Client, Group] = {}

    def channel(self, name: str) -> Channel | None:
        """The channel of a name; None if there is none."""
        if name.startswith(PEER_PREFIX) and name not in self._channels:
            return PeerChannel(self._state.mesh, name.removeprefix(PEER_PREFIX))
        return self._channels.get(name)

    def note_change(self, name: str, peers: Collection[str] | None = None) -> None:
        """A channel has changed; of the roster these `peers`, None: any of them."""
        names: list[str] = [name, *_CONCERNS.get(name, ())]
        if name == "peers":
            followed = (each for each in self._followers if each.startswith(PEER_PREFIX))
            names += followed if peers is None else (PEER_PREFIX + peer for peer in peers)
        for each in names:
            for group in self._followers.get(each, ()):
                group.note_change(each)

    def wants(self, client: Client) -> dict[str, Want]:
        """What a client follows, by channel."""
        group = self._places.get(client)
        return {} if group is None else group.wants

    def positions(self, client: Client) -> dict[str, str]:
        """Where a client stands that has got everything, in the channels that can be gone on with."""
        group = self._places.get(client)
        marks = {} if group is None else group.mark()
        return {name: pos for name, mark in marks.items() if mark.cursor and isinstance(pos := mark.cursor.pos, str)}

    async def follow(self, client: Client, wants: Iterable[Want], encoding: Encoding, begin: Marks) -> None:
        """Have a client follow `wants` from now on, and nothing else: from `begin`, or from where it stands.

        Returns once it has got everything that it followed before. Cancellation: safe; it follows what it did.
        """
        await client.settled()
        ordered = tuple(sorted(wants))
        marks = {want.channel: begin.get(want.channel, Mark(None)) for want in ordered}
        before = self._places.get(client)
        if before is not None:
            stood = before.mark()
            marks |= {name: stood[name]._replace(sent=None) for name in marks if name in stood and name not in begin}
            self._leave(client, before)
        if ordered:
            group = self._group(ordered, encoding)
            group.catch_up_with(marks)
            self._places[client] = group
            group.fanout.join(client, marks)

    def refresh(self, client: Client, names: Collection[str]) -> None:
        """Send a client the whole of channels that it follows, once it has read what it has.

        What is asked for within a tenth of a second is answered together.
        """
        client.refresh.update(names)
        if client.refreshing is None:
            client.refreshing = asyncio.create_task(self._refresh(client))
            self._guard(client.refreshing)

    async def _refresh(self, client: Client) -> None:
        now = asyncio.get_running_loop().time
        try:
            while client.refresh:
                await asyncio.sleep(client.refresh_at - now())
                await client.settled()
                group = self._places.get(client)
                if group is not None:
                    fresh = {name: Mark(None) for name in client.refresh if name in group.wants}
                    group.fanout.lead_from(client, {**group.mark(), **fresh})
                client.refresh.clear()
                client.refresh_at = now() + _REFRESH_S
        finally:
            client.refreshing = None

    def leave(self, client: Client) -> None:
        """Forget a client. Harmless if it is not known."""
        if client.refreshing is not None:
            client.refreshing.cancel()
        if (group := self._places.get(client)) is not None:
            self._leave(client, group)

    def _group(self, wants: tuple[Want, ...], encoding: Encoding) -> Group:
        key = (wants, id(encoding))
        group = self._groups.get(key)
        if group is None:
            for want in wants:
                found = self.channel(want.channel)
                assert found is not None, "its name was checked"
                self._channels[want.channel] = found
            group = Group(
                wants,
                self._channels,
                self._scribe,
                encoding,
                self._clock,
                guard=self._guard,
                traffic=self.traffic,
                drain_s=self._drain_s,
            )
            self._groups[key] = group
            for want in wants:
                self._followers.setdefault(want.channel, set()).add(group)
        return group

    def _leave(self, client: Client, group: Group) -> None:
        del self._places[client]
        group.fanout.leave(client)
        if not len(group.fanout):
            del self._groups[tuple(group.wants.values()), id(group.encoding)]
            group.task.cancel()
            for name in group.wants:
                self._followers[name].discard(group)
                if not self._followers[name]:
                    del self._followers[name]
                    if name.startswith(PEER_PREFIX):
                        del self._channels[name]
