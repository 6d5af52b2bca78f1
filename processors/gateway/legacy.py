"""What the drop-in paths of both halves have in common: each is a channel of whole states.

Strings that came from somewhere else are HTML-escaped, because ARK's present pages insert them as HTML; what is not
known is sent as 0 and named. Delivery: the newest state; a state between two ticks may be left out.
"""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Protocol

from processors.gateway.channel import Channel, Cursor, Shape
from processors.gateway.half import Half
from schemas.events import MAX_ID

__all__ = ["Frames", "LegacyChannel", "harmless", "or_zero"]


class Frames(Protocol):
    """Makes the drop-in frames of a half. `now` is ms of the bus's clock."""

    def whole(self, now: int) -> list[bytes]:
        """The whole state as JSON, once for each kind of client."""

    def changes(self, now: int) -> list[bytes]:
        """The frames that the changes since the last call ask for, as JSON; none if no client would see one."""


def or_zero(summary: object, fields: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of a frame's fields, 0 where unknown, and the names of the unknown ones.

    `fields` says for each field of the frame which one of the summary it is; a summary of None knows nothing.
    """
    values = {field: getattr(summary, name, None) for field, name in fields.items()}
    unknown = tuple(field for field, value in values.items() if value is None)
    return {field: 0 if value is None else value for field, value in values.items()}, unknown


def harmless(text: str, most: int = MAX_ID) -> str:
    """At most `most` characters of `text`, without markup."""
    return escape(text[:most], quote=True)


class LegacyChannel(Channel):
    """A drop-in path. Every frame is the whole state, so nothing needs a position."""

    conflates = False

    def __init__(self, name: str, half: Half[Any], frames: Frames) -> None:
        super().__init__(name)
        self._half = half
        self._frames = frames
        # Up to where clients were told what changes.
        self._told: Cursor | None = None

    def cursor(self, now: int) -> Cursor:
        """A new one each time: whether something has changed is for the frames to say."""
        return Cursor(now)

    def whole(self, at: Cursor, _shape: Shape) -> Iterator[bytes]:
        """The whole state as it is now."""
        if self._told is not at:
            self._frames.changes(at.ts)  # changes count from what this client gets
            self._told = at
        yield from self._frames.whole(at.ts)

    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[bytes]:
        """What the changes ask for; for a client that missed some the whole state."""
        if since is not self._told:
            yield from self.whole(until, shape)
            return
        self._told = until
        yield from self._frames.changes(until.ts)

    def next_deadline(self, at: Cursor) -> int | None:
        """When what calls itself live becomes stale."""
        return self._half.next_deadline(at.ts)
