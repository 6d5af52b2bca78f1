"""Where a client begins that comes back with positions."""

from collections.abc import Iterable, Mapping

from processors.gateway.channel import Channel, Cursor, Lost
from processors.gateway.group import Mark
from processors.gateway.history import History
from processors.gateway.subscriptions import Refused
from processors.runtime.clock import Clock
from schemas.errors import BadPosition
from schemas.positions import decode_position

__all__ = ["begin"]


async def begin(
    history: History, channels: Iterable[Channel], since: Mapping[str, str], clock: Clock
) -> tuple[dict[str, Mark], list[Refused]]:
    """Where a client begins in each of `channels`, and which of `since` are no positions.

    A position that cannot be gone on from begins with a reset. Cancellation: safe.
    """
    if since:
        await history.until_ready()
    marks: dict[str, Mark] = {}
    refused: list[Refused] = []
    for channel in channels:
        text = since.get(channel.name)
        try:
            marks[channel.name] = Mark(None) if text is None else await _go_on(history, channel, text, clock.now_ms())
        except BadPosition as error:
            refused.append(Refused("bad_position", str(error), channel.name))
    return marks, refused


async def _go_on(history: History, channel: Channel, text: str, now: int) -> Mark:
    """Raises BadPosition: if it is none."""
    position = decode_position(text)
    channel.cursor(now)
    found = channel.locate(position)
    if found == Lost("gone"):
        await history.reach(channel.name, position)
        found = channel.locate(position)
    return Mark(found) if isinstance(found, Cursor) else Mark(None, reset=found.reason)
