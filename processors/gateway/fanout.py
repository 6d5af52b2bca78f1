"""Shared frames to many sockets.

Delivery: a client whose socket is empty gets every frame; one that is behind gets the newest whole state once its
socket is empty again, and the states between are left out (it is conflated). Ordering: as sent. One slow client
delays nobody: nothing here waits for a socket.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from aiohttp import web

from processors.gateway.session import Meter
from processors.runtime.logging import get_logger
from schemas.frames import CLOSE_CODES, CloseCode

__all__ = ["DRAIN_S", "MAX_HELD", "Client", "Fanout", "close", "text_frame"]

DRAIN_S: Final = 20.0
"""How long a client may take to read what was sent to it before it is closed."""

MAX_HELD: Final = 4 << 20
"""Most bytes that are held for one client. Writes go to empty sockets only, so one write is the most that is held."""

_CLOSE_S: Final = 1.0
_TEXT: Final = 0x81
# Linux lets a socket buffer grow to several MiB: for two thousand clients that never read, that is the machine.
_SOCKET_BUFFER: Final = 256 << 10

_logger = get_logger("gateway")


def text_frame(payload: bytes) -> bytes:
    """`payload` as one WebSocket text frame of a server (RFC 6455, 5.2): final, not masked."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 1 << 16:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload


class Client:
    """One connected client."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.ws = ws
        self.transport = transport
        self.meter = Meter()
        # Whether it was left out of a frame, and waits for its socket to be empty.
        self.behind = False
        # Waits for that, while `behind`.
        self.catching_up: asyncio.Task[None] | None = None
        # Answers the refreshes of one tick together; None while none is due.
        self.refresh: asyncio.TimerHandle | None = None


class Fanout:
    """The clients of one kind of frames. `newest` gives the whole state as it is now, as WebSocket frames."""

    def __init__(self, newest: Callable[[], bytes], *, drain_s: float = DRAIN_S) -> None:
        self._newest = newest
        self._drain_s = drain_s
        self._clients: set[Client] = set()
        # Closings that outlive their client's handler.
        self._closing: set[asyncio.Task[None]] = set()
        # Frames that were left out for clients that were behind, and clients closed for it, since the start.
        self.conflated = 0
        self.closed_slow = 0

    def __len__(self) -> int:
        return len(self._clients)

    def join(self, ws: web.WebSocketResponse, transport: asyncio.Transport) -> Client:
        """Take a client whose handshake is done, and send it the whole state.

        `ws` must be made with `writer_limit=0`: it is then drained by each send of aiohttp's own.
        """
        # High water of 0: the transport tells of an empty buffer, and uvloop writes at once while it is empty.
        transport.set_write_buffer_limits(high=0)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        client = Client(ws, transport)
        self._clients.add(client)
        self.send_state(client)
        return client

    def leave(self, client: Client) -> None:
        """Forget a client. Harmless if it has left."""
        self._clients.discard(client)
        if client.refresh is not None:
            client.refresh.cancel()
        if client.catching_up is not None:
            client.catching_up.cancel()

    def send(self, frames: bytes) -> None:
        """Send WebSocket frames to every client that is not behind."""
        assert len(frames) <= MAX_HELD, "the encoder bounds a tick"
        for client in self._clients:
            if self._is_ready(client):
                client.transport.write(frames)

    def send_state(self, client: Client) -> None:
        """Send the whole state to one client, now or once its socket is empty."""
        if self._is_ready(client):
            client.transport.write(self._newest())

    def send_state_by(self, client: Client, delay_s: float) -> None:
        """Send the whole state to one client within `delay_s`; calls until then are answered together."""
        if client.refresh is None:
            client.refresh = asyncio.get_running_loop().call_later(delay_s, self._refresh, client)

    async def close_all(self, reason: CloseCode) -> None:
        """Close every client with `reason`, within about a second. Cancellation: the rest is cut off."""
        clients = list(self._clients)
        try:
            await asyncio.gather(*(close(client, reason) for client in clients))
        finally:
            for client in clients:
                client.transport.abort()

    def _refresh(self, client: Client) -> None:
        client.refresh = None
        self.send_state(client)

    def _is_ready(self, client: Client) -> bool:
        """Whether a client's socket is empty; a client that is not ready is left out, and has to catch up."""
        transport = client.transport
        if not (client.behind or transport.is_closing() or transport.get_write_buffer_size() > 0):
            return True
        self.conflated += 1
        if not client.behind:
            client.behind = True
            client.catching_up = asyncio.create_task(self._catch_up(client))
            client.catching_up.add_done_callback(self._closing.discard)
        return False

    async def _catch_up(self, client: Client) -> None:
        """Wait until a client's socket is empty, then send it the newest state; close it if that takes too long."""
        try:
            async with asyncio.timeout(self._drain_s):
                # A pong that nobody asked for is two bytes that every client ignores (RFC 6455, 5.5.3), and the
                # only public call of aiohttp that returns when everything is written.
                await client.ws.pong()
        except TimeoutError:
            self._hand_over(client)
            self.closed_slow += 1
            _logger.debug("closed a client that did not read for %g s", self._drain_s)
            await close(client, CLOSE_CODES["too_slow"])
        except ConnectionError:
            pass  # it is gone; the handler that reads from it forgets it
        else:
            client.behind = False
            self.send_state(client)

    def _hand_over(self, client: Client) -> None:
        # The closing ends the client's handler, which would cancel this task before the close frame is out.
        if client.catching_up is not None:
            self._closing.add(client.catching_up)
            client.catching_up = None


async def close(client: Client, reason: CloseCode) -> None:
    """Close a client's connection with `reason`, and cut it off if it does not answer within a second."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await client.ws.close(code=reason.code, message=reason.name.encode())
    except TimeoutError:
        pass  # its close frame stands behind what it does not read
    finally:
        client.transport.abort()
