"""The drop-in frames of `/ws/federation`, for ARK's present page, mesh view and scripts.

Each frame carries the whole state in both of their spellings.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from processors.gateway.legacy import harmless, or_zero
from processors.gateway.mesh import Mesh
from schemas import codec
from schemas.legacy import LegacyPeer, LegacyState, LegacySync
from schemas.metrics import FederationSummary, PeerRow, SyncRecord

__all__ = ["MAX_PEER_BYTES", "MAX_TICK_BYTES", "MeshFrames"]

MAX_PEER_BYTES: Final = 1 << 20
"""Most bytes of the peers in one frame: 500 peers with the longest names would be three times as large."""

MAX_TICK_BYTES: Final = 3 << 20
"""Most bytes of one tick: fewer syncs are announced one by one where the state is very large."""

_TRAFFIC: Final = 10
_STATUS: Final = {"online": "active", "syncing": "syncing", "offline": "idle"}
_SYNC_STATUS: Final = {None: "active", True: "complete", False: "error"}
_WHOLE: Final = ("federation_update", "peer_update", "health_update")

_SPELLINGS: Final = {"health": "network_health", "integrity": "data_integrity"}
# Field of the frame, field of the summary, which has another meaning or another form for the three left out.
_NUMBERS: Final = {
    name: spelled
    for name in LegacyState.__struct_fields__
    if (spelled := _SPELLINGS.get(name, name)) in {*FederationSummary.__struct_fields__} - {"peers", "source", "as_of"}
}


class _Sized(NamedTuple):
    """A peer as it was last made, from which row, and its bytes in a frame."""

    row: PeerRow
    peer: LegacyPeer
    size: int


class MeshFrames:
    """Makes the frames, and remembers what it made to tell what has changed."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        # Peers of the last state by id: unchanged rows are neither escaped nor measured again.
        self._made: dict[str, _Sized] = {}
        # Last state that was announced; None before the first tick.
        self._told: LegacyState | None = None

    def whole(self, now: int) -> list[bytes]:
        """The whole state as JSON: one frame for each kind of client; a mesh view ignores the first."""
        rest = codec.encode(self._state(now))[1:]
        return [_head(kind) + rest for kind in _WHOLE]

    def changes(self, now: int) -> list[bytes]:
        """The frames that the changes since the last call ask for, as JSON, with the syncs that are new."""
        before, state = self._told, self._state(now)
        fresh = self._mesh.shown.take_fresh()
        self._told = state
        heads = [_head(kind) for kind in _changed(before, state)]
        if not heads and not fresh and before is not None and before.sync_traffic == state.sync_traffic:
            return []
        rest = codec.encode(state)[1:]
        room = MAX_TICK_BYTES // len(rest) - len(heads)
        heads += [_sync_head(record) for record in fresh[-room:]] if room > 0 else []
        return [head + rest for head in heads or [_head("health_update")]]

    def _state(self, now: int) -> LegacyState:
        view, world = self._mesh.view(now), self._mesh.shown
        numbers, unknown = or_zero(view.summary, _NUMBERS)
        lists: dict[str, Any] = {"peers": (), "peers_total": 0, "sync_traffic": ()}
        if view.summary is None:
            unknown += tuple(lists)
        else:
            traffic = tuple(map(_legacy_sync, world.syncs()[-_TRAFFIC:]))
            lists = {"peers": self._peers(world.recent()), "peers_total": world.total, "sync_traffic": traffic}
        return LegacyState(
            timestamp=now,
            unknown=unknown,
            source=view.source,
            as_of=view.as_of,
            sources=self._mesh.origins(view),
            **lists,
            **numbers,
        )

    def _peers(self, rows: Sequence[PeerRow]) -> tuple[LegacyPeer, ...]:
        """The peers of `rows` (the most recent first) that fit, ordered by id, so that lists do not jump."""
        made: dict[str, _Sized] = {}
        room = MAX_PEER_BYTES
        for row in rows:
            known = self._made.get(row.id)
            sized = known if known is not None and known.row == row else _sized(row)
            room -= sized.size
            if room < 0:
                break
            made[row.id] = sized
        self._made = made
        return tuple(made[peer].peer for peer in sorted(made))


def _changed(before: LegacyState | None, after: LegacyState) -> list[str]:
    """Types of the frames that lead from one state to the other."""
    if before is None:
        return ["peer_update", "health_update"]
    kinds = []
    if (before.peers, before.peers_total) != (after.peers, after.peers_total):
        kinds.append("peer_update")
    if _without_lists(before) != _without_lists(after):
        kinds.append("health_update")
    return kinds


def _without_lists(state: LegacyState) -> LegacyState:
    return msgspec.structs.replace(state, timestamp=0, peers=(), peers_total=0, sync_traffic=())


def _head(kind: str) -> bytes:
    return b'{"type":"' + kind.encode() + b'",'


def _sync_head(record: SyncRecord) -> bytes:
    return b'{"type":"sync_event","event":' + codec.encode(_legacy_sync(record)) + b","


def _sized(row: PeerRow) -> _Sized:
    peer = _legacy_peer(row)
    return _Sized(row, peer, len(codec.encode(peer)) + 1)


def _legacy_peer(row: PeerRow) -> LegacyPeer:
    tier = harmless(row.tier) if row.tier else "unknown"
    absent = (("trust_tier", row.tier or None), ("latency", row.latency_ms))
    return LegacyPeer(
        id=harmless(row.id),
        name=harmless(row.hostname or row.id),
        trust_tier=tier,
        status=_STATUS[row.status],
        latency=row.latency_ms or 0,
        data_shared=row.data_shared,
        trustTier=tier,
        dataShared=round(row.data_shared / 1024, 3),
        unknown=tuple(name for name, value in absent if value is None),
    )


def _legacy_sync(record: SyncRecord) -> LegacySync:
    return LegacySync(
        timestamp=record.ts,
        peer=harmless(record.sender),
        action=harmless(record.action),
        status=_SYNC_STATUS[record.ok],
        bytes=record.bytes,
    )
