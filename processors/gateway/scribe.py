"""Encodes what leads from one cursor to another once for all who want it.

Bound: pieces that were made lately, by bytes and number; the oldest go first, and are made again if they are wanted.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from processors.gateway.channel import Channel, Cursor, Part, Shape
from processors.gateway.encodings import Encoding

__all__ = ["Scribe"]

_MAX_BYTES: Final = 32 << 20
_MAX_STRETCHES: Final = 256


class _Stretch:
    """The encoded frames from one cursor to another, made when the first client comes to them."""

    def __init__(self, scribe: "Scribe", kept: Any, frames: Iterator[Part | bytes], encoding: Encoding) -> None:
        self._scribe = scribe
        # What its key was made of must live as long as it: the key has their identities.
        self._kept = kept
        self._frames = frames
        self._encoding = encoding
        # Those that were made so far, and their bytes.
        self._made: list[bytes] = []
        self.bytes = 0
        # Whether the scribe has it; a client may still be led by one that was left out.
        self.is_held = True

    def __iter__(self) -> Iterator[bytes]:
        number = 0
        while number < len(self._made) or self._make():
            yield self._made[number]
            number += 1

    def _make(self) -> bool:
        frame = next(self._frames, None)
        if frame is not None:
            self._made.append(self._encoding.frame(frame))
            self._scribe.held += len(self._made[-1]) if self.is_held else 0
            self.bytes += len(self._made[-1])
        return frame is not None


class Scribe:
    """What was encoded lately."""

    def __init__(self) -> None:
        # By what it leads from and to, the newest last.
        self._stretches: OrderedDict[Any, _Stretch] = OrderedDict()
        # Bytes in all of them.
        self.held = 0

    def frames(
        self, channel: Channel, since: Cursor | None, until: Cursor, shape: Shape, encoding: Encoding
    ) -> _Stretch:
        """The encoded frames from `since` to `until`; from None: the whole at `until`."""
        key = (channel.name, id(since), id(until), shape, id(encoding))
        stretch = self._stretches.get(key)
        if stretch is None:
            made = channel.whole(until, shape) if since is None else channel.changes(since, until, shape)
            stretch = _Stretch(self, (channel, since, until), made, encoding)
            self._stretches[key] = stretch
        self._stretches.move_to_end(key)
        self._leave_out()
        return stretch

    def _leave_out(self) -> None:
        while len(self._stretches) > 1 and (len(self._stretches) > _MAX_STRETCHES or self.held > _MAX_BYTES):
            _, oldest = self._stretches.popitem(last=False)
            oldest.is_held = False
            self.held -= oldest.bytes
