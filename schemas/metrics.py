"""Results of the aggregators: rosters, partials, summaries, feeds, and the states of sources.

Unknown is None here and absent on the wire. Times are milliseconds since the epoch.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

__all__ = [
    "MAX_SOURCES",
    "RATE_WINDOW_S",
    "SOURCE_TIMEOUT_MS",
    "WORST",
    "DeadLetter",
    "FederationPartial",
    "FederationSummary",
    "GroupState",
    "Origin",
    "Partial",
    "PeerRow",
    "RosterChange",
    "SourceState",
    "SyncRates",
    "SyncRecord",
    "worst",
]

RATE_WINDOW_S: Final = 60
"""Length of the window of the rates, seconds."""

SOURCE_TIMEOUT_MS: Final = 15_000
"""A source that was not heard of for this long is stale, whatever it said last."""

Origin: TypeAlias = Literal["live", "stale", "simulated"]
"""What a value says of itself."""

MAX_SOURCES: Final = 1_000
"""Most collectors, of all nodes, that are remembered; the one that was silent longest is forgotten first."""

WORST: Final[dict[str, int]] = {"live": 0, "stale": 1, "simulated": 2}
"""How far from the truth: a whole is as bad as its worst part."""


def worst(*origins: Origin) -> Origin:
    """The worst of several origins: simulated before stale before live."""
    return max(origins, key=WORST.__getitem__)


class PeerRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One peer of the roster, as of the commit that wrote it."""

    id: str
    status: Literal["online", "syncing", "offline"]
    # Phi of the failure detector at that commit, one decimal; 8 and more is offline.
    suspicion: float
    # Bytes sent since it entered the roster.
    data_shared: int
    # When its last heartbeat was observed.
    last_seen: int
    learnt_from: str
    hostname: str | None = None
    tier: str | None = None
    latency_ms: float | None = None


RosterChange: TypeAlias = dict[str, PeerRow | None]
"""Body of an entry of `ark:{p}:changes`: whole rows by peer id, None for a peer that left."""


class SyncRates(Struct, frozen=True, kw_only=True):
    """What the rate windows need, in buckets of one second, oldest first. `start` is the first bucket's second."""

    start: int
    syncs: tuple[int, ...]
    bytes: tuple[int, ...]
    # Syncs with a known outcome, and those of them that succeeded.
    finished: tuple[int, ...]
    succeeded: tuple[int, ...]
    # Directed pairs by the second of their newest sync: a pair is counted once.
    pairs: tuple[int, ...]


class FederationPartial(Struct, frozen=True, kw_only=True):
    """Sums of one partition that add up to the summary of all of them, in integers, so that any split adds up alike."""

    known: int
    online: int
    # Sum over known peers of weight x success ratio, in 10^-9.
    integrity_nano: int
    # Sum of the latencies of online peers in microseconds, and how many of them have one.
    latency_us: int
    latencies: int
    # Sketch of those latencies: (bin, count), see `statistics.LatencySketch`.
    sketch: tuple[tuple[int, int], ...]
    rates: SyncRates | None
    heartbeats_total: int
    sync_events_total: int
    sync_bytes_total: int
    sync_failures_total: int
    late_total: int
    # Times that were more than 5 s ahead of their entry, and were replaced.
    future_total: int
    # Newest fact of each group; None before the first.
    peers_as_of: int | None
    sync_as_of: int | None
    # What a bound left out of the windows: peers, and pairs.
    overflow_total: int = 0


class Partial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A partition's whole summary at one commit."""

    partition: str
    epoch: str
    n: int
    # When it was evaluated.
    ts: int
    # When the totals of this partition began.
    since: int
    federation: FederationPartial


class GroupState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the values of one group come from."""

    source: Origin
    # Newest moment at which they were known to be right; None if they never were.
    as_of: int | None = None


class FederationSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whole current summary of the federation mesh: one entry of `ark:metrics:federation`.

    Rates are over the last 60 seconds. A field that is absent is unknown.
    """

    ts: int
    epoch: str
    n: int
    # Worst of the groups, and the oldest of their moments.
    source: Origin
    peers: GroupState
    sync: GroupState
    # (epoch, n) of the newest partial of each partition that went into this.
    partials: dict[str, tuple[str, int]]
    as_of: int | None = None
    # Percent.
    network_health: float | None = None
    data_integrity: float | None = None
    # Milliseconds, over online peers.
    avg_latency: float | None = None
    latency_p50: float | None = None
    latency_p95: float | None = None
    latency_p99: float | None = None
    total_peers: int | None = None
    online_peers: int | None = None
    # Directed pairs with a sync in the last ten seconds.
    active_syncs: int | None = None
    # Syncs a second, bytes a second, and the percentage of finished syncs that succeeded.
    sync_rate: float | None = None
    sync_bytes_rate: float | None = None
    sync_success_rate: float | None = None
    heartbeats_total: int | None = None
    sync_events_total: int | None = None
    sync_bytes_total: int | None = None
    sync_failures_total: int | None = None
    late_total: int | None = None
    future_total: int | None = None
    overflow_total: int | None = None
    # When the totals began.
    since: int | None = None


class SyncRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"sender": "from", "target": "to"}):
    """One sync event of a feed: one entry of `ark:feed:sync`."""

    ts: int
    sender: str
    target: str
    action: str
    bytes: int
    source: Origin
    # None: under way.
    ok: bool | None = None


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rejected input: one entry of `ark:dead`."""

    ts: int
    # Who rejected it: a collector's name, or "aggregator".
    rejected_by: str
    reason: str
    excerpt: str = ""


class SourceState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one collector says of its source: at each change, and every five seconds as its heartbeat."""

    node: str
    collector: str
    # The group it feeds; the simulator names the half.
    group: Literal["peers", "sync", "reasoning", "code", "federation", "memory"]
    # "down" is a source that has never answered, or that does not run by choice.
    state: Literal["live", "stale", "simulated", "down"]
    # Since when it is in this state.
    since: int
    # When its source last answered; None if never.
    as_of: int | None = None
    # Why, in a short clause; empty while all is well.
    reason: str = ""
    # Events published and inputs rejected since the collector started.
    published: int = 0
    rejected: int = 0
