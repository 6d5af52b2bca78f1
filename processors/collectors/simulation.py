"""A believable federation: peers that beat, slow down, fall silent and return, and syncs between them in bursts.

The same random numbers give the same federation. Every id and hostname begins with `sim-`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from processors.collectors.agenda import Agenda
from processors.collectors.chance import Chance
from schemas.events import MAX_BATCH_EVENTS, Event, Heartbeat, SyncIn, SyncOut

__all__ = ["COLLECTOR", "NAMES", "Simulation"]

COLLECTOR: Final = "simulator"

NAMES: Final = (
    "alder", "aspen", "birch", "cedar", "cypress", "elm", "fir", "ginkgo", "hazel", "holly", "juniper", "larch",
    "linden", "maple", "myrtle", "oak", "olive", "pine", "poplar", "rowan", "spruce", "sycamore", "willow", "yew",
)  # fmt: skip
"""The peers, without their prefix."""

_TIERS: Final = ("core", "core", "trusted", "trusted", "trusted", "verified", "verified", "unverified")
_ACTIONS: Final = ("memory_sync", "memory_sync", "reflection_sync", "identity_sync", "knowledge_sync")
# Milliseconds.
_BEAT: Final = 4_000
_AWAKE: Final = 25 * 60_000
_SILENT: Final = (90_000, 300_000)
_BETWEEN_BURSTS: Final = 3_500
_WITHIN_BURST: Final = (150, 900)

_BURST: Final = 6
_SUCCESS: Final = 0.97
_MEDIAN_BYTES: Final = 48 * 1024
_MAX_BYTES: Final = 64 << 20


@dataclass(slots=True)
class _Peer:
    id: str
    tier: str
    # Where its latency tends to, and where it is, ms.
    usual_ms: float
    latency_ms: float
    # Until when it says nothing, and when it next falls silent, ms.
    silent_until: int = 0
    silent_from: int = 0


class Simulation:
    """The federation's state. `random` gives numbers in [0, 1)."""

    def __init__(self, random: Callable[[], float], now: int) -> None:
        self._chance = Chance(random)
        self._peers = [self._make(name, index, now) for index, name in enumerate(NAMES)]
        # The next beat of each peer, by its index, and the next sync: None.
        self._agenda: Agenda[int | None] = Agenda()
        # The pair of the present burst, and how many syncs it still has.
        self._pair = (0, 1)
        self._left = 0
        for index in range(len(self._peers)):
            self._agenda.plan(now, index)
        self._agenda.plan(now + self._chance.exponential(_BETWEEN_BURSTS), None)

    def next_deadline(self) -> int:
        """When the next thing happens, ms."""
        return self._agenda.next_deadline()

    def step(self, now: int) -> list[Event]:
        """What happened up to `now` (ms), at most one batch of it."""
        events: list[Event] = []
        while self.next_deadline() <= now and len(events) < MAX_BATCH_EVENTS - 2:
            ts, index = self._agenda.take(now)
            events += self._sync(ts) if index is None else self._beat(index, ts)
        return events

    def _make(self, name: str, index: int, now: int) -> _Peer:
        usual_ms = min(250.0, max(1.5, 9 * math.exp(0.8 * self._chance.normal())))
        tier = _TIERS[index % len(_TIERS)]
        return _Peer(f"sim-{name}", tier, usual_ms, usual_ms, silent_from=now + self._chance.exponential(_AWAKE))

    def _beat(self, index: int, ts: int) -> list[Event]:
        peer = self._peers[index]
        if ts >= peer.silent_from:
            peer.silent_until = ts + self._chance.between(*_SILENT)
            peer.silent_from = peer.silent_until + self._chance.exponential(_AWAKE)
            self._agenda.plan(peer.silent_until, index)
            return []
        self._agenda.plan(ts + int(_BEAT * (0.6 + 0.8 * self._chance.random())), index)
        # A walk that is drawn back to where it came from.
        step_ms = 0.06 * peer.usual_ms * self._chance.normal()
        wandered = peer.latency_ms + 0.1 * (peer.usual_ms - peer.latency_ms) + step_ms
        peer.latency_ms = min(4 * peer.usual_ms, max(0.5 * peer.usual_ms, wandered))
        syncing = self._left > 0 and index in self._pair
        return [
            Heartbeat(
                peer=peer.id,
                ts=ts,
                hostname=f"{peer.id}.ark.local",
                tier=peer.tier,
                status="syncing" if syncing else "online",
                latency_ms=round(peer.latency_ms, 1),
                learnt_from="simulator",
            )
        ]

    def _sync(self, ts: int) -> list[Event]:
        if self._left == 0:
            self._begin_burst(ts)
        self._left -= 1
        within = self._chance.between(*_WITHIN_BURST)
        self._agenda.plan(ts + (within if self._left else self._chance.exponential(_BETWEEN_BURSTS)), None)
        sender, target = (self._peers[index] for index in self._pair)
        size = min(_MAX_BYTES, int(_MEDIAN_BYTES * math.exp(1.3 * self._chance.normal())))
        ok = self._chance.random() < _SUCCESS
        action = self._chance.choice(_ACTIONS)
        return [
            SyncOut(ts=ts, sender=sender.id, target=target.id, action=action, bytes=size, ok=ok),
            SyncIn(ts=ts, peer=target.id, ok=ok),
        ]

    def _begin_burst(self, ts: int) -> None:
        awake = [index for index, peer in enumerate(self._peers) if peer.silent_until <= ts]
        # All of them silent at once is next to impossible, but a sync needs two.
        awake = awake if len(awake) > 1 else list(range(len(self._peers)))
        sender = int(self._chance.random() * len(awake))
        target = (sender + 1 + int(self._chance.random() * (len(awake) - 1))) % len(awake)
        self._pair = (awake[sender], awake[target])
        self._left = 1 + int(self._chance.random() * _BURST)
