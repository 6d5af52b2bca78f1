"""What can be followed, and what comes of it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from schemas import codec, streams

__all__ = ["TOPICS", "BeginsAgain", "Decoder", "Item", "Outage", "Received", "Unreadable", "streams_of"]

Decoder: TypeAlias = Callable[[Mapping[bytes, bytes]], Any]
"""From an entry's fields to what it holds. Raises SchemaError."""

_SINGLE: Final[Mapping[str, tuple[str, Decoder]]] = {
    "federation": (streams.METRICS_FEDERATION, codec.decode_federation),
    "memory": (streams.METRICS_MEMORY, codec.decode_memory),
    "sync": (streams.FEED_SYNC, codec.decode_sync),
    "logs": (streams.FEED_MEMORY, codec.decode_memory_record),
    "sources": (streams.SOURCES, codec.decode_source),
    "dead": (streams.DEAD, codec.decode_dead),
}

TOPICS: Final = (*_SINGLE, "peers")
"""What can be followed: one stream each, and the roster changes of all partitions."""


class Received(NamedTuple):
    """One entry."""

    stream: str
    entry_id: str
    # What it holds, as its decoder gives it.
    value: Any
    # Its body as it travelled: JSON.
    body: bytes


class Unreadable(NamedTuple):
    """An entry that this release cannot read: malformed, or of a newer version."""

    stream: str
    entry_id: str
    reason: str


class BeginsAgain(NamedTuple):
    """A stream no longer has what we read last: it is followed from its beginning now."""

    stream: str


class Outage(NamedTuple):
    """The bus does not answer, for the first time since it last did; it is tried again until it does."""

    reason: str


Item: TypeAlias = Received | Unreadable | BeginsAgain
"""What a reader gets of a stream."""


def streams_of(topic: str, partitions: int) -> dict[str, Decoder]:
    """The streams of one of `TOPICS` with their decoders; `partitions` is the number of live ones."""
    if topic == "peers":
        names = [*streams.live_partitions(partitions), streams.SIMULATED]
        return {streams.changes_key(name): codec.decode_roster_change for name in names}
    key, decoder = _SINGLE[topic]
    return {key: decoder}
