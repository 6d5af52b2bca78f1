"""From the entries of the bus's streams to what is known, entry by entry.

Delivery: whole values make repeats harmless. Ordering: as the entries come, per stream. What cannot be read is logged
once and passed over.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from processors.gateway.backlog import Backlog, Kept
from processors.gateway.half import Half
from processors.gateway.mesh import Mesh
from processors.gateway.state import State
from processors.runtime.logging import get_logger
from processors.runtime.reads import Entry
from schemas import codec, streams
from schemas.errors import MalformedEntry, SchemaError
from schemas.frames import RECORDS
from schemas.metrics import RosterChange, SyncRecord
from schemas.positions import EntryId, entry_id
from schemas.topics import TOPICS

__all__ = ["Changed", "Intake", "decode_change"]

_logger = get_logger("gateway")

T = TypeVar("T")
_Fields = dict[bytes, bytes]


class Changed(Protocol):
    """Told of each change."""

    def __call__(self, name: str, peers: Collection[str] | None = None) -> None:
        """A channel has changed; of the roster these peers, None: any of them."""


class Intake:
    """Keeps the state up to date, and tells after each change of it which channel has changed."""

    def __init__(self, state: State, changed: Changed) -> None:
        self._state = state
        self._changed = changed
        # Streams whose last entry could not be read: each is logged once until it can be.
        self._unreadable: set[str] = set()
        rosters = state.mesh.live.rosters | state.mesh.simulated.rosters
        self._takers: Final[dict[str, Callable[..., None]]] = {
            streams.SOURCES: self._sources,
            **{half.stream: partial(self._summaries, half) for half in state.halves},
            **{TOPICS[name].stream: partial(self._records, name, state.backlogs[name]) for name in RECORDS},
            **{streams.changes_key(partition): partial(self._changes, partition) for partition in rosters},
        }

    def take(self, stream: str, entries: Sequence[Entry], now: int, *, fresh: bool = True) -> None:
        """Take entries of `stream`, oldest first, at `now` (ms of the bus). Syncs that are not `fresh` are no news."""
        self._takers[stream](stream, entries, now, fresh)

    def complain(self, stream: str, error: Exception) -> None:
        """Log that something cannot be read."""
        if stream not in self._unreadable:
            self._unreadable.add(stream)
            _logger.warning("%s holds what cannot be read: %s", stream, error)

    def _summaries(self, half: Half[Any], stream: str, entries: Sequence[Entry], *_: object) -> None:
        for each, fields in entries:
            summary = self._decoded(stream, fields, TOPICS[half.name].decode)
            if summary is not None:
                before = half.summary
                half.hold(summary, Kept(entry_id(each), fields[b"d"]))
                self._changed(half.name)
                if isinstance(half, Mesh):
                    # Where the roster comes from is said by the summary.
                    moved = before is None or before.peers.source != summary.peers.source
                    self._changed("peers", None if moved else ())

    def _records(
        self, channel: str, backlog: Backlog, stream: str, entries: Sequence[Entry], _now: int, fresh: bool
    ) -> None:
        for each, fields in entries:
            record = self._decoded(stream, fields, TOPICS[channel].decode)
            if record is not None:
                backlog.add(_epoch(fields), Kept(entry_id(each), fields[b"d"]))
                if isinstance(record, SyncRecord):
                    self._state.mesh.add_sync(entry_id(each), record, fresh=fresh)
                self._changed(channel)

    def _sources(self, stream: str, entries: Sequence[Entry], now: int, _fresh: bool) -> None:
        for each, fields in entries:
            state = self._decoded(stream, fields, codec.decode_source)
            if state is not None:
                # A foreign producer may name an id of its own; it was heard now at the latest.
                self._state.sources.hear(min(entry_id(each).ms, now), state)
                self._changed("sources")
                for half in self._state.halves:
                    if state.group in half.groups:
                        self._changed(half.name)
                        if isinstance(half, Mesh):
                            self._changed("peers")

    def _changes(self, partition: str, stream: str, entries: Sequence[Entry], *_: object) -> None:
        world = self._state.mesh.world_of(partition)
        for each, fields in entries:
            change = self._decoded(stream, fields, decode_change)
            if change is None:
                world.rosters[partition].pass_over(entry_id(each))
                return
            if not world.apply(partition, entry_id(each), *change):
                return
            self._changed("peers", change[2])

    def _decoded(self, stream: str, fields: _Fields, decode: Callable[[_Fields], T]) -> T | None:
        """What an entry holds; None if it cannot be read, which is logged."""
        try:
            value = decode(fields)
        except SchemaError as error:
            self.complain(stream, error)
            return None
        self._unreadable.discard(stream)
        return value


def decode_change(fields: _Fields) -> tuple[str, EntryId, RosterChange]:
    """Epoch, id of the previous change, and the change. Raises MalformedEntry, NewerVersion."""
    change = codec.decode_roster_change(fields)
    if b"e" not in fields or b"prev" not in fields:
        raise MalformedEntry("field e or prev is missing")
    return _epoch(fields), entry_id(fields[b"prev"]), change


def _epoch(fields: _Fields) -> str:
    return fields.get(b"e", b"").decode("utf-8", "replace")
