"""THE MAP: every Redis key of ARK Pulse, in the order of the flow.

Of each: what it holds, who writes it -> who reads it, and its bound.

Keys of one partition carry the hash tag `{p}`, so that they are one slot of a Redis Cluster and one script may
touch them together. A key without a tag has its bookkeeping in `{key}:meta`, which hashes to the same slot.
"""

import zlib
from collections.abc import Callable
from typing import Final

__all__ = [
    "AGGREGATORS",
    "AGGREGATOR_GONE_MS",
    "DEAD",
    "FEDERATION_PINS",
    "FEED_MEMORY",
    "FEED_SYNC",
    "MAX_PARTITIONS",
    "METRICS_FEDERATION",
    "METRICS_MEMORY",
    "PARTITIONS",
    "SILENCES",
    "SIMULATED",
    "SOURCES",
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
"""String: the number of live partitions of this bus, fixed for its life; 0 while it is restored or reset."""

MAX_PARTITIONS: Final = 1_024
"""Most live partitions of a bus."""


def _of_partition(name: str) -> Callable[[str], str]:
    """Gives the key `ark:{p}:<name>` of the partition p."""
    return lambda partition: f"ark:{{{partition}}}:{name}"


events_key: Final = _of_partition("events")
"""Stream: record batches of events. Collectors, `ark-pulse dead` and foreign producers -> aggregators.

Bound: ARK_RETENTION and 8 MiB, never past the committed position; a full one refuses.
"""

cursors_key: Final = _of_partition("cursors")
"""Hash: how far each source has been published. Collectors, `ark-pulse dead` -> the same. One field a source."""


def published_key(partition: str, collector: str) -> str:
    """Hash: digest of the last published value per key. Collectors -> collectors. One field a key of the source."""
    return f"ark:{{{partition}}}:published:{collector}"


def lease_key(collector: str) -> str:
    """String: which collector works a source, while others stand by. Collectors -> collectors. One a source, 15 s."""
    return f"ark:collector:{collector}"


SOURCES: Final = "ark:sources"
"""Stream: state changes and heartbeats of the sources. Collectors -> aggregators, collectors, gateway.

Bound: ARK_RETENTION, about 10,000 entries.
"""

SILENCES: Final = "ark:silences"
"""Hash: silences by `<node>/<collector>`. Gateway, for operators -> gateway.

Bound: 1,000; those that have ended go when somebody writes.
"""

FEDERATION_PINS: Final = "ark:federation:pins"
"""Hash: key of each node that sent a manifest, with its newest number and time. Federation -> federation, operators.

Bound: one field a node, 100,000.
"""

AGGREGATORS: Final = "ark:aggregators"
"""Sorted set: the aggregators that run, which share the partitions, by when they were last heard of (server ms).

Aggregators -> aggregators, operators. Bound: one a process, `AGGREGATOR_GONE_MS`.
"""

AGGREGATOR_GONE_MS: Final = 1_200
"""An aggregator that was not heard of for so long has no share: a little longer than its leases last."""

meta_key: Final = _of_partition("meta")
"""Hash: epoch, commit number, position, lease, fencing token. Aggregators -> aggregators, gateway. Ten fields."""

state_key: Final = _of_partition("state")
"""Hash: the aggregator's state. Aggregators -> aggregators. One field a key."""

peers_key: Final = _of_partition("peers")
"""Hash: current roster. Aggregators -> gateway, any client. One field a peer."""

changes_key: Final = _of_partition("changes")
"""Stream: what each commit changed in the roster. Aggregators -> gateway, any client.

Bound: ARK_RETENTION and 1 MiB, but what is younger than 120 s stays, up to 8 MiB.
"""

partials_key: Final = _of_partition("partials")
"""Stream: the partition's whole summary. Aggregators -> aggregators (merger). 16 entries or a little more."""

feed_key: Final = _of_partition("feed")
"""Stream: records for the feeds, an array a commit. Aggregators -> aggregators (gatherer). ARK_RETENTION, 4 MiB."""

dead_key: Final = _of_partition("dead")
"""Stream: rejected input with its reason. Aggregators -> aggregators (gatherer). 7 days, 1 MiB."""

parked_key: Final = _of_partition("parked")
"""Stream: entries of a newer schema version. Aggregators -> a newer aggregator. 7 days, 2 MiB."""

METRICS_FEDERATION: Final = "ark:metrics:federation"
"""Stream: whole current summary of the mesh. Aggregators (merger) -> gateway, any client.

Bound: ARK_RETENTION, about 50,000 entries.
"""

METRICS_MEMORY: Final = "ark:metrics:memory"
"""Stream: whole current summary of the memory engines. Aggregators (merger) -> gateway, any client.

Bound: ARK_RETENTION, about 2,000 entries.
"""

FEED_SYNC: Final = "ark:feed:sync"
"""Stream: one sync event an entry. Aggregators (gatherer) -> gateway, any client.

Bound: ARK_RETENTION, about 50,000 entries.
"""

FEED_MEMORY: Final = "ark:feed:memory"
"""Stream: one reasoning session an entry. Aggregators (gatherer) -> gateway, any client.

Bound: ARK_RETENTION, about 50,000 entries.
"""

DEAD: Final = "ark:dead"
"""Stream: rejected input of all partitions. Aggregators (gatherer) -> `ark-pulse dead`, operators.

Bound: 7 days, about 10,000 entries of at most 7 KiB.
"""


def writer_key(stream: str) -> str:
    """Hash: lease, token and top of the one writer of a merged stream. Aggregators -> aggregators. In its slot."""
    return f"{{{stream}}}:meta"


def live_partitions(count: int) -> list[str]:
    """The names of the live partitions, `"0"` to `str(count - 1)`."""
    return [str(number) for number in range(count)]


def partition_of(key: str, count: int) -> str:
    """The live partition that owns `key` (a peer id, or a node id): CRC-32 of its UTF-8 bytes, modulo `count`."""
    return str(zlib.crc32(key.encode("utf-8", "surrogatepass")) % count)
