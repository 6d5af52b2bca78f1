"""Reading streams in tests, with the types that redis-py's hints leave open."""

from typing import cast

from processors.runtime.bus import Bus, Entry

__all__ = ["entries_of"]


async def entries_of(bus: Bus, stream: str) -> list[Entry]:
    """All entries of a stream."""
    return cast("list[Entry]", await bus.client.xrange(stream))
