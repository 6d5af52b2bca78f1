"""The channels whose state is one document: the summaries of both halves, the sources, and one peer."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from processors.gateway.channel import Channel, Cursor, Lost, Part, Shape
from processors.gateway.deltas import chosen, merge_patch
from processors.gateway.half import Half
from processors.gateway.mesh import Mesh
from processors.gateway.sources import Sources
from schemas.answers import SourceReport
from schemas.frames import PEER_PREFIX, Delta, Reset, Snapshot
from schemas.metrics import PeerRow
from schemas.positions import Position, RosterPosition

__all__ = ["DocumentChannel", "PeerChannel", "SourcesChannel", "SummaryChannel", "row_of"]

# What says where a summary stands among the commits: the position says it.
_INNER: Final = ("epoch", "n", "partials")
_MOMENTS: Final = frozenset({"ts", "as_of"})
_NOBODY: Final[dict[str, Any]] = {"source": "", "as_of": -1}


def row_of(row: PeerRow) -> dict[str, Any]:
    """A row as clients get it: what is not known is absent."""
    built: dict[str, Any] = msgspec.to_builtins(row)
    return built


class DocumentChannel(Channel):
    """A channel whose cursors hold the whole document as `value`; None while there is no such thing."""

    def whole(self, at: Cursor, shape: Shape) -> Iterator[Part]:
        """One snapshot."""
        data = None if at.value is None else self._chosen(at.value, shape)
        yield Snapshot(channel=self.name, pos=at.pos, ts=at.ts, source=at.source, as_of=at.as_of, data=data)

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part]:
        """One delta; of every change if that is wanted, as far as they are kept."""
        for each in (*self._between(since, until), until) if shape.every else (until,):
            before, after = (self._chosen(cursor.value, shape) for cursor in (since, each))
            patch = merge_patch(before, after)
            if patch or (since.source, since.as_of, since.position) != (each.source, each.as_of, each.position):
                yield Delta(
                    channel=self.name, pos=each.pos, ts=each.ts, source=each.source, as_of=each.as_of, data=patch
                )
            since = each

    def is_quiet(self, since: Cursor, until: Cursor, shape: Shape) -> bool:
        """Whether only moments differ."""
        if since.value is None or until.value is None or since.source != until.source:
            return since.value is until.value
        return _only_moments(merge_patch(self._chosen(since.value, shape), self._chosen(until.value, shape)))

    def _chosen(self, document: dict[str, Any], shape: Shape) -> dict[str, Any]:
        return chosen(document, shape.fields)

    def _between(self, _since: Cursor, _until: Cursor) -> Iterator[Cursor]:
        return iter(())


def _only_moments(patch: Mapping[str, Any]) -> bool:
    return all(name in _MOMENTS or (isinstance(each, dict) and _only_moments(each)) for name, each in patch.items())


class SummaryChannel(DocumentChannel):
    """The summary of one half."""

    def __init__(self, half: Half[Any], fields: tuple[str, ...]) -> None:
        super().__init__(half.name)
        self.fields = frozenset(fields) - {*_INNER}
        self._half = half
        # What the newest cursor was made of: it holds as long as that is the same.
        self._made_of: tuple[Any, ...] = (half,)
        self._cursor = Cursor(0)

    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`."""
        view = self._half.view(now)
        made_of = (self._half.summary, view.doubts, view.source)
        if made_of[0] is not self._made_of[0] or made_of[1:] != self._made_of[1:]:
            self._made_of = made_of
            self._cursor = Cursor(now, self._half.position, self._document(view.summary), view.source, view.as_of)
        return self._cursor

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part]:
        """Deltas; of another epoch a reset and a snapshot."""
        if _epoch(since) != _epoch(until) and since.position is not None:
            yield Reset(channel=self.name, reason="epoch")
            yield from self.whole(until, shape)
        else:
            yield from super().changes(since, until, shape)

    def locate(self, position: Position | RosterPosition) -> Cursor | Lost:
        """The cursor of a client that comes back, without what the gateway may have doubted for it: that is told."""
        now, backlog = self._half.position, self._half.backlog
        if not isinstance(position, Position) or now is None or position.epoch != now.epoch:
            return Lost("epoch")
        if position.entry > now.entry:
            return Lost("ahead")
        kept = backlog.find(position)
        if kept is None:
            return Lost("gone")
        document = self._document(self._half.decode(kept.body))
        return Cursor(kept.entry.ms, position, self._unsure(document))

    def next_deadline(self, at: Cursor) -> int | None:
        """When what calls itself live becomes stale."""
        return self._half.next_deadline(at.ts)

    def _between(self, since: Cursor, until: Cursor) -> Iterator[Cursor]:
        position = since.position
        if not isinstance(position, Position) or not isinstance(until.position, Position):
            return
        for kept in (self._half.backlog.after(position, until.position) or ())[:-1]:
            summary = self._half.decode(kept.body)
            there = Position(position.epoch, kept.entry)
            yield Cursor(kept.entry.ms, there, self._document(summary), summary.source, summary.as_of)

    def _document(self, summary: Any) -> dict[str, Any]:
        if summary is None:
            return {}
        document: dict[str, Any] = msgspec.to_builtins(summary)
        for name in _INNER:
            del document[name]
        return document

    def _unsure(self, part: dict[str, Any]) -> dict[str, Any]:
        """`part` without where it came from, so that the next delta tells it in any case."""
        groups = dict.fromkeys(self._half.groups, _NOBODY)
        nodes = {name: self._unsure(node) for name, node in part.get("nodes", {}).items()}
        return part | groups | {"source": ""} | ({"nodes": nodes} if nodes else {})


def _epoch(cursor: Cursor) -> str | None:
    return cursor.position.epoch if isinstance(cursor.position, Position) else None


class SourcesChannel(DocumentChannel):
    """What each collector says of its source, by `<node>/<collector>`. It has no position: a snapshot is as small."""

    def __init__(self, sources: Sources) -> None:
        super().__init__("sources")
        self.fields = frozenset(SourceReport.__struct_fields__)
        self._sources = sources
        self._cursor = Cursor(0, value={})
        # Whether something was heard since the cursor was made.
        self._version = -1

    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`."""
        deadline = self.next_deadline(self._cursor)
        if self._version != self._sources.version or (deadline is not None and deadline <= now):
            self._version = self._sources.version
            self._cursor = Cursor(now, value=self._document(now))
        return self._cursor

    def next_deadline(self, at: Cursor) -> int | None:
        """When a collector has been silent for too long, or its silence ends."""
        return min((deadline for deadline in self._sources.deadlines() if deadline > at.ts), default=None)

    def _document(self, now: int) -> dict[str, Any]:
        found = {}
        for each in self._sources.reports(now):
            told = {name: value for name, value in msgspec.structs.asdict(each).items() if value is not None}
            found[f"{each.node}/{each.collector}"] = told
        return found

    def _chosen(self, document: dict[str, Any], shape: Shape) -> dict[str, Any]:
        """Fields are those of each source."""
        return {name: chosen(each, shape.fields) for name, each in document.items()}


class PeerChannel(DocumentChannel):
    """One peer's row. It has no position: a snapshot is as small."""

    def __init__(self, mesh: Mesh, peer: str) -> None:
        super().__init__(PEER_PREFIX + peer)
        self.fields = frozenset(PeerRow.__struct_fields__)
        self._mesh = mesh
        self._peer = peer
        # What the newest cursor was made of.
        self._made_of: tuple[Any, ...] = ()
        self._cursor = Cursor(0)

    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`."""
        row, group = self._mesh.row(self._peer), self._mesh.group("peers", now)
        if self._made_of != (row, group):
            self._made_of = (row, group)
            value = None if row is None else row_of(row)
            self._cursor = Cursor(now, value=value, source=group.source, as_of=group.as_of)
        return self._cursor

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part]:
        """A delta; a snapshot when it came or went."""
        if since.value is None or until.value is None:
            yield from self.whole(until, shape)
        else:
            yield from super().changes(since, until, shape)

    def next_deadline(self, at: Cursor) -> int | None:
        """When what calls itself live becomes stale."""
        return self._mesh.next_deadline(at.ts, "peers")
