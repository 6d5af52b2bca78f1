"""One partition: folds entries into state, and says what a commit has to write.

State is a function of the entries alone, whatever the time at which they are folded; the summary and the roster are
functions of the state and `now`. Internal time only moves forward.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from processors.aggregators.memory import MemoryEvent, MemoryLedger
from processors.aggregators.peers import Roster
from processors.aggregators.sync import SyncLedger, SyncTotals
from processors.aggregators.watch import Watch
from schemas import codec
from schemas.errors import MalformedEntry, NewerVersion
from schemas.events import (
    MAX_BATCH_EVENTS,
    MAX_EXCERPT,
    CodeState,
    Event,
    Heartbeat,
    NodeSeen,
    PeerGone,
    ReasoningSession,
    ReasoningStage,
    Rejected,
    SyncIn,
    SyncOut,
)
from schemas.metrics import DeadLetter, FederationPartial, MemoryRecord, Origin, Partial, SyncRecord
from schemas.positions import entry_id
from schemas.streams import SIMULATED, partition_of

__all__ = ["FORMAT", "MAX_DIRTY", "Commit", "Partition", "Totals"]

MAX_DIRTY: Final = 1_000
"""Most keys of state that one commit writes, most rows of the roster, and most events that it tells: the server spends
some microseconds on each, and serves nobody else meanwhile.
"""

_MAX_FUTURE_MS: Final = 5_000
_WORD_MS: Final = 1_000
# An event changes two keys at most: a sync its window and its sender's state; a node its own, and that of one that is
# forgotten for it.
_KEYS_OF_EVENT: Final = 2
# The seconds of the rates may all be over at once.
_SECONDS: Final = 70
_MAX_PARKED_FIELDS: Final = 32
FORMAT: Final = 2
"""Of the state. 2 keeps the bytes that a peer sent in its window; a state of format 1 is read, and becomes 2."""

_TOTALS: Final = "totals"


class Totals(Struct, array_like=True):
    """The field `totals` of the state. New fields go to the end."""

    format: int
    # When these totals began, ms.
    since: int
    heartbeats: int = 0
    # Times that were too far ahead, and were replaced.
    future: int = 0
    # Newest time of a fact about a peer, ms; None before the first.
    peers_as_of: int | None = None
    sync: SyncTotals = msgspec.field(default_factory=SyncTotals)


@dataclass(slots=True)
class Commit:
    """What one commit writes. None as a value removes the field."""

    # Id of the newest entry that was folded; unchanged if time alone moved.
    position: str
    state: dict[str, bytes | None] = field(default_factory=dict)
    roster: dict[str, bytes | None] = field(default_factory=dict)
    # Body of the entry of `ark:{p}:changes`; None if the roster is as it was.
    changes: bytes | None = None
    partial: bytes = b""
    # Entries of `ark:{p}:feed`: type ("sync" or "memory"), and body: a JSON array of records.
    feed: list[tuple[str, bytes]] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    # Entries of a newer schema version, as they came.
    parked: list[Mapping[bytes, bytes]] = field(default_factory=list)
    # Ids of parked entries that were folded now.
    unparked: list[str] = field(default_factory=list)
    # Goes with what the commit tells; "" if it is not traced.
    traceparent: str = ""


_decode_totals = msgspec.json.Decoder(Totals).decode
_decode_row = msgspec.json.Decoder(tuple[int, int, int, int]).decode


class Partition:
    """The logic of one partition between its restore and its loss."""

    def __init__(self, name: str, now: int, count: int, watch: Watch | None = None) -> None:
        """Partition `name` of `count` live ones, or the simulated one, at `now` (ms).

        `watch` tells when the peers were watched; without it they always are.
        """
        self.name = name
        self._count = count
        self._origin: Origin = "simulated" if name == SIMULATED else "live"
        self._watch = watch or Watch()
        self._roster = Roster(self._watch)
        self._ledger = SyncLedger()
        self._memory = MemoryLedger(self._origin)
        self._totals = Totals(FORMAT, now)
        # Internal time: the latest `now` that was seen.
        self._now = now
        # What the next commit tells besides state and roster.
        self._syncs: list[SyncRecord] = []
        self._sessions: list[MemoryRecord] = []
        self._dead: list[bytes] = []
        self._parked: list[Mapping[bytes, bytes]] = []
        self._unparked: list[str] = []
        # Weight x success ratio of each known peer in 10^-9, and their sum.
        self._integrity: dict[str, int] = {}
        self._integrity_sum = 0
        # Id of the newest folded entry.
        self._position = "0-0"
        # The top talkers as they were when it was last asked whether there is something to tell.
        self._talkers: tuple[tuple[str, int], ...] = ()
        # How many more events are sure to fit into the commit; fewer than there may be.
        self._room = 0
        # Whether anything was folded, or changed by time, since the last commit.
        self._moved = False
        # Events that were folded since the restore.
        self.folded = 0

    def restore(self, position: str, fields: Mapping[bytes, bytes]) -> None:
        """Take back the committed state, once or in several parts, and stand at `position`.

        Time acts later, when the entries that wait in the stream have been folded.

        Raises msgspec.DecodeError: if a field is not one of ours.
        """
        self._position = position
        for name, encoded in fields.items():
            kind, _, key = name.decode("utf-8", "surrogatepass").partition(":")
            match kind:
                case "peer":
                    self._roster.restore(key, encoded)
                case "sync":
                    self._ledger.restore_window(key, encoded)
                case "node":
                    self._memory.restore(key, encoded)
                case "rate":
                    self._ledger.rates.rows[int(key)] = list(_decode_row(encoded))
                case "totals":
                    self._totals = _decode_totals(encoded)
                    if self._totals.format > FORMAT:
                        raise msgspec.ValidationError(f"format {self._totals.format} is of a newer release")
                    self._ledger.totals = self._totals.sync
                    self._roster.heartbeats, self._roster.as_of = self._totals.heartbeats, self._totals.peers_as_of

    @property
    def position(self) -> str:
        """Id of the newest folded entry."""
        return self._position

    @property
    def peers(self) -> int:
        """How many it knows."""
        return len(self._roster.peers)

    def has_room(self) -> bool:
        """Whether one more entry is sure to fit into the commit; if not, commit first."""
        if self._room < MAX_BATCH_EVENTS:
            told = len(self._syncs) + len(self._sessions) + len(self._dead) + len(self._parked) + len(self._unparked)
            self._room = min((MAX_DIRTY - _SECONDS - self._dirty()) // _KEYS_OF_EVENT, MAX_DIRTY - told)
        return self._room >= MAX_BATCH_EVENTS

    def _dirty(self) -> int:
        roster, ledger = self._roster, self._ledger
        syncs = len(ledger.changed_windows) + len(ledger.changed_seconds)
        return len(roster.changed_state) + syncs + len(self._memory.changed) + 1

    def fold(self, position: str, fields: Mapping[bytes, bytes], now: int) -> None:
        """Fold the stream entry of the id `position`. What cannot be read becomes a dead letter, or is parked."""
        self._position = position
        self._fold(position, fields, now)

    def unpark(self, entry: str, fields: Mapping[bytes, bytes], now: int) -> None:
        """Fold a parked entry, if its version is one that we know; otherwise it stays where it is."""
        if codec.is_newer(fields):
            return
        self._unparked.append(entry)
        self._fold(entry, fields, now)

    def _fold(self, entry: str, fields: Mapping[bytes, bytes], now: int) -> None:
        self._moved = True
        added = entry_id(entry).ms
        # Who is behind works at the time of what it reads: silent is who is not in it.
        self._advance(min(added, now))
        # A foreign producer may name an id of its own; it arrived now at the latest.
        arrived = min(added, self._now)
        self._room -= 1
        try:
            batch = codec.decode_events(fields)
        except NewerVersion as error:
            if len(fields) <= _MAX_PARKED_FIELDS and sum(map(len, [*fields, *fields.values()])) <= codec.MAX_BODY:
                self._parked.append(fields)
            else:
                reason = f"{error}, and it is too large to be parked"
                self._reject(arrived, "aggregator", reason, fields.get(b"d", b""), whole=False)
            return
        except MalformedEntry as error:
            self._reject(arrived, "aggregator", error.reason, fields.get(b"d", b""))
            return
        self._room -= len(batch.events) + len(batch.rejected)
        self.folded += len(batch.events)
        latest = arrived + _MAX_FUTURE_MS
        for event in batch.events:
            ts = event.ts
            if ts > latest:
                ts = arrived
                self._totals.future += 1
            _FOLDS[type(event)](self, event, ts, arrived)
        for reason, raw in batch.rejected:
            self._reject(arrived, "aggregator", reason, raw)

    def _hear(self, event: Heartbeat, ts: int, arrived: int) -> None:
        if event.peer in self._roster.peers or self._is_home(event.peer, event, ts):
            self._roster.hear(event, ts, arrived)

    def _lose(self, event: PeerGone, ts: int, arrived: int) -> None:
        if event.peer in self._roster.peers or self._is_home(event.peer, event, ts):
            self._roster.lose(event, ts, arrived)

    def _send(self, event: SyncOut, ts: int, arrived: int) -> None:
        if event.sender in self._roster.peers or self._is_home(event.sender, event, ts):
            self._ledger.send(event, ts, arrived, self._now)
            self._roster.share(event.sender, event.bytes, arrived)
            self._syncs.append(self._record(event, ts))

    def _take_part(self, event: SyncIn, ts: int, _: int) -> None:
        if event.peer in self._roster.peers or self._is_home(event.peer, event, ts):
            self._ledger.take_part(event.peer, ts, self._now, ok=event.ok)

    def _remember(self, event: MemoryEvent, ts: int, arrived: int) -> None:
        if self._is_home(event.node, event, ts):
            record = self._memory.fold(event, ts, arrived, self._now)
            if record is not None:
                self._sessions.append(record)

    def _pass_on(self, event: Rejected, ts: int, _: int) -> None:
        excerpt = event.excerpt.encode("utf-8", "replace")
        self._reject(ts, event.collector, event.reason, excerpt, whole=event.whole)

    def _is_home(self, key: str, event: Event, ts: int) -> bool:
        """Whether a key belongs into this partition; if not, its event is rejected.

        Counted here it would make a second peer, or a second node, of the same id. Who is known here is at home here:
        asked for every event, the hash would be a tenth of all work.
        """
        home = self.name if self.name == SIMULATED else partition_of(key, self._count)
        if home != self.name:
            self._reject(ts, "aggregator", f"belongs into partition {home}", codec.encode(event))
        return home == self.name

    def _record(self, event: SyncOut, ts: int) -> SyncRecord:
        return SyncRecord(
            ts=ts,
            sender=event.sender,
            target=event.target,
            action=event.action,
            bytes=event.bytes,
            source=self._origin,
            ok=event.ok,
        )

    def _reject(self, ts: int, by: str, reason: str, raw: bytes, *, whole: bool = True) -> None:
        """Write a dead letter. `whole`: nothing of `raw` was used; cut off or mended, it is not whole all the same."""
        excerpt = raw[:MAX_EXCERPT].decode("utf-8", "replace")
        whole = whole and excerpt.encode() == raw
        letter = DeadLetter(ts=ts, rejected_by=by, reason=reason, excerpt=excerpt, whole=whole, partition=self.name)
        self._dead.append(codec.encode(letter))

    def pass_time(self, now: int) -> None:
        """Let time act, on as many peers as fit into one commit; `next_deadline` tells whether some are left.

        To be called when nothing waits to be folded: a peer must not leave before what had arrived of it is read.
        """
        self._advance(now)
        self._room = 0
        self._roster.settle(self._known_until())
        self._roster.pass_time(self._known_until(), MAX_DIRTY // 8)
        self._ledger.pass_time(self._now, MAX_DIRTY // 8)
        self._memory.pass_time(self._now)

    def _advance(self, now: int) -> None:
        self._now = max(self._now, now)

    def _known_until(self) -> int:
        """Up to when it is known what was to be heard of the peers, ms: of what comes after it no silence can tell."""
        return max(self._watch.known_until(self._now), min(self._roster.heard_at, self._now))

    def next_deadline(self) -> int | None:
        """When time alone changes something next, ms; None if nothing waits for time."""
        self._roster.settle(self._known_until())
        moments = [self._roster_deadline(), self._ledger.next_deadline(), self._memory.next_deadline()]
        return min((moment for moment in moments if moment is not None), default=None)

    def _roster_deadline(self) -> int | None:
        deadline, known_until = self._roster.next_deadline(), self._known_until()
        if deadline is None or deadline <= known_until or known_until == self._now:
            return deadline
        # What time would change now waits for the next word of a source.
        return max(deadline, self._now + _WORD_MS)

    def needs_commit(self) -> bool:
        """Whether there is something to tell. State that merely fell out of its windows waits for the next commit."""
        roster = self._roster
        roster.settle(self._known_until())
        before = self._integrity_sum
        self._settle_integrity(roster.changed_weights | self._ledger.changed_ratios)
        roster.changed_weights.clear()
        self._ledger.changed_ratios.clear()
        news = bool(roster.changed_rows or roster.left) or self._integrity_sum != before or self._memory.has_news()
        self._moved = self._moved or news or self._dirty() > MAX_DIRTY // 2
        # Nobody downstream could let them decay, as the rates do.
        before_talkers, self._talkers = self._talkers, self._ledger.top_talkers()
        self._moved = self._moved or self._talkers != before_talkers
        return self._moved

    def _settle_integrity(self, peer_ids: Iterable[str]) -> None:
        for peer_id in peer_ids:
            peer = self._roster.peers.get(peer_id)
            self._integrity_sum -= self._integrity.pop(peer_id, 0)
            if peer is None or not peer.weight():
                continue
            finished, succeeded = self._ledger.ratio(peer_id)
            # Most have not failed, and all of a tier share one number.
            share = peer.weight() if finished == succeeded else peer.weight() * succeeded // finished
            self._integrity[peer_id] = share
            self._integrity_sum += share

    def collect(self, epoch: str, n: int, now: int) -> Commit:
        """Everything the commit `n` of `epoch` writes. Afterwards all of it counts as written."""
        self._advance(now)
        self._ledger.expire_rates(self._now)
        self.needs_commit()
        commit = Commit(self._position, dead=self._dead, parked=self._parked, unparked=self._unparked)
        self._dead, self._parked, self._unparked = [], [], []
        self._collect_feeds(commit)
        self._collect_roster(commit)
        self._collect_ledger(commit)
        for node_id in self._memory.changed:
            commit.state[f"node:{node_id}"] = self._memory.encode_state(node_id, self._now)
        self._memory.changed.clear()
        self._totals.format, self._totals.sync = FORMAT, self._ledger.totals
        self._totals.heartbeats, self._totals.peers_as_of = self._roster.heartbeats, self._roster.as_of
        commit.state[_TOTALS] = codec.encode(self._totals)
        commit.partial = codec.encode(self._partial(epoch, n))
        self._moved = False
        self._room = 0
        return commit

    def _collect_feeds(self, commit: Commit) -> None:
        feeds: tuple[tuple[str, list[Any]], ...] = ("sync", self._syncs), ("memory", self._sessions)
        commit.feed = [(kind, codec.encode(records)) for kind, records in feeds if records]
        self._syncs, self._sessions = [], []

    def _collect_roster(self, commit: Commit) -> None:
        roster, known_until = self._roster, self._known_until()
        rows = {peer_id: codec.encode(roster.row(peer_id, known_until)) for peer_id in roster.changed_rows}
        gone = dict.fromkeys(roster.left)
        commit.roster = {**rows, **gone}
        if commit.roster:
            commit.changes = codec.encode({**{peer_id: Raw(row) for peer_id, row in rows.items()}, **gone})
        for peer_id in roster.changed_state:
            known = peer_id in roster.peers
            commit.state[f"peer:{peer_id}"] = roster.encode_state(peer_id) if known else None
        roster.changed_rows.clear()
        roster.changed_state.clear()
        roster.left.clear()

    def _collect_ledger(self, commit: Commit) -> None:
        ledger = self._ledger
        for peer_id in ledger.changed_windows:
            commit.state[f"sync:{peer_id}"] = ledger.encode_window(peer_id)
        for second in ledger.changed_seconds:
            row = ledger.rates.rows.get(second)
            commit.state[f"rate:{second}"] = None if row is None else codec.encode(row)
        ledger.changed_windows.clear()
        ledger.changed_seconds.clear()

    def _partial(self, epoch: str, n: int) -> Partial:
        roster, ledger = self._roster, self._ledger
        memory, nodes = self._memory.tell(self._now)
        return Partial(
            partition=self.name,
            epoch=epoch,
            n=n,
            ts=self._now,
            since=self._totals.since,
            federation=FederationPartial(
                known=len(roster.peers),
                online=roster.online,
                integrity_nano=self._integrity_sum,
                latency_us=roster.latencies.sum_us,
                latencies=roster.latencies.count,
                sketch=roster.latencies.snapshot(),
                rates=ledger.snapshot_rates(self._now),
                heartbeats_total=roster.heartbeats,
                sync_events_total=ledger.totals.syncs,
                sync_bytes_total=ledger.totals.bytes,
                sync_failures_total=ledger.totals.failures,
                late_total=ledger.totals.late,
                future_total=self._totals.future,
                overflow_total=ledger.totals.overflow,
                talkers=self._talkers,
                peers_as_of=roster.as_of,
                sync_as_of=ledger.totals.as_of,
            ),
            memory=memory,
            nodes=nodes,
        )


_FOLDS: Final[dict[type, Callable[[Partition, Any, int, int], None]]] = {
    Heartbeat: Partition._hear,
    PeerGone: Partition._lose,
    SyncOut: Partition._send,
    SyncIn: Partition._take_part,
    NodeSeen: Partition._remember,
    ReasoningSession: Partition._remember,
    ReasoningStage: Partition._remember,
    CodeState: Partition._remember,
    Rejected: Partition._pass_on,
}
"""What becomes of an event: of the partition, the event, its time, and when it arrived (ms)."""
