"""Frames of the drop-in paths: what ARK's present pages read on `/ws/federation` and `/ws/memory`.

Every frame is the whole state; on the first path in both spellings that are in use, so each page finds its own. Ours
are the fields `source`, `sources`, `as_of`, `unknown`, and totals.
"""

from typing import Final

from msgspec import Struct

__all__ = [
    "MAX_LEGACY_PEERS",
    "LegacyError",
    "LegacyLog",
    "LegacyMemory",
    "LegacyPeer",
    "LegacyPong",
    "LegacyState",
    "LegacySync",
]

MAX_LEGACY_PEERS: Final = 500
"""Most peers of a drop-in frame: the most recently seen."""


class LegacyPeer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A peer in a drop-in frame, in the page's spelling and in the mesh view's."""

    id: str
    name: str
    trust_tier: str
    # "active" (online), "syncing" (online, a sync reported as under way), "idle" (offline).
    status: str
    # Milliseconds.
    latency: float
    # Bytes.
    data_shared: int
    # The mesh view's spelling; its data is in KiB.
    trustTier: str  # noqa: N815  - ARK's spelling on the wire
    dataShared: float  # noqa: N815  - ARK's spelling on the wire
    # Names of the fields above whose value is not known, and is sent as 0 or "unknown"; absent if all are known.
    unknown: tuple[str, ...] = ()


class LegacySync(Struct, frozen=True, kw_only=True):
    """A sync in a drop-in frame. `status`: "active", "complete" or "error"."""

    timestamp: int
    peer: str
    action: str
    status: str
    bytes: int


class LegacyState(Struct, frozen=True, kw_only=True):
    """The whole state of the mesh; `type` and, for a sync event, `event` are put before it."""

    timestamp: int
    network_health: float
    data_integrity: float
    health: float
    integrity: float
    total_peers: int
    active_syncs: int
    peers: tuple[LegacyPeer, ...]
    peers_total: int
    sync_traffic: tuple[LegacySync, ...]
    # Names of the fields above whose value is not known, and is sent as 0 or an empty list.
    unknown: tuple[str, ...]
    source: str
    as_of: int | None
    # Per group: live, stale or simulated.
    sources: dict[str, str]
    online_peers: int
    avg_latency: float
    latency_p50: float
    latency_p95: float
    latency_p99: float
    sync_rate: float
    sync_bytes_rate: float
    sync_success_rate: float


class LegacyLog(Struct, frozen=True, kw_only=True):
    """A session in a drop-in frame of the memory half. `timestamp`: ISO 8601 in UTC."""

    timestamp: str
    message: str
    severity: str
    node: str


class LegacyMemory(Struct, frozen=True, kw_only=True, tag_field="type", tag="memory_update"):
    """The whole state of the memory engines, over all nodes, as the memory view reads it."""

    timestamp: int
    ingestion_rate: float
    consolidation_rate: float
    dedup_rate: float
    quarantine_count: int
    trust_distribution: dict[str, int]
    confidence_deltas: tuple[float, ...]
    logs: tuple[LegacyLog, ...]
    # Names of the fields above whose value is not known, and is sent as 0 or as an empty list.
    unknown: tuple[str, ...]
    source: str
    as_of: int | None
    # Per group: live, stale or simulated.
    sources: dict[str, str]
    nodes_total: int
    sessions_total: int
    stages_total: int
    consolidated_total: int
    since: int | None


class LegacyPong(Struct, frozen=True, kw_only=True, tag_field="type", tag="pong"):
    """The answer to the text `ping`."""

    timestamp: int


class LegacyError(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """What was wrong with a client's message; the connection stays open."""

    message: str
