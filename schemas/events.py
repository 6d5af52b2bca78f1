"""Facts that collectors put on the bus.

Delivery: each fact is on exactly one partition's stream exactly once (publish cursors see to it). Ordering: facts of
one peer, and facts of one node's database, keep the order in which their collector saw them; facts of different
collectors have no order. Times are milliseconds since the epoch; `ts` is when the fact was observed, or happened if the
source says so.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "MAX_BATCH_EVENTS",
    "MAX_BYTES",
    "MAX_EXCERPT",
    "MAX_ID",
    "MAX_LATENCY_MS",
    "MAX_QUERY",
    "OWN_REDIS",
    "CodeState",
    "Event",
    "Heartbeat",
    "NodeSeen",
    "PeerGone",
    "ReasoningSession",
    "ReasoningStage",
    "Rejected",
    "SyncIn",
    "SyncOut",
    "subject",
]

MAX_ID: Final = 256
"""Longest id, hostname, tier or action, in characters."""

MAX_EXCERPT: Final = 1024
"""Longest excerpt of rejected input, in characters."""

MAX_LATENCY_MS: Final = 1e7
"""Largest round trip that is believed, ms."""

MAX_QUERY: Final = 50
"""How much of a session's query travels, in characters."""

OWN_REDIS: Final = frozenset({"redis", "manifest"})
"""What `learnt_from` says of a peer that this node's own Redis tells of: written by hand, or by a manifest."""

MAX_BATCH_EVENTS: Final = 250
"""Most events of one stream entry. An event dirties at most two keys of state, and a commit writes at most 1,000."""

MAX_BYTES: Final = 2**53
"""Largest transfer size: what a JavaScript number still holds exactly."""

Name = Annotated[str, Meta(max_length=MAX_ID)]
Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
Millis = Annotated[int, Meta(ge=0, le=10**14)]
RowId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, Meta(ge=0, le=MAX_BYTES)]
Tier: TypeAlias = Literal["core", "trusted", "sandbox", "external", "other"]
Confidence = Annotated[float, Meta(ge=-1e6, le=1e6)]


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="heartbeat"):
    """A peer was heard of: its hash changed, or it sent a manifest."""

    peer: Id
    ts: Millis
    # What the peer says of itself; None where it says nothing usable.
    hostname: Name | None = None
    tier: Name | None = None
    # "online", "offline" or "syncing"; None where the peer does not say.
    status: Name | None = None
    # Round trip in milliseconds, finite and not negative.
    latency_ms: Annotated[float, Meta(ge=0, le=MAX_LATENCY_MS)] | None = None
    # Where it was learnt from: "redis", "manifest", or another service's host.
    learnt_from: Name = "redis"
    # Whether its key expires by itself: such a peer leaves the roster after an hour of silence, others after a day.
    expires: bool = False


class PeerGone(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="peer_gone"):
    """A peer's key expired or was deleted, or a service lists it no more. It is offline until it is heard of again.

    Unless it was last heard of from another place: that one would know.
    """

    peer: Id
    ts: Millis
    # Where it is gone from, as in a heartbeat.
    learnt_from: Name = "redis"


class SyncOut(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="sync_out"):
    """A sync, told to its source's partition: totals, bytes, pair, feed, and the source's success ratio."""

    ts: Millis
    sender: Id = msgspec.field(name="from")
    target: Id = msgspec.field(name="to")
    action: Name = ""
    bytes: Annotated[int, Meta(ge=0, le=MAX_BYTES)] = 0
    # None: reported as under way, its outcome unknown.
    ok: bool | None = None


class SyncIn(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="sync_in"):
    """The same sync, told to its target's partition: that peer's success ratio only."""

    ts: Millis
    peer: Id
    ok: bool | None = None


class NodeSeen(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="node_seen"):
    """One of a node's databases answers: told when it is found, and every minute. Silence is the absence of this."""

    node: Id
    ts: Millis
    group: Literal["reasoning", "code"]
    # When the totals of the group began, ms; None for a group that has none.
    since: Millis | None = None
    # Whether the database is another than before: its ids begin again, and the lists of the newest with them.
    anew: bool = False


class ReasoningSession(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="session"):
    """A row of `reasoning_sessions`. `ts` is its `created_at`, or when it was read if that is no time."""

    node: Id
    ts: Millis
    id: RowId
    agent: Name = ""
    query: Annotated[str, Meta(max_length=MAX_QUERY)] = ""
    # None where it is no number.
    confidence: Confidence | None = None
    # Whether it is for the lists of the newest only: it is from before the totals began, or was told already.
    recalled: bool = False


class ReasoningStage(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="stage"):
    """A row of `reasoning_stages`; `ts` and `recalled` as in `ReasoningSession`."""

    node: Id
    ts: Millis
    id: RowId
    confidence: Confidence | None = None
    # Its confidence less that of the stage before it (by stage_order, then id) in its session; None where there is none
    # or either is unknown. A stage that is told again replaces its earlier difference.
    delta: Annotated[float, Meta(ge=-2e6, le=2e6)] | None = None
    recalled: bool = False


class CodeState(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="code"):
    """What a node's `ark.db` holds now, as a whole. None where a table or a column is missing."""

    node: Id
    ts: Millis
    # Sum of usage_count over the patterns, and how many distinct non-empty snippets they have.
    usage: Annotated[int, Meta(ge=-MAX_BYTES, le=MAX_BYTES)] | None = None
    snippets: Count | None = None
    # Executions that ended badly, or broke a rule.
    quarantined: Count | None = None
    # Indexed files by tier: core, trusted, sandbox, external, other.
    tiers: dict[Tier, Count] | None = None


class Rejected(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="t", tag="rejected"):
    """Input that a collector could not use, on its way to the dead letters."""

    ts: Millis
    collector: Name
    reason: Name
    excerpt: Annotated[str, Meta(max_length=MAX_EXCERPT)] = ""
    # Whether the excerpt is all of the input, and nothing of it was used.
    whole: bool = False


Event: TypeAlias = (
    Heartbeat | PeerGone | SyncOut | SyncIn | NodeSeen | ReasoningSession | ReasoningStage | CodeState | Rejected
)


def subject(event: Event) -> str:
    """The id of the peer or node that an event is about; of rejected input its collector. It chooses the partition."""
    match event:
        case Heartbeat() | PeerGone() | SyncIn():
            return event.peer
        case SyncOut():
            return event.sender
        case Rejected():
            return event.collector
        case _:
            return event.node
