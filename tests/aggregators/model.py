"""A naive model of the federation: it keeps every event, and computes each value from all of them, as defined."""

from collections import defaultdict
from functools import reduce
from itertools import pairwise

from processors.aggregators import failure_detector as detector
from schemas.events import Event, Heartbeat, PeerGone, SyncIn, SyncOut

__all__ = ["WEIGHTS", "Model"]

WEIGHTS = {"core": 1.0, "trusted": 0.95, "verified": 0.90}
HOUR = 3_600_000


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

    def roster(self, now: int) -> dict[str, tuple[str, float | None, str | None]]:
        """Known peers: (status, latency, tier)."""
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
                known.append((max(ts, known[-1][0]) if known else ts, event))
                gone.pop(event.peer, None)
            elif known and ts >= known[-1][0]:
                gone[event.peer] = ts
        return {
            peer: self.describe(known, peer in gone, now)
            for peer, known in beats.items()
            if known and now < self.leaves(known[-1], gone.get(peer))
        }

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
