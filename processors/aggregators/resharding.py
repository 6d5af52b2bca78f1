"""Another number of partitions: what a bus holds in P of them, as a bus of N would hold it.

What belongs to a key (a peer, a node, a digest) goes where the key goes, as it is. What belongs to none (totals, the
rates of a second, what the gatherers have not taken yet) is summed, or put in order, in partition 0. Roster changes and
partials begin anew, and so do epochs: no meta is kept.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from processors.aggregators.partition import FORMAT, Totals
from processors.runtime.errors import PulseError
from schemas import codec, streams
from schemas.errors import MalformedEntry, NewerVersion
from schemas.events import subject
from schemas.positions import ZERO, EntryId, entry_id, entry_text
from schemas.snapshots import LoggedEntry, Piece, PieceOfHash, PieceOfStream, pieces_of_hash, pieces_of_stream

__all__ = ["reshard"]

_KEY: Final = re.compile(rb"ark:\{([^}]*)\}:(.*)", re.DOTALL)
_WRITERS: Final = {streams.writer_key(name).encode() for name in (streams.FEED_SYNC, streams.FEED_MEMORY, streams.DEAD)}
_WRITER_OF: Final = {
    b"sync": streams.writer_key(streams.FEED_SYNC).encode(),
    b"memory": streams.writer_key(streams.FEED_MEMORY).encode(),
    b"dead": streams.writer_key(streams.DEAD).encode(),
}
"""Whose note says how far entries of a type were gathered."""
_FROM: Final = b"from:"
_REPLAY: Final = "dead"
"""The source whose cursors name a letter, another in each partition."""
_MAX_N: Final = 2**64 - 1

_decode_totals: Final = msgspec.json.Decoder(Totals).decode
_decode_row: Final = msgspec.json.Decoder(list[int]).decode

T = TypeVar("T", bound=Struct)


def reshard(
    pieces: Iterable[Piece], before: int, after: int, taken: int, places: Mapping[str, Callable[[str], object]]
) -> Iterator[Piece]:
    """The `pieces` of a backup that was taken at `taken` (ms) of `before` live partitions, for `after` of them.

    `places`: what of a source's cursor says how far it is, by source; of others all of it does. The entries that are
    not consumed are held in memory: the streams' bound is 8 MiB a partition. Raises PulseError: if a partition holds
    what cannot be moved yet; what was given until then is of no use.
    """
    resharding = _Resharding(before, after, taken, places)
    for piece in pieces:
        yield from resharding.take(piece)
    yield from resharding.finish()


class _Resharding:
    """What has to wait for the last piece."""

    def __init__(self, before: int, after: int, taken: int, places: Mapping[str, Callable[[str], object]]) -> None:
        self._before, self._after = streams.live_partitions(before), streams.live_partitions(after)
        self._taken = taken
        self._places = places
        # How far each partition was gathered, by what notes it; and the letters that are there.
        self._gathered: dict[bytes, dict[bytes, bytes]] = defaultdict(dict)
        self._letters: set[bytes] = set()
        # How far each partition has consumed its events.
        self._positions: dict[str, EntryId] = {}
        # Cursor of each source by partition.
        self._cursors: dict[str, dict[str, bytes]] = defaultdict(dict)
        # Sources that have digests.
        self._digested: set[str] = set()
        # Sums over all partitions; no totals before the first.
        self._totals: Totals | None = None
        self._rates: dict[bytes, list[int]] = {}
        # Entries that nobody has consumed, or gathered, by the key that they go to.
        self._waiting: dict[str, list[tuple[EntryId, dict[bytes, bytes]]]] = defaultdict(list)

    def take(self, piece: Piece) -> Iterator[Piece]:
        """Take one piece; gives what it becomes, as far as that is known. Raises PulseError."""
        found = _KEY.fullmatch(piece.key)
        partition, name = ("", "") if found is None else (_text(found[1]), _text(found[2]))
        if partition not in self._before:
            yield self._keep(piece)
        elif isinstance(piece, PieceOfHash):
            yield from self._take_hash(partition, name, piece.fields)
        else:
            self._take_stream(partition, name, piece.entries)

    def _keep(self, piece: Piece) -> Piece:
        """What is not of a live partition stays as it is, but for the notes of how far those were gathered."""
        if isinstance(piece, PieceOfStream):
            self._letters.update(name for name, _ in piece.entries if piece.key == streams.DEAD.encode())
            return piece
        if piece.key not in _WRITERS:
            return piece
        self._gathered[piece.key] |= piece.fields
        live = {_FROM + name.encode() for name in self._before}
        return PieceOfHash(piece.key, {name: value for name, value in piece.fields.items() if name not in live})

    def _take_hash(self, partition: str, name: str, fields: Mapping[bytes, bytes]) -> Iterator[Piece]:
        kind, _, collector = name.partition(":")
        match kind:
            case "meta":
                self._positions[partition] = entry_id(fields.get(b"pos", b"0-0"))
            case "state":
                yield from self._move(streams.state_key, self._keyed(partition, fields))
            case "peers":
                yield from self._move(streams.peers_key, _singly(fields))
            case "cursors":
                for source, cursor in fields.items():
                    self._cursors[_text(source)][partition] = cursor
            case "published":
                self._digested.add(collector)
                yield from self._move(lambda home: streams.published_key(home, collector), _singly(fields))

    def _move(self, key_of: Callable[[str], str], keyed: Mapping[str, Mapping[bytes, bytes]]) -> Iterator[PieceOfHash]:
        """The fields of each key, where that key is at home now."""
        shares: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        for key, fields in keyed.items():
            shares[streams.partition_of(key, len(self._after))] |= fields
        for home, share in shares.items():
            yield PieceOfHash(key_of(home).encode("utf-8", "surrogateescape"), share)

    def _keyed(self, partition: str, fields: Mapping[bytes, bytes]) -> dict[str, dict[bytes, bytes]]:
        """The fields of a state by their keys; those that have none are summed."""
        keyed: dict[str, dict[bytes, bytes]] = defaultdict(dict)
        try:
            for field, value in fields.items():
                kind, _, key = field.partition(b":")
                if kind == b"rate":
                    row, known = _decode_row(value), self._rates.get(field)
                    self._rates[field] = row if known is None else list(map(sum, zip(known, row, strict=True)))
                elif field == b"totals":
                    self._add(partition, _decode_totals(value))
                else:
                    keyed[_text(key)][field] = value
        except (msgspec.DecodeError, ValueError) as error:
            raise PulseError(f"the state of partition {partition} cannot be read: {error}") from error
        return keyed

    def _add(self, partition: str, totals: Totals) -> None:
        if totals.format > FORMAT:
            raise PulseError(f"the state of partition {partition} is of a newer release: upgrade first")
        self._totals = totals if self._totals is None else _sum(self._totals, totals)

    def _take_stream(self, partition: str, name: str, entries: Iterable[LoggedEntry]) -> None:
        match name:
            case "events":
                position = self._positions.get(partition, ZERO)
                for entry, fields in entries:
                    if entry_id(entry) > position:
                        self._route(partition, entry_id(entry), fields)
            case "feed" | "dead":
                for entry, fields in entries:
                    writer = _WRITER_OF.get(fields.get(b"t", b""))
                    gathered = self._gathered[writer].get(_FROM + partition.encode(), b"0-0") if writer else None
                    if gathered is not None and entry_id(entry) > entry_id(gathered):
                        key_of = streams.feed_key if name == "feed" else streams.dead_key
                        self._waiting[key_of("0")].append((entry_id(entry), fields))
            case "parked" if entries:
                raise _newer(partition)

    def _route(self, partition: str, entry: EntryId, fields: dict[bytes, bytes]) -> None:
        """Put each event of an entry where its subject is at home; what cannot be read is rejected in partition 0."""
        try:
            batch = codec.decode_events(fields)
        except NewerVersion as error:
            raise _newer(partition) from error
        except MalformedEntry:
            self._waiting[streams.events_key("0")].append((entry, fields))
            return
        shares: dict[str, list[bytes]] = defaultdict(list)
        for event in batch.events:
            shares[streams.partition_of(subject(event), len(self._after))].append(codec.encode(event))
        shares["0"] += [raw for _, raw in batch.rejected]
        for home, bodies in shares.items():
            if bodies:
                body = b"[" + b",".join(bodies) + b"]"
                self._waiting[streams.events_key(home)].append((entry, {**fields, b"t": b"events", b"d": body}))

    def finish(self) -> Iterator[Piece]:
        """What is known after the last piece. Raises PulseError."""
        if self._totals is not None:
            none = Totals(self._totals.format, self._totals.since)
            for home in self._after:
                encoded = codec.encode(self._totals if home == "0" else none)
                yield PieceOfHash(streams.state_key(home).encode(), {b"totals": encoded})
        rates = {field: codec.encode(row) for field, row in self._rates.items()}
        yield from pieces_of_hash(streams.state_key("0").encode(), rates)
        for source, cursors in self._cursors.items():
            for home, cursor in self._moved_cursor(source, cursors).items():
                field = source.encode("utf-8", "surrogateescape")
                yield PieceOfHash(streams.cursors_key(home).encode(), {field: cursor})
        for key, waiting in self._waiting.items():
            entries = list(self._in_order(waiting))
            yield from pieces_of_stream(key.encode(), entries[-1][0], entries)

    def _moved_cursor(self, source: str, cursors: Mapping[str, bytes]) -> dict[str, bytes]:
        """A source's cursor in each partition that is to have one.

        Raises PulseError: if they differ because something was cut short.
        """
        _, colon, own = source.partition(":")
        if source == _REPLAY:
            # A letter that was replayed is taken off: until then its cursors keep it from being replayed twice.
            if self._letters.isdisjoint(cursors.values()):
                return {}
            raise PulseError("a replay of dead letters was cut short: run `ark-pulse dead replay` once")
        if colon and cursors.keys() == {streams.partition_of(own, len(self._before))}:
            # The databases of one node are published where that node is at home.
            return {streams.partition_of(own, len(self._after)): next(iter(cursors.values()))}
        place_of = self._places.get(source, str)
        whole = cursors.keys() == set(self._before) and len({place_of(_text(each)) for each in cursors.values()}) == 1
        # What a source with digests has published is told by these.
        if not whole and source not in self._digested:
            raise PulseError(f"a publication of {source} was cut short: start the collectors once")
        return dict.fromkeys(self._after, max(cursors.values()))

    def _in_order(self, waiting: list[tuple[EntryId, dict[bytes, bytes]]]) -> Iterator[LoggedEntry]:
        """Entries of several streams in one, in the order of their ids, which keep their times.

        A time that is ahead, as a foreign producer may choose it, would leave no id to those that come later.
        """
        last = ZERO
        for (ms, n), fields in sorted(waiting, key=lambda each: each[0]):
            following = EntryId(last.ms, last.n + 1) if last.n < _MAX_N else EntryId(last.ms + 1, 0)
            last = max(following, EntryId(min(ms, self._taken), n))
            yield entry_text(last).encode(), fields


def _text(name: bytes) -> str:
    """A name as the collectors and the aggregators have it."""
    return name.decode("utf-8", "surrogateescape")


def _singly(fields: Mapping[bytes, bytes]) -> dict[str, dict[bytes, bytes]]:
    """Each field by the key that it is named after."""
    return {_text(name): {name: value} for name, value in fields.items()}


def _newer(partition: str) -> PulseError:
    return PulseError(f"partition {partition} holds entries of a newer release: upgrade first")


def _sum(ours: T, theirs: T) -> T:
    """The totals of two partitions as one would have them: moments are the newest, `since` is the oldest."""
    return type(ours)(
        **{name: _sum_field(name, getattr(ours, name), getattr(theirs, name)) for name in ours.__struct_fields__}
    )


def _sum_field(name: str, ours: Any, theirs: Any) -> Any:
    if isinstance(ours, Struct):
        return _sum(ours, theirs)
    if name.endswith("as_of"):
        return max((moment for moment in (ours, theirs) if moment is not None), default=None)
    if name in {"since", "format"}:
        return min(ours, theirs)
    return ours + theirs
