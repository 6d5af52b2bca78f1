"""Naive models of both halves: they keep every event, and compute each value from all of them, as defined."""

from collections import defaultdict
from functools import reduce
from itertools import pairwise
from typing import TypeVar

from processors.aggregators import failure_detector as detector
from processors.aggregators.memory import MemoryEvent
from schemas.events import (
    OWN_REDIS,
    CodeState,
    Event,
    Heartbeat,
    NodeSeen,
    PeerGone,
    ReasoningSession,
    ReasoningStage,
    SyncIn,
    SyncOut,
)

__all__ = ["WEIGHTS", "MemoryModel", "Model", "in_window"]

WEIGHTS = {"core": 1.0, "trusted": 0.95, "verified": 0.90}
HOUR = 3_600_000

T = TypeVar("T")


def in_window(ts: int, bucket_ms: int, length_ms: int, now: int) -> bool:
    """Whether the bucket of `ts` still has a moment in (now - length, now]."""
    return ts // bucket_ms * bucket_ms + bucket_ms - 1 > now - length_ms


class Model:
    """All (arrival, event) pairs in the order of the stream."""

    def __init__(self, events: list[tuple[int, Event]]) -> None:
        self.events = [(arrived, event, self.time_of(arrived, event)) for arrived, event in events]
        self.syncs = [(event, ts) for _, event, ts in self.events if isinstance(event, SyncOut)]
        self.pairs = [(event, min(ts, at)) for at, event, ts in self.events if isinstance(event, SyncOut)]

    @staticmethod
    def time_of(arrived: int, event: Event) -> int:
        return arrived if event.ts > arrived + 5_000 else event.ts

    @staticmethod
    def place(event: Heartbeat | PeerGone) -> str:
        return "here" if event.learnt_from in OWN_REDIS else event.learnt_from

    def is_told(self, last: tuple[int, Heartbeat], event: Heartbeat, ts: int) -> bool:
        """Whether this node's own Redis told of the peer within two minutes, and another service does now."""
        return self.place(last[1]) == "here" != self.place(event) and ts < last[0] + 120_000

    def roster(self, now: int) -> dict[str, tuple[str, float | None, str | None]]:
        """Known peers: (status, latency, tier)."""
        return self.beats(now)[0]

    def beats(self, now: int) -> tuple[dict[str, tuple[str, float | None, str | None]], int]:
        """The known peers, and how many heartbeats counted."""
        counted = 0
        # The time of a heartbeat that is dated before the last is that of the last.
        beats: dict[str, list[tuple[int, Heartbeat]]] = defaultdict(list)
        gone: dict[str, int] = {}
        for arrived, event, ts in self.events:
            if not isinstance(event, Heartbeat | PeerGone):
                continue
            known = beats[event.peer]
            if known and arrived >= self.leaves(known[-1], gone.get(event.peer)):
                known.clear()
                gone.pop(event.peer, None)
            if isinstance(event, Heartbeat):
                if known and event.peer not in gone and self.is_told(known[-1], event, ts):
                    continue
                counted += 1
                known.append((max(ts, known[-1][0]) if known else ts, event))
                gone.pop(event.peer, None)
            elif known and ts >= known[-1][0] and self.place(event) == self.place(known[-1][1]):
                gone[event.peer] = ts
        roster = {
            peer: self.describe(known, peer in gone, now)
            for peer, known in beats.items()
            if known and now < self.leaves(known[-1], gone.get(peer))
        }
        return roster, counted

    @staticmethod
    def leaves(last: tuple[int, Heartbeat], gone: int | None) -> int:
        return last[0] + (HOUR if last[1].expires or gone is not None else 24 * HOUR)

    @staticmethod
    def describe(known: list[tuple[int, Heartbeat]], gone: bool, now: int) -> tuple[str, float | None, str | None]:
        times = [ts for ts, _ in known]
        lengths = [later - earlier for earlier, later in pairwise(times)]
        timeout = detector.timeout_ms(reduce(detector.observe, lengths, detector.Intervals()))
        last = known[-1][1]
        if gone or last.status == "offline" or now - times[-1] >= timeout:
            status = "offline"
        else:
            status = "syncing" if last.status == "syncing" else "online"
        return status, last.latency_ms, last.tier

    def integrity(self, now: int) -> float | None:
        known = self.roster(now)
        if not known:
            return None
        total = 0.0
        for peer, (_, _, tier) in known.items():
            outcomes = [
                event.ok
                for _, event, ts in self.events
                if isinstance(event, SyncOut | SyncIn)
                and event.ok is not None
                and (event.sender if isinstance(event, SyncOut) else event.peer) == peer
                and in_window(ts, 10_000, 300_000, now)
            ]
            total += WEIGHTS.get(tier or "", 0.0) * (sum(outcomes) / len(outcomes) if outcomes else 1.0)
        return 100 * total / len(known)

    def rates(self, now: int) -> tuple[float, float, float | None]:
        recent = [e for e, ts in self.syncs if in_window(ts, 1_000, 60_000, now) and ts // 1000 * 1000 <= now]
        finished = [event.ok for event in recent if event.ok is not None]
        success = 100 * sum(finished) / len(finished) if finished else None
        return len(recent) / 60, sum(event.bytes for event in recent) / 60, success

    def active_syncs(self, now: int) -> int:
        newest: dict[tuple[str, str], int] = {}
        for event, ts in self.pairs:
            pair = (event.sender, event.target)
            newest[pair] = max(ts, newest.get(pair, 0))
        return sum(in_window(ts, 1_000, 10_000, now) and ts // 1000 * 1000 <= now for ts in newest.values())

    def data_shared(self, peer: str) -> int:
        """Bytes a peer sent since it entered; for peers that never left."""
        entered, total = False, 0
        for _, event, _ in self.events:
            entered = entered or (isinstance(event, Heartbeat) and event.peer == peer)
            if entered and isinstance(event, SyncOut) and event.sender == peer:
                total += event.bytes
        return total


class MemoryModel:
    """All (arrival, event) pairs of all nodes in the order of the stream, at `now`."""

    def __init__(self, events: list[tuple[int, MemoryEvent]], now: int) -> None:
        self.now = now
        told = [(arrived, event, Model.time_of(arrived, event)) for arrived, event in events]
        self.seen: dict[str, int] = {}
        for arrived, event in events:
            self.seen[event.node] = max(self.seen.get(event.node, 0), arrived)
        self.nodes = sorted(node for node, seen in self.seen.items() if now - seen < HOUR)
        # Those of nodes that count.
        self.events = [each for each in told if each[1].node in self.nodes]

    def sessions(self) -> list[tuple[int, ReasoningSession, int]]:
        return [(at, e, ts) for at, e, ts in self.events if isinstance(e, ReasoningSession) and not e.recalled]

    def stages(self) -> list[tuple[int, ReasoningStage, int]]:
        return [(at, e, ts) for at, e, ts in self.events if isinstance(e, ReasoningStage) and not e.recalled]

    def consolidated(self) -> list[tuple[int, ReasoningStage, int]]:
        return [each for each in self.stages() if each[1].confidence is not None and each[1].confidence >= 0.7]

    def late(self) -> int:
        return sum(ts <= arrived - 60_000 for arrived, _, ts in [*self.sessions(), *self.stages()])

    def rate(self, times: list[int]) -> float:
        return sum(in_window(ts, 1_000, 60_000, self.now) and ts // 1000 * 1000 <= self.now for ts in times) / 60

    def since(self) -> int | None:
        said = [event.since for _, event, _ in self.events if isinstance(event, NodeSeen)]
        return min((since for since in said if since is not None), default=None)

    def rows(self, node: str, kind: type[ReasoningSession | ReasoningStage]) -> list[tuple[int, int, MemoryEvent]]:
        """(id, time, event) of a node's rows as they were told last, since its database was last another, by id."""
        newest: dict[int, tuple[int, int, MemoryEvent]] = {}
        for _, event, ts in self.events:
            if event.node == node and isinstance(event, NodeSeen) and event.anew and event.group == "reasoning":
                newest.clear()
            elif event.node == node and isinstance(event, kind):
                newest[event.id] = (event.id, ts, event)
        return [newest[row_id] for row_id in sorted(newest)]

    def deltas(self) -> list[float]:
        told = [[(ts, stage.delta) for _, ts, stage in self.rows(node, ReasoningStage)] for node in self.nodes]  # type: ignore[union-attr]
        return from_the_newest([[(ts, delta) for ts, delta in each if delta is not None] for each in told], 50)

    def logs(self) -> list[tuple[str, int]]:
        """(node, id) of the newest sessions."""
        told = [
            [(ts, (node, row_id)) for row_id, ts, _ in self.rows(node, ReasoningSession)][-20:] for node in self.nodes
        ]
        return from_the_newest(told, 20)

    def gauges(self) -> list[CodeState]:
        """What each node's `ark.db` held last."""
        newest: dict[str, tuple[int, CodeState]] = {}
        for _, event, ts in self.events:
            if isinstance(event, CodeState) and ts >= newest.get(event.node, (0, event))[0]:
                newest[event.node] = (ts, event)
        return [state for _, state in newest.values()]

    def dedup_rate(self) -> float | None:
        known = [(s.usage, s.snippets) for s in self.gauges() if s.usage is not None and s.snippets is not None]
        usage = sum(used for used, _ in known)
        if usage <= 0:
            return None
        return min(max(100 * (usage - sum(snippets for _, snippets in known)) / usage, 0), 100)

    def quarantined(self) -> int | None:
        known = [state.quarantined for state in self.gauges() if state.quarantined is not None]
        return sum(known) if known else None

    def tiers(self) -> dict[str, int] | None:
        known = [state.tiers for state in self.gauges() if state.tiers is not None]
        names = {tier for tiers in known for tier in tiers}
        return {name: sum(tiers.get(name, 0) for tiers in known) for name in names} if known else None


def from_the_newest(told: list[list[tuple[int, T]]], most: int) -> list[T]:
    """The newest of several lists of (time, value), of which each keeps its own order; oldest first."""
    taken: list[T] = []
    while len(taken) < most and (left := [each for each in told if each]):
        taken.append(max(left, key=lambda each: each[-1][0]).pop()[1])
    return taken[::-1]
