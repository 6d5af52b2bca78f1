"""How frames travel: JSON or msgpack in WebSocket frames, or server-sent events in chunks of an HTTP answer."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
from msgspec import UnsetType

from schemas import codec
from schemas.frames import Event, Frame, Snapshot

__all__ = ["JSON", "MSGPACK", "SERVER_SENT", "Encoding", "msgpack_of", "text_frame"]

_TEXT: Final = 0x81
_BINARY: Final = 0x82


def _websocket_frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 1 << 16:
        return bytes((head, 126)) + size.to_bytes(2, "big") + payload
    return bytes((head, 127)) + size.to_bytes(8, "big") + payload


def text_frame(payload: bytes) -> bytes:
    """`payload` as one WebSocket text frame of a server (RFC 6455, 5.2): final, not masked."""
    return _websocket_frame(_TEXT, payload)


def msgpack_of(frame: Frame | bytes) -> bytes:
    """A frame as msgpack. Records are held as JSON, so theirs is made of that; a thousand rows would take too long."""
    if isinstance(frame, Snapshot | Event) and isinstance(frame.data, list):
        frame = codec.encode(frame)
    return msgspec.msgpack.encode(msgspec.json.decode(frame) if isinstance(frame, bytes) else frame)


class Encoding(Protocol):
    """One way."""

    def frame(self, frame: Frame | bytes) -> bytes:
        """A frame as it travels; bytes are the JSON of a drop-in frame."""

    def pack(self, frames: Sequence[bytes], positions: Sequence[str | UnsetType]) -> bytes:
        """Frames that are written at once; `positions` of all channels after them, if they tell it."""


class _Json:
    def frame(self, frame: Frame | bytes) -> bytes:
        return text_frame(frame if isinstance(frame, bytes) else codec.encode(frame))

    def pack(self, frames: Sequence[bytes], _positions: Sequence[str | UnsetType]) -> bytes:
        return frames[0] if len(frames) == 1 else b"".join(frames)


class _Msgpack(_Json):
    def frame(self, frame: Frame | bytes) -> bytes:
        return _websocket_frame(_BINARY, msgpack_of(frame))


class _ServerSent:
    def frame(self, frame: Frame | bytes) -> bytes:
        body = frame if isinstance(frame, bytes) else codec.encode(frame)
        kind = "message" if isinstance(frame, bytes) else frame.__struct_config__.tag
        return b"event: %b\ndata: %b\n\n" % (str(kind).encode(), body)

    def pack(self, frames: Sequence[bytes], positions: Sequence[str | UnsetType]) -> bytes:
        ids = ".".join("" if isinstance(position, UnsetType) else position for position in positions)
        # A block with nothing but an id sets it without an event.
        body = b"".join([*frames, b"id: %b\n\n" % ids.encode()] if positions else frames)
        return b"%x\r\n%b\r\n" % (len(body), body)


JSON: Final[Encoding] = _Json()
MSGPACK: Final[Encoding] = _Msgpack()
SERVER_SENT: Final[Encoding] = _ServerSent()
