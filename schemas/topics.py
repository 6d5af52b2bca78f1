"""What is told on one stream of its own, by the name that clients know it by. The roster, one a partition, is not."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from schemas import codec, streams

__all__ = ["TOPICS", "Decoder", "Topic"]

Decoder: TypeAlias = Callable[[Mapping[bytes, bytes]], Any]
"""From an entry's fields to what it holds. Raises SchemaError."""


class Topic(NamedTuple):
    """A stream, and what decodes its entries."""

    stream: str
    decode: Decoder


TOPICS: Final[Mapping[str, Topic]] = {
    "federation": Topic(streams.METRICS_FEDERATION, codec.decode_federation),
    "memory": Topic(streams.METRICS_MEMORY, codec.decode_memory),
    "sync": Topic(streams.FEED_SYNC, codec.decode_sync),
    "logs": Topic(streams.FEED_MEMORY, codec.decode_memory_record),
    "sources": Topic(streams.SOURCES, codec.decode_source),
    "dead": Topic(streams.DEAD, codec.decode_dead),
}
