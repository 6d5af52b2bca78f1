"""Many clients of protocol v1 in one event loop: for what has to be looked at, not only counted.

Equal frames are decoded once, as they are encoded once: a thousand clients cost little more than reading.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

__all__ = ["CrowdClient", "Frame", "HoldingClient", "Took"]

Frame = dict[str, Any]

Took = Callable[[Any, Frame, int], None]
"""Gets the client, a frame of it, and the moment at which that came: ns of the monotonic clock."""

_HOST: Final = "127.0.0.1"
_PING: Final = 9
_PONG: Final = 10
_TEXT: Final = 1


@functools.lru_cache(maxsize=1_024)
def _decoded(payload: bytes) -> Frame:
    """What a frame holds, for all clients that got the same: not to be changed."""
    frame: Frame = msgspec.json.decode(payload)
    return frame


def _patched(value: Any, patch: Any) -> Any:
    """RFC 7396; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    held = dict(value) if isinstance(value, dict) else {}
    for name, each in patch.items():
        if each is None:
            held.pop(name, None)
        else:
            held[name] = _patched(held.get(name), each)
    return held


def _from_client(opcode: int, payload: bytes) -> bytes:
    """A frame of up to 64 KiB. Its mask is four zeros: it must be there, and changes nothing."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


class CrowdClient(asyncio.Protocol):
    """One client, which gives on each frame."""

    def __init__(self, took: Took) -> None:
        self._took = took
        self._transport: asyncio.Transport | None = None
        # What came and is no whole frame yet; and whether the handshake was answered.
        self._rest = b""
        self._open = False
        self.left = asyncio.Event()

    async def connect(self, port: int, path: str = "/ws") -> None:
        """Connect, again if it was connected before. Raises OSError: if nobody listens."""
        self._rest, self._open = b"", False
        self.left.clear()
        await asyncio.get_running_loop().create_connection(lambda: self, _HOST, port)
        self._write(
            f"GET {path} HTTP/1.1\r\nHost: {_HOST}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message. It may follow the handshake before that is answered."""
        self._write(_from_client(_TEXT, msgspec.json.encode(message)))

    def close(self) -> None:
        """Cut the connection off."""
        assert self._transport is not None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none of its classes

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()

    def data_received(self, data: bytes) -> None:
        moment = time.monotonic_ns()
        self._rest += data
        if not self._open:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._open, self._rest = True, rest
        self._rest = self._rest[self._take_frames(self._rest, moment) :]

    def _take_frames(self, data: bytes, moment: int) -> int:
        """Take the whole frames in `data`; returns where the rest begins."""
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                break
            opcode, payload = data[at] & 15, data[start : start + size]
            at = start + size
            if opcode == _PING:
                self._write(_from_client(_PONG, payload))
            elif opcode == _TEXT:
                self._take(_decoded(payload), moment)
        return at

    def _take(self, frame: Frame, moment: int) -> None:
        self._took(self, frame, moment)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)


class HoldingClient(CrowdClient):
    """One that holds states and records by channel, as the newest frame left them."""

    def __init__(self, took: Took) -> None:
        super().__init__(took)
        self.states: dict[str, Any] = {}
        self.records: dict[str, list[Any]] = {}
        # Newest position of each channel: what to go on from.
        self.positions: dict[str, str] = {}
        # Pieces of snapshots that are not whole yet.
        self._pieces: dict[str, Any] = {}

    def _take(self, frame: Frame, moment: int) -> None:
        kind, channel = frame["type"], frame.get("channel", "")
        if kind == "snapshot":
            self._hold(channel, frame)
        elif kind == "delta":
            self.states[channel] = _patched(self.states[channel], frame["data"])
        elif kind == "event":
            self.records.setdefault(channel, []).extend(frame["data"])
        if "pos" in frame:
            self.positions[channel] = frame["pos"]
        super()._take(frame, moment)

    def _hold(self, channel: str, frame: Frame) -> None:
        """A snapshot replaces what was held; its pieces are put together first."""
        data = frame["data"]
        if isinstance(data, list):
            self.records[channel] = list(data)
            return
        if channel in self._pieces:
            data = self._pieces.pop(channel) | data
        if frame.get("more"):
            self._pieces[channel] = data
        else:
            self.states[channel] = data
