"""A believable memory half: two nodes whose agents reason in bursts, and whose code patterns are used again and again.

The same random numbers give the same nodes. Every node's id begins with `sim-`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal, TypeAlias

from processors.collectors.agenda import Agenda
from processors.collectors.chance import Chance
from schemas.events import MAX_BATCH_EVENTS, MAX_QUERY, CodeState, Event, NodeSeen, ReasoningSession, ReasoningStage
from schemas.metrics import Tiers

__all__ = ["COLLECTOR", "NODES", "MemorySimulation"]

COLLECTOR: Final = "memory_simulator"

NODES: Final = ("sim-atlas", "sim-borealis")

_AGENTS: Final = ("planner", "researcher", "critic", "archivist", "verifier")
_QUERIES: Final = (
    "Why does the {} retry after a timeout?",
    "Which patterns does the {} repeat?",
    "Is the {} safe to run in the sandbox?",
    "Summarise last night's errors of the {}",
    "How could the {} use less memory?",
    "What changed in the {} since Monday?",
    "Plan the migration of the {}",
    "Compare both versions of the {}",
)
_SUBJECTS: Final = ("sync scheduler", "peer registry", "snippet index", "trust scorer", "log parser", "task queue")
_TIERS: Final[Tiers] = {"core": 48, "trusted": 74, "sandbox": 131, "external": 39, "other": 12}

# Milliseconds. Bursts of three sessions on average, so that there is one about every four seconds.
_BETWEEN_BURSTS: Final = 10_800
_WITHIN_BURST: Final = (200, 1_200)
_BETWEEN_CHANGES: Final = 5_000
_SEEN_EVERY: Final = 60_000
_PAST_EVERY: Final = 2_000

_BURST: Final = (1, 6)
_PAST: Final = 20
_STAGES: Final = (3, 8)
_TROUBLED: Final = 0.1
_QUARANTINED: Final = 0.08

_Doing: TypeAlias = Literal["seen", "session", "code"]


@dataclass(slots=True)
class _Node:
    id: str
    # The next ids of its databases. They begin with the time in ms: those of a simulation that is begun again are
    # larger, as they are in a database that goes on.
    sessions: "count[int]"
    stages: "count[int]"
    # What its `ark.db` would hold.
    usage: int
    snippets: int
    quarantined: int
    tiers: Tiers
    # How many sessions the present burst still has.
    left: int = 0


class MemorySimulation:
    """The nodes' state. `random` gives numbers in [0, 1)."""

    def __init__(self, random: Callable[[], float], now: int) -> None:
        self._chance = Chance(random)
        self._since = now
        self._nodes = [self._make(node, now) for node in NODES]
        # What each node does next: it is seen, has a session, changes its code.
        self._agenda: Agenda[tuple[_Node, _Doing]] = Agenda()
        for node in self._nodes:
            self._agenda.plan(now + _SEEN_EVERY, (node, "seen"))
            self._agenda.plan(now + self._chance.exponential(_BETWEEN_BURSTS), (node, "session"))
            self._agenda.plan(now + self._chance.exponential(_BETWEEN_CHANGES), (node, "code"))
        # What is told before anything happens; empty after the first step.
        self._beginning = self._begin(now)

    def next_deadline(self) -> int:
        """When the next thing happens, ms."""
        return self._since if self._beginning else self._agenda.next_deadline()

    def step(self, now: int) -> list[Event]:
        """What happened up to `now` (ms), at most one batch of it. The first time, what was there before as well."""
        events, self._beginning = self._beginning, []
        while self._agenda.next_deadline() <= now and len(events) < MAX_BATCH_EVENTS - _STAGES[1]:
            ts, (node, doing) = self._agenda.take(now)
            events += self._do(node, doing, ts)
        return events

    def _make(self, node: str, now: int) -> _Node:
        snippets = self._chance.between(120, 220)
        # 40 to 75 percent of the uses are repetitions.
        usage = int(snippets / (1 - 0.45 - 0.25 * self._chance.random()))
        tiers = {tier: size + self._chance.between(0, 20) for tier, size in _TIERS.items()}
        return _Node(node, count(now), count(now), usage, snippets, self._chance.between(2, 6), tiers)

    def _begin(self, now: int) -> list[Event]:
        events: list[Event] = []
        for node in self._nodes:
            events += [*self._seen(node, now), self._code(node, now)]
        for ago in range(_PAST, 0, -1):
            events += self._session(self._chance.choice(self._nodes), now - ago * _PAST_EVERY, recalled=True)
        return events

    def _do(self, node: _Node, doing: _Doing, ts: int) -> list[Event]:
        if doing == "seen":
            self._agenda.plan(ts + _SEEN_EVERY, (node, doing))
            return self._seen(node, ts)
        if doing == "code":
            self._agenda.plan(ts + self._chance.exponential(_BETWEEN_CHANGES), (node, doing))
            return self._change(node, ts)
        node.left = (node.left or self._chance.between(*_BURST)) - 1
        within = self._chance.between(*_WITHIN_BURST)
        self._agenda.plan(ts + (within if node.left else self._chance.exponential(_BETWEEN_BURSTS)), (node, doing))
        return self._session(node, ts)

    def _seen(self, node: _Node, ts: int) -> list[Event]:
        return [
            NodeSeen(node=node.id, ts=ts, group="reasoning", since=self._since),
            NodeSeen(node=node.id, ts=ts, group="code"),
        ]

    def _session(self, node: _Node, ts: int, *, recalled: bool = False) -> list[Event]:
        """A session and its stages, written in one transaction: they have one time."""
        confidences = self._confidences()
        stages: list[Event] = [
            ReasoningStage(
                node=node.id,
                ts=ts,
                id=next(node.stages),
                confidence=confidence,
                delta=round(confidence - confidences[order - 1], 3) if order else None,
                recalled=recalled,
            )
            for order, confidence in enumerate(confidences)
        ]
        session = ReasoningSession(
            node=node.id,
            ts=ts,
            id=next(node.sessions),
            agent=self._chance.choice(_AGENTS),
            query=self._chance.choice(_QUERIES).format(self._chance.choice(_SUBJECTS))[:MAX_QUERY],
            confidence=confidences[-1],
            recalled=recalled,
        )
        return [session, *stages]

    def _confidences(self) -> list[float]:
        """One a stage: they mostly rise, and in a session that is in trouble they do not."""
        troubled = self._chance.random() < _TROUBLED
        usual, rise = (0.4, -0.01) if troubled else (0.7, 0.045)
        confidence = usual + 0.07 * self._chance.normal()
        confidences = []
        for _ in range(self._chance.between(*_STAGES)):
            confidences.append(round(min(0.99, max(0.05, confidence)), 3))
            confidence += rise + 0.04 * self._chance.normal()
        return confidences

    def _change(self, node: _Node, ts: int) -> list[Event]:
        """A pattern is used, found or not; or a program runs, mostly well; or a file is indexed."""
        what = self._chance.random()
        if what < 0.75:
            node.usage += 1
            node.snippets += what < 0.3
        elif what < 0.9:
            if self._chance.random() >= _QUARANTINED:
                return []
            node.quarantined += 1
        else:
            node.tiers[self._chance.choice(tuple(node.tiers))] += 1
        return [self._code(node, ts)]

    @staticmethod
    def _code(node: _Node, ts: int) -> CodeState:
        return CodeState(
            node=node.id,
            ts=ts,
            usage=node.usage,
            snippets=node.snippets,
            quarantined=node.quarantined,
            tiers=dict(node.tiers),
        )
