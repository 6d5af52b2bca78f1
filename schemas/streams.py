"""THE MAP: every Redis key of ARK Pulse, who writes it, who reads it, and what bounds it.

Keys of one partition carry the hash tag `{p}`, so that they are one slot of a Redis Cluster and one script may
touch them together. A key without a tag has its bookkeeping in `{key}:meta`, which hashes to the same slot.
"""

import zlib
from collections.abc import Callable
from typing import Final, NamedTuple

__all__ = [
    "AGGREGATORS",
    "DEAD",
    "FEDERATION_PINS",
    "FEED_MEMORY",
    "FEED_SYNC",
    "METRICS_FEDERATION",
    "METRICS_MEMORY",
    "PARTITIONS",
    "SIMULATED",
    "SOURCES",
    "STREAMS",
    "StreamSpec",
    "changes_key",
    "cursors_key",
    "dead_key",
    "events_key",
    "feed_key",
    "lease_key",
    "live_partitions",
    "meta_key",
    "parked_key",
    "partials_key",
    "partition_of",
    "peers_key",
    "published_key",
    "state_key",
    "writer_key",
]

SIMULATED: Final = "sim"
"""Name of the partition that holds simulated state, never mixed with the numbered ones."""

PARTITIONS: Final = "ark:partitions"
"""String: the number of live partitions of this bus, fixed for its life."""

AGGREGATORS: Final = "ark:aggregators"
"""Sorted set of the aggregators that run, by when they were last heard of (server ms)."""

METRICS_FEDERATION: Final = "ark:metrics:federation"
METRICS_MEMORY: Final = "ark:metrics:memory"
FEED_SYNC: Final = "ark:feed:sync"
FEED_MEMORY: Final = "ark:feed:memory"
DEAD: Final = "ark:dead"
SOURCES: Final = "ark:sources"
FEDERATION_PINS: Final = "ark:federation:pins"


class StreamSpec(NamedTuple):
    """One line of the map."""

    key: str
    kind: str
    holds: str
    producer: str
    consumer: str
    bound: str


STREAMS: Final = (
    StreamSpec(
        "ark:{p}:events",
        "stream",
        "record batches of events",
        "collectors, `ark-pulse dead`, foreign producers",
        "aggregators",
        "ARK_RETENTION and 8 MiB, never past the committed position; a full one refuses",
    ),
    StreamSpec(
        "ark:{p}:cursors",
        "hash",
        "how far each source has been published",
        "collectors, `ark-pulse dead`",
        "collectors, `ark-pulse dead`",
        "one field a source",
    ),
    StreamSpec(
        "ark:{p}:published:<collector>",
        "hash",
        "digest of the last published value per key",
        "collectors",
        "collectors",
        "one field a key of the source",
    ),
    StreamSpec(
        "ark:collector:<collector>",
        "string",
        "which collector works a source, while others stand by",
        "collectors",
        "collectors",
        "one a source, 15 s",
    ),
    StreamSpec(
        "ark:{p}:meta",
        "hash",
        "epoch, commit number, position, lease, fencing token",
        "aggregators",
        "aggregators, gateway",
        "ten fields",
    ),
    StreamSpec(
        AGGREGATORS,
        "sorted set",
        "the aggregators that run, which share the partitions",
        "aggregators",
        "aggregators, operators",
        "one a process, 1.2 s",
    ),
    StreamSpec("ark:{p}:state", "hash", "the aggregator's state", "aggregators", "aggregators", "one field a key"),
    StreamSpec("ark:{p}:peers", "hash", "current roster", "aggregators", "gateway, any client", "one field a peer"),
    StreamSpec(
        "ark:{p}:changes",
        "stream",
        "what each commit changed in the roster",
        "aggregators",
        "gateway, any client",
        "120 s, 8 MiB",
    ),
    StreamSpec(
        "ark:{p}:partials",
        "stream",
        "the partition's whole summary",
        "aggregators",
        "aggregators (merger)",
        "16 entries or a little more",
    ),
    StreamSpec(
        "ark:{p}:feed",
        "stream",
        "single events for the feeds",
        "aggregators",
        "aggregators (gatherer)",
        "ARK_RETENTION, 4 MiB",
    ),
    StreamSpec(
        "ark:{p}:dead",
        "stream",
        "rejected input with its reason",
        "aggregators",
        "aggregators (gatherer)",
        "7 days, 1 MiB",
    ),
    StreamSpec(
        "ark:{p}:parked",
        "stream",
        "entries of a newer schema version",
        "aggregators",
        "a newer aggregator",
        "7 days, 2 MiB",
    ),
    StreamSpec(
        METRICS_FEDERATION,
        "stream",
        "whole current summary of the mesh",
        "aggregators (merger)",
        "gateway, any client",
        "ARK_RETENTION, about 50,000 entries",
    ),
    StreamSpec(
        METRICS_MEMORY,
        "stream",
        "whole current summary of the memory engines",
        "aggregators (merger)",
        "gateway, any client",
        "ARK_RETENTION, about 2,000 entries",
    ),
    StreamSpec(
        FEED_SYNC,
        "stream",
        "one sync event an entry",
        "aggregators (gatherer)",
        "gateway, any client",
        "ARK_RETENTION, about 50,000 entries",
    ),
    StreamSpec(
        FEED_MEMORY,
        "stream",
        "one reasoning session an entry",
        "aggregators (gatherer)",
        "gateway, any client",
        "ARK_RETENTION, about 50,000 entries",
    ),
    StreamSpec(
        DEAD,
        "stream",
        "rejected input of all partitions",
        "aggregators (gatherer)",
        "`ark-pulse dead`, operators",
        "7 days, about 10,000 entries of at most 7 KiB",
    ),
    StreamSpec(
        SOURCES,
        "stream",
        "state changes and heartbeats of the sources",
        "collectors",
        "aggregators, collectors, gateway",
        "ARK_RETENTION, about 10,000 entries",
    ),
    StreamSpec(
        FEDERATION_PINS,
        "hash",
        "key of each node that sent a manifest, with its newest number and time",
        "federation",
        "federation, operators",
        "one field a node, 100,000",
    ),
)


def live_partitions(count: int) -> list[str]:
    """The names of the live partitions, `"0"` to `str(count - 1)`."""
    return [str(number) for number in range(count)]


def partition_of(key: str, count: int) -> str:
    """The live partition that owns `key` (a peer id, or a node id): CRC-32 of its UTF-8 bytes, modulo `count`."""
    return str(zlib.crc32(key.encode("utf-8", "surrogatepass")) % count)


def _of_partition(name: str) -> Callable[[str], str]:
    return lambda partition: f"ark:{{{partition}}}:{name}"


# Each gives the key `ark:{p}:<name>` of the partition p; the map above says what it holds.
events_key: Final = _of_partition("events")
cursors_key: Final = _of_partition("cursors")
meta_key: Final = _of_partition("meta")
state_key: Final = _of_partition("state")
peers_key: Final = _of_partition("peers")
changes_key: Final = _of_partition("changes")
partials_key: Final = _of_partition("partials")
feed_key: Final = _of_partition("feed")
dead_key: Final = _of_partition("dead")
parked_key: Final = _of_partition("parked")


def published_key(partition: str, collector: str) -> str:
    """Hash of digests of the last published value per key of a collector's source."""
    return f"ark:{{{partition}}}:published:{collector}"


def lease_key(collector: str) -> str:
    """String with a time to live: who works a collector's source."""
    return f"ark:collector:{collector}"


def writer_key(stream: str) -> str:
    """Hash of the one writer's lease, token and top of a merged stream: `{stream}:meta`, in the stream's slot."""
    return f"{{{stream}}}:meta"
