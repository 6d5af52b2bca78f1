"""The memory engines of one partition: what each node's databases said of themselves.

State is made of facts alone. Which nodes are told, and which seconds still count, follows from the facts and `now`.
"""

from typing import Final, Literal, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Raw, Struct

from processors.aggregators.windows import RATE_WINDOW_MS, SecondSums, is_over, span_of
from schemas.events import CodeState, NodeSeen, ReasoningSession, ReasoningStage
from schemas.metrics import (
    MAX_DELTAS,
    MAX_LOGS,
    MAX_NODES,
    NODE_TIMEOUT_MS,
    MemoryPartial,
    MemoryRates,
    MemoryRecord,
    Origin,
)

__all__ = ["MAX_KEPT", "MemoryEvent", "MemoryLedger"]

MAX_KEPT: Final = 1_000
"""Most nodes of a partition that are kept, silent ones too: of more, the one that was not seen longest is forgotten."""

_CONSOLIDATED: Final = 0.7
_SURE: Final = 0.8
_DOUBTFUL: Final = 0.5

MemoryEvent: TypeAlias = NodeSeen | ReasoningSession | ReasoningStage | CodeState

T = TypeVar("T")


class _Node(Struct, array_like=True, omit_defaults=True):
    """What is known of one node; the value of its field in `ark:{p}:state`. New fields go to the end.

    It is one field, because a session and its stages come together and change nearly all of it.
    """

    # When the newest word of it came, ms of the bus's clock.
    seen: int
    # When its totals began, ms; None as long as no NodeSeen said so.
    since: int | None = None
    # Newest time of a fact of each group, ms; None before the first.
    reasoning_as_of: int | None = None
    code_as_of: int | None = None
    # Totals, of what was not recalled.
    sessions: int = 0
    stages: int = 0
    consolidated: int = 0
    late: int = 0
    # What its `ark.db` held last; None before the first.
    code: CodeState | None = None
    # Second -> sessions and consolidated stages.
    seconds: dict[int, list[int]] = {}
    # The newest by id: a stage's time and difference, and the sessions.
    deltas: dict[int, tuple[int, float]] = {}
    logs: dict[int, MemoryRecord] = {}

    def answer(self, event: NodeSeen) -> None:
        """Take what a database says of itself."""
        self.since = min((since for since in (self.since, event.since) if since is not None), default=None)
        if event.anew and event.group == "reasoning":
            # Its ids begin again: those of the database before would stay the highest.
            self.deltas.clear()
            self.logs.clear()

    def count(self, ts: int, arrived: int, now: int, counted: tuple[int, int]) -> None:
        """Count `counted` in the window of the rates, or as late."""
        self.late += ts <= arrived - RATE_WINDOW_MS
        if not is_over(ts // 1000, 1000, RATE_WINDOW_MS, now):
            row = SecondSums(2, self.seconds).row(ts)
            row[0] += counted[0]
            row[1] += counted[1]

    def expire(self, now: int) -> None:
        """Let the seconds that are over leave the rates."""
        SecondSums(2, self.seconds).expire(now)

    def rates(self, now: int) -> MemoryRates | None:
        """The window of the rates at `now` with every second between its first and last; None if it is empty."""
        span = span_of(self.seconds, now)
        if not span:
            return None
        rows = [self.seconds.get(second, (0, 0)) for second in span]
        sessions, consolidated = zip(*rows, strict=True)
        return MemoryRates(start=span.start, sessions=sessions, consolidated=consolidated)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Node).decode


def _keep(kept: dict[int, T], row_id: int, value: T, most: int) -> None:
    """Set what is kept of a row; of more than `most` rows the one of the lowest id goes."""
    kept[row_id] = value
    if len(kept) > most:
        del kept[min(kept)]


def _severity(confidence: float | None) -> Literal["info", "warning", "consolidation"]:
    if confidence is None or _DOUBTFUL <= confidence < _SURE:
        return "info"
    return "warning" if confidence < _DOUBTFUL else "consolidation"


class MemoryLedger:
    """The nodes of one partition, and which parts of its state have to be written anew."""

    def __init__(self, origin: Origin) -> None:
        # Ids whose state differs from the committed one; those that were forgotten are removed there.
        self.changed: set[str] = set()
        self._origin = origin
        self._nodes: dict[str, _Node] = {}
        # What was told last of each node, encoded, and of all of them: most commits change no node, few more than one.
        self._encoded: dict[str, Raw] = {}
        # The nodes as they are told, and how many were seen within the hour; None if that has to be told anew.
        self._told: tuple[tuple[Raw, ...], int] | None = None
        # When the first of those nodes will have been silent for too long, ms; None if there is none.
        self._leaves_at: int | None = None

    def restore(self, node_id: str, encoded: bytes) -> None:
        """Take back a node from its committed state, once. Raises msgspec.DecodeError: if it is not one of ours."""
        if node_id not in self._nodes:
            self._nodes[node_id] = _decode(encoded)
            self._told = None

    def encode_state(self, node_id: str, now: int) -> bytes | None:
        """A node's field of `ark:{p}:state`; None if it was forgotten."""
        node = self._nodes.get(node_id)
        if node is None:
            return None
        node.expire(now)
        return _encode(node)

    def fold(self, event: MemoryEvent, ts: int, arrived: int, now: int) -> MemoryRecord | None:
        """A fact of the time `ts`, that arrived on the bus at `arrived`; returns what the feed has to tell of it."""
        node = self._see(event.node, arrived)
        if isinstance(event, CodeState):
            node.code_as_of = max(ts, node.code_as_of or 0)
        elif not isinstance(event, NodeSeen) or event.group == "reasoning":
            # That `ark.db` answers does not say that all of it is known.
            node.reasoning_as_of = max(ts, node.reasoning_as_of or 0)
        match event:
            case NodeSeen():
                node.answer(event)
            case CodeState() if node.code is None or ts >= node.code.ts:
                node.code = msgspec.structs.replace(event, ts=ts)
            case ReasoningStage():
                self._add_stage(node, event, ts, arrived, now)
            case ReasoningSession():
                return self._add_session(node, event, ts, arrived, now)
        return None

    def _see(self, node_id: str, moment: int) -> _Node:
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = _Node(moment)
            if len(self._nodes) > MAX_KEPT:
                self._forget(min(self._nodes, key=lambda each: (self._nodes[each].seen, each)))
        node.seen = max(moment, node.seen)
        self.changed.add(node_id)
        self._encoded.pop(node_id, None)
        self._told = None
        return node

    def _forget(self, node_id: str) -> None:
        del self._nodes[node_id]
        self.changed.add(node_id)
        self._encoded.pop(node_id, None)

    @staticmethod
    def _add_stage(node: _Node, event: ReasoningStage, ts: int, arrived: int, now: int) -> None:
        if event.delta is None:
            node.deltas.pop(event.id, None)
        else:
            _keep(node.deltas, event.id, (ts, event.delta), MAX_DELTAS)
        if not event.recalled:
            consolidated = event.confidence is not None and event.confidence >= _CONSOLIDATED
            node.stages += 1
            node.consolidated += consolidated
            node.count(ts, arrived, now, (0, consolidated))

    def _add_session(
        self, node: _Node, event: ReasoningSession, ts: int, arrived: int, now: int
    ) -> MemoryRecord | None:
        record = self._record(event, ts)
        _keep(node.logs, event.id, record, MAX_LOGS)
        if event.recalled:
            return None
        node.sessions += 1
        node.count(ts, arrived, now, (1, 0))
        return record

    def _record(self, event: ReasoningSession, ts: int) -> MemoryRecord:
        said = "unknown" if event.confidence is None else f"{event.confidence:.2f}"
        message = ": ".join(part for part in (event.agent, f"confidence {said}", event.query) if part)
        return MemoryRecord(
            ts=ts,
            node=event.node,
            id=event.id,
            severity=_severity(event.confidence),
            message=f"[simulated] {message}" if self._origin == "simulated" else message,
            source=self._origin,
        )

    def pass_time(self, now: int) -> None:
        """Let time act: nodes that were silent for too long are told no more."""
        if self._leaves_at is not None and now >= self._leaves_at:
            self._told = self._leaves_at = None

    def next_deadline(self) -> int | None:
        """When a node that was told will have been silent for too long, ms; None if none was told."""
        return self._leaves_at

    def has_news(self) -> bool:
        """Whether the nodes are others than were told last."""
        return self._told is None

    def tell(self, now: int) -> tuple[tuple[MemoryPartial, ...], int]:
        """The nodes that were seen within the hour before `now`, as a partial has them, and how many they are."""
        self.pass_time(now)
        if self._told is None:
            known = [node_id for node_id in sorted(self._nodes) if now - self._nodes[node_id].seen < NODE_TIMEOUT_MS]
            newest = sorted(known, key=lambda node_id: self._nodes[node_id].seen, reverse=True)[:MAX_NODES]
            self._told = tuple(self._encode(node_id, now) for node_id in sorted(newest)), len(known)
            self._leaves_at = min((self._nodes[each].seen + NODE_TIMEOUT_MS for each in known), default=None)
        encoded, count = self._told
        # Encoded already, they go into a partial as they are: a commit that changes no node costs nothing for them.
        return cast("tuple[MemoryPartial, ...]", encoded), count

    def _encode(self, node_id: str, now: int) -> Raw:
        raw = self._encoded.get(node_id)
        if raw is None:
            raw = self._encoded[node_id] = Raw(_encode(self._partial(node_id, now)))
        return raw

    def _partial(self, node_id: str, now: int) -> MemoryPartial:
        node = self._nodes[node_id]
        node.expire(now)
        code = node.code
        return MemoryPartial(
            node=node_id,
            seen=node.seen,
            since=node.since,
            reasoning_as_of=node.reasoning_as_of,
            code_as_of=node.code_as_of,
            rates=node.rates(now),
            sessions_total=node.sessions,
            stages_total=node.stages,
            consolidated_total=node.consolidated,
            late_total=node.late,
            usage=None if code is None else code.usage,
            snippets=None if code is None else code.snippets,
            quarantined=None if code is None else code.quarantined,
            tiers=None if code is None else code.tiers,
            deltas=tuple(delta for _, delta in sorted(node.deltas.items())),
            logs=tuple(record for _, record in sorted(node.logs.items())),
        )
