"""The events that the benchmarks of aggregators fold.

Imports no more than schemas do: the environment of Bytewax's own has nothing else.
"""

import random
from typing import Final, NamedTuple

from schemas import streams
from schemas.events import Event, Heartbeat, SyncOut, subject

__all__ = ["PARTITIONS", "Totals", "heartbeat", "make_events", "shares", "totals_of"]

PARTITIONS: Final = 16

_SPAN_MS: Final = 30_000


class Totals(NamedTuple):
    """What was counted, or is to be counted."""

    heartbeats: int
    syncs: int
    bytes: int


def heartbeat(peer: str, ts: int, latency_ms: float) -> Heartbeat:
    """One as the collectors tell it."""
    return Heartbeat(
        peer=peer, ts=ts, hostname=f"{peer}.local", tier="core", status="online", latency_ms=latency_ms, expires=True
    )


def make_events(peers: int, count: int, now: int) -> list[Event]:
    """Two heartbeats for each sync, spread over the peers by chance, in the order of their times.

    They fill the half minute before `now` (ms): all of them are inside the windows of the rates.
    """
    rng = random.Random(peers)
    events: list[Event] = []
    for number in range(count):
        peer = f"peer-{rng.randrange(peers)}"
        ts = now - _SPAN_MS + number * _SPAN_MS // count
        if number % 3:
            events.append(heartbeat(peer, ts, rng.random() * 90))
        else:
            target = f"peer-{rng.randrange(peers)}"
            events.append(SyncOut(ts=ts, sender=peer, target=target, action="memory_sync", bytes=number, ok=True))
    return events


def shares(events: list[Event]) -> dict[str, list[Event]]:
    """What each live partition gets, in order."""
    found: dict[str, list[Event]] = {name: [] for name in streams.live_partitions(PARTITIONS)}
    for event in events:
        found[streams.partition_of(subject(event), PARTITIONS)].append(event)
    return found


def totals_of(events: list[Event]) -> Totals:
    """What is to be counted."""
    syncs = [event for event in events if isinstance(event, SyncOut)]
    beats = sum(isinstance(event, Heartbeat) for event in events)
    return Totals(beats, len(syncs), sum(sync.bytes for sync in syncs))
