"""What can be followed, and what comes of it."""

from typing import Any, Final, NamedTuple, TypeAlias

from schemas import codec, streams, topics
from schemas.topics import Decoder

__all__ = ["TOPICS", "BeginsAgain", "Item", "Outage", "Received", "Unreadable", "streams_of"]

TOPICS: Final = (*topics.TOPICS, "peers")
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
    stream, decode = topics.TOPICS[topic]
    return {stream: decode}
