"""Results of the aggregators: rosters, partials, summaries, feeds, and the states of sources.

Unknown is None here and absent on the wire. Times are milliseconds since the epoch.
"""

from typing import Final, Literal, TypeAlias

from msgspec import Struct

from schemas.events import Millis, Tier

__all__ = [
    "MAX_DELTAS",
    "MAX_LOGS",
    "MAX_NODES",
    "MAX_SILENCES",
    "MAX_SOURCES",
    "NODE_TIMEOUT_MS",
    "RATE_WINDOW_S",
    "SOURCE_TIMEOUT_MS",
    "Condition",
    "DeadLetter",
    "FederationPartial",
    "FederationSummary",
    "Group",
    "GroupState",
    "MemoryPartial",
    "MemoryRates",
    "MemoryRecord",
    "MemorySummary",
    "MemoryValues",
    "NodeSummary",
    "Origin",
    "Partial",
    "PeerRow",
    "RosterChange",
    "Silence",
    "SourceState",
    "SyncRates",
    "SyncRecord",
    "Talker",
    "Tiers",
    "worst",
]

RATE_WINDOW_S: Final = 60
"""Length of the window of the rates, seconds."""

SOURCE_TIMEOUT_MS: Final = 15_000
"""A source that was not heard of for this long is stale, whatever it said last."""

Origin: TypeAlias = Literal["live", "stale", "simulated"]
"""What a value says of itself."""

Group: TypeAlias = Literal["peers", "sync", "discovery", "reasoning", "code", "federation", "memory"]
"""What a source feeds; the last two are halves."""

Condition: TypeAlias = Literal["live", "stale", "simulated", "down"]
"""How a source is. One that is down has never answered, or does not run by choice."""

MAX_SOURCES: Final = 1_000
"""Most collectors, of all nodes, that are remembered; the one that was silent longest is forgotten first."""

MAX_SILENCES: Final = 1_000
"""Most sources that are silenced at once; one more is refused."""

MAX_NODES: Final = 32
"""Most nodes that a summary of the memory half tells one by one; of more, those that were seen last."""

NODE_TIMEOUT_MS: Final = 3_600_000
"""A node that was not seen for this long leaves the sum."""

MAX_DELTAS: Final = 50
"""Most differences of confidence that are told: the newest."""

MAX_LOGS: Final = 20
"""Most sessions that a summary tells one by one: the newest."""

_WORST: Final[dict[str, int]] = {"live": 0, "stale": 1, "simulated": 2}
"""How far from the truth: a whole is as bad as its worst part."""


def worst(*origins: Origin) -> Origin:
    """The worst of several origins: simulated before stale before live."""
    return max(origins, key=_WORST.__getitem__)


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
    # The peers that sent most in the last five minutes: (id, bytes), largest first, at most ten.
    talkers: tuple[tuple[str, int], ...] = ()


Tiers: TypeAlias = dict[Tier, int]
"""Indexed files by trust tier."""


class MemoryRates(Struct, frozen=True, kw_only=True):
    """What the rate windows of a node need, in buckets of one second, oldest first. `start` is the first's second."""

    start: int
    sessions: tuple[int, ...]
    # Stages with a confidence of 0.7 and more.
    consolidated: tuple[int, ...]


class MemoryRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One reasoning session, as it is told: one entry of `ark:feed:memory`, and of the logs."""

    ts: int
    node: str
    # Its id in the node's database.
    id: int
    severity: Literal["info", "warning", "consolidation"]
    # Names the agent, the confidence, and the beginning of the query; simulated ones begin with "[simulated]".
    message: str
    source: Origin


class MemoryPartial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node's memory engine at one commit."""

    node: str
    # When the newest word of it came, ms of the bus's clock.
    seen: int
    # When its totals began; None as long as its sessions were never read.
    since: int | None = None
    # Newest fact of each group; None before the first.
    reasoning_as_of: int | None = None
    code_as_of: int | None = None
    rates: MemoryRates | None = None
    sessions_total: int = 0
    stages_total: int = 0
    consolidated_total: int = 0
    late_total: int = 0
    # As in `events.CodeState`.
    usage: int | None = None
    snippets: int | None = None
    quarantined: int | None = None
    tiers: Tiers | None = None
    # (time of the later stage, difference) of the newest by id, and the newest sessions by id; both oldest first.
    deltas: tuple[tuple[int, float], ...] = ()
    logs: tuple[MemoryRecord, ...] = ()


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
    # Its nodes that were seen within the last hour, by id; of more than `MAX_NODES` those that were seen last.
    memory: tuple[MemoryPartial, ...] = ()
    # How many there are of them.
    nodes: int = 0


class GroupState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the values of one group come from."""

    source: Origin
    # Newest moment at which they were known to be right; None if they never were.
    as_of: int | None = None


class Talker(Struct, frozen=True, kw_only=True):
    """A peer that sent much."""

    id: str
    # Sent in the last five minutes.
    bytes: int


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
    # The peers that sent most in the last five minutes, largest first, at most ten.
    top_talkers: tuple[Talker, ...] | None = None
    # When the totals began.
    since: int | None = None


class MemoryValues(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is told of one memory engine, and of all of them together."""

    # Worst of the groups.
    source: Origin
    reasoning: GroupState
    code: GroupState
    # Sessions a second, and stages a second with a confidence of 0.7 and more.
    ingestion_rate: float | None = None
    consolidation_rate: float | None = None
    # Percent of the uses of patterns that were not their snippet's first; each node's snippets are its own.
    dedup_rate: float | None = None
    quarantine_count: int | None = None
    trust_distribution: Tiers | None = None
    # The newest differences between consecutive stages of a session, oldest first.
    confidence_deltas: tuple[float, ...] | None = None
    sessions_total: int | None = None
    stages_total: int | None = None
    consolidated_total: int | None = None
    # When the first of the totals began.
    since: int | None = None


class NodeSummary(MemoryValues, frozen=True, kw_only=True, omit_defaults=True):
    """One node's memory engine."""

    # When the newest word of it came, ms of the bus's clock.
    seen: int


class MemorySummary(MemoryValues, frozen=True, kw_only=True, omit_defaults=True):
    """Whole current summary of the memory engines: one entry of `ark:metrics:memory`.

    Over all nodes that were seen within the last hour. Rates are over the last 60 seconds. A field that is absent is
    unknown.
    """

    ts: int
    epoch: str
    n: int
    # (epoch, n) of the partial of each partition that went into this.
    partials: dict[str, tuple[str, int]]
    # Oldest of the groups' moments.
    as_of: int | None = None
    # The newest sessions, oldest first.
    logs: tuple[MemoryRecord, ...] | None = None
    late_total: int | None = None
    # The nodes one by one, and how many there are.
    nodes: dict[str, NodeSummary] = {}
    nodes_total: int = 0


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
    # Whether the excerpt is all of the input, and nothing of it was used: it may be replayed.
    whole: bool = False
    # The partition that wrote it.
    partition: str = ""


class SourceState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one collector says of its source: at each change, and every five seconds as its heartbeat."""

    node: str
    collector: str
    # The group it feeds; a simulator names the half, and who follows another service feeds `peers` beside `discovery`.
    group: Group
    state: Condition
    # Since when it is in this state.
    since: int
    # When its source last answered; None if never.
    as_of: int | None = None
    # Why, in a short clause; empty while all is well.
    reason: str = ""
    # How it keeps up with its source, in a short clause for people; empty where there is nothing to tell.
    detail: str = ""
    # Events published and inputs rejected since the collector started.
    published: int = 0
    rejected: int = 0


class Silence(Struct, frozen=True, kw_only=True):
    """An operator's word that a source is known not to be live, which is then no alarm: one field of `ark:silences`."""

    # Until when (exclusive), ms.
    until: Millis
    reason: str = ""
