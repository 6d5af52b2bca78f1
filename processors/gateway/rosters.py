"""The channel `peers`: the whole roster of the world that is shown.

A delta holds whole rows, so one that was made later than its position says is still right. That lets a large snapshot
be made piece by piece while the roster changes: the delta from where it began mends it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from processors.gateway.channel import Channel, Cursor, Lost, Part, Shape, in_pieces
from processors.gateway.deltas import chosen
from processors.gateway.documents import row_of
from processors.gateway.mesh import Mesh, World
from schemas.frames import Delta, Reset, Snapshot
from schemas.metrics import PeerRow
from schemas.positions import EntryId, Position, RosterPosition, roster_position

__all__ = ["PIECE", "RosterChannel"]

PIECE: Final = 1_000
"""Most rows of one frame."""

_REUSE_MS: Final = 1_000
_OPTIONAL: Final = ("hostname", "tier", "latency_ms")


class _Standing(NamedTuple):
    """What a cursor of a roster holds."""

    world: World
    # Up to which change of each partition.
    held: tuple[EntryId, ...]


class RosterChannel(Channel):
    """The roster of the world that is shown."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__("peers")
        self.fields = frozenset(PeerRow.__struct_fields__)
        self._mesh = mesh
        # What the newest cursor was made of.
        self._made_of: tuple[Any, ...] = ()
        self._cursor = Cursor(0)
        # Where new clients begin: they share its snapshot.
        self._base = self._cursor

    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`."""
        world, group = self._mesh.shown, self._mesh.group("peers", now)
        held = tuple(roster.held for roster in world.rosters.values())
        epochs = {partition: roster.lineage for partition, roster in world.rosters.items()}
        made_of = (world, held, epochs, group)
        if made_of != self._made_of:
            self._made_of = made_of
            position = roster_position(epochs, held)
            self._cursor = Cursor(now, position, _Standing(world, held), group.source, group.as_of)
        return self._cursor

    def base(self, at: Cursor) -> Cursor:
        """A cursor whose snapshot was made for others within the last second, else `at`."""
        if _break(self._base, at) is not None or at.ts - self._base.ts >= _REUSE_MS:
            self._base = at
        return self._base

    def whole(self, at: Cursor, shape: Shape) -> Iterator[Part]:
        """Snapshots of at most `PIECE` rows, as they are when they are made; the last has the position."""
        world = _standing(at).world
        pieces = in_pieces([peer for roster in world.rosters.values() for peer in roster.rows], PIECE)
        for number, peers in enumerate(pieces, 1):
            rows = ((peer, world.row(peer)) for peer in peers)
            data = {peer: _told(row, shape) for peer, row in rows if row is not None}
            if number < len(pieces):
                yield Snapshot(channel=self.name, ts=at.ts, data=data, more=True)
            else:
                yield Snapshot(channel=self.name, pos=at.pos, ts=at.ts, source=at.source, as_of=at.as_of, data=data)

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part]:
        """Deltas of at most `PIECE` whole rows, the last with the position; a reset and snapshots where it must be."""
        why = _break(since, until)
        world = _standing(until).world
        peers = None if why is not None else world.changed_since(_standing(since).held)
        if peers is None:
            yield Reset(channel=self.name, reason=why or "gone")
            yield from self.whole(until, shape)
            return
        *before, last = in_pieces(list(peers), PIECE)
        for piece in before:
            yield Delta(channel=self.name, ts=until.ts, data=_patch(world, piece, shape))
        data = _patch(world, last, shape)
        yield Delta(channel=self.name, pos=until.pos, ts=until.ts, source=until.source, as_of=until.as_of, data=data)

    def locate(self, position: Position | RosterPosition) -> Cursor | Lost:
        """The cursor of a client that comes back."""
        cursor = self._cursor
        if not isinstance(position, RosterPosition) or not isinstance(cursor.position, RosterPosition):
            return Lost("epoch")
        world = _standing(cursor).world
        if position.epochs != cursor.position.epochs or len(position.entries) != len(world.rosters):
            return Lost("epoch")
        pairs = list(zip(position.entries, world.rosters.values(), strict=True))
        if any(entry > roster.held for entry, roster in pairs):
            return Lost("ahead")
        if any(entry < roster.log.begin for entry, roster in pairs):
            return Lost("gone")
        return Cursor(cursor.ts, position, _Standing(world, position.entries))

    def is_quiet(self, since: Cursor, until: Cursor, _shape: Shape) -> bool:
        """Whether only the moment differs."""
        return since.value == until.value and since.source == until.source

    def next_deadline(self, at: Cursor) -> int | None:
        """When what calls itself live becomes stale."""
        return self._mesh.next_deadline(at.ts, "peers")


def _standing(cursor: Cursor) -> _Standing:
    standing: _Standing = cursor.value
    return standing


def _break(since: Cursor, until: Cursor) -> Any:
    """Why a cursor cannot be gone on from at all; None if it can."""
    if since.value is None or _standing(since).world is not _standing(until).world:
        return "world"
    a, b = since.position, until.position
    same = isinstance(a, RosterPosition) and isinstance(b, RosterPosition) and a.epochs == b.epochs
    return None if same else "epoch"


def _told(row: PeerRow, shape: Shape) -> Any:
    """A row as it travels. Whole ones are encoded as they are: of 100,000 it counts."""
    return row if shape.fields is None else chosen(row_of(row), shape.fields)


def _patch(world: World, peers: Sequence[str], shape: Shape) -> dict[str, Any]:
    """Whole rows, null for what is not known: what a client has of them is replaced."""
    patch: dict[str, Any] = {}
    for peer in peers:
        row = world.row(peer)
        patch[peer] = None if row is None else chosen(dict.fromkeys(_OPTIONAL) | row_of(row), shape.fields)
    return patch
