"""`/ws/federation` and `/ws/memory`: from the handshake to the end of one client's connection."""

import asyncio
import time
from typing import Final

from aiohttp import WSMsgType, web

from processors.gateway.fanout import Client, Fanout, close
from processors.gateway.pace import LEAST_GAP_MS
from processors.gateway.session import MAX_MESSAGE, Ask, Pressure, same_origin, understand
from processors.runtime.clock import BusClock
from schemas import codec
from schemas.frames import CLOSE_CODES, ErrorNotice, Pong

__all__ = ["MAX_CLIENTS", "Sockets"]

MAX_CLIENTS: Final = 2_000
"""Most WebSocket clients of one path; further ones are refused before the upgrade."""

# A client whose ping is not answered within half of this is cut off. Longer than the fan-out's own deadline for a
# slow client, whose pong stands behind what it still has to read.
_HEARTBEAT_S: Final = 50.0
_NOT_UNDERSTOOD: Final = codec.encode(ErrorNotice(message="unknown message")).decode()


class Sockets:
    """The WebSocket clients of one half."""

    def __init__(self, fanout: Fanout, clock: BusClock, *, max_clients: int = MAX_CLIENTS) -> None:
        self._fanout = fanout
        self._clock = clock
        self._max_clients = max_clients
        # Connections from before their handshake to their end.
        self._open = 0

    def __len__(self) -> int:
        """How many clients are connected."""
        return len(self._fanout)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves, or is closed. Cancellation: the connection is cut off.

        Raises HTTPForbidden: for a page of another origin. Raises HTTPServiceUnavailable: if there are too many
        clients. Raises HTTPBadRequest: if it is no WebSocket handshake.
        """
        origins = request.headers.getall("Origin", [])
        if len(origins) > 1 or not same_origin(next(iter(origins), None), request.headers.get("Host")):
            raise web.HTTPForbidden(reason="Origin must be that of this gateway's own page")
        if request.headers.get("Upgrade", "").strip().lower() != "websocket":
            raise web.HTTPBadRequest(reason="a WebSocket handshake is expected here")
        if self._open >= self._max_clients:
            raise web.HTTPServiceUnavailable(
                reason=f"at most {self._max_clients} clients", headers={"Retry-After": "5"}
            )
        self._open += 1
        try:
            return await self._serve(request)
        finally:
            self._open -= 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            timeout=1.0, heartbeat=_HEARTBEAT_S, compress=False, max_msg_size=MAX_MESSAGE, writer_limit=0
        )
        await ws.prepare(request)
        transport = request.transport
        if transport is None:  # it left during the handshake
            return ws
        client = self._fanout.join(ws, transport)
        try:
            await self._listen(client)
        except ConnectionError:
            pass  # it left while it was answered
        finally:
            self._fanout.leave(client)
        return ws

    async def _listen(self, client: Client) -> None:
        # An ERROR needs no answer: aiohttp has closed the connection with the right code (1002, 1007, 1009).
        async for message in client.ws:
            pressure = client.meter.count(_now_ms())
            if pressure is Pressure.EXCESS:
                await close(client, CLOSE_CODES["too_many"])
            elif message.type is WSMsgType.TEXT:
                await self._answer(client, message.data, pressure)
            elif message.type is WSMsgType.BINARY:
                await close(client, CLOSE_CODES["text_only"])

    async def _answer(self, client: Client, text: str, pressure: Pressure) -> None:
        """Answer one message. Waits until the client reads, so that it cannot make us hold its answers."""
        match understand(text):
            case Ask.PING:
                await client.ws.send_str(codec.encode(Pong(timestamp=self._clock.now_ms())).decode())
            case Ask.REFRESH if pressure is Pressure.CALM:
                self._fanout.send_state(client)
            case Ask.REFRESH:
                self._fanout.send_state_by(client, LEAST_GAP_MS / 1000)
            case Ask.UNKNOWN if client.meter.may_complain(_now_ms()):
                await client.ws.send_str(_NOT_UNDERSTOOD)
            case Ask.UNKNOWN:
                await asyncio.sleep(0)  # a flood of these must not keep the loop to itself


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
