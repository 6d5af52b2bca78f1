"""The WebSocket paths: from the handshake to the end of one client's connection."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Protocol

from aiohttp import WSMsgType, web

from processors.gateway.channel import Want
from processors.gateway.conversation import Conversation, Services
from processors.gateway.encodings import JSON, MSGPACK, msgpack_of
from processors.gateway.fanout import Client
from processors.gateway.gate import Visitor
from processors.gateway.hub import LEGACY_FEDERATION, LEGACY_MEMORY
from processors.gateway.legacy_asks import Ask, understand
from schemas import codec
from schemas.frames import (
    CLOSE_CODES,
    DEFAULT_RATE,
    JSON_PROTOCOL,
    MAX_MESSAGE,
    MSGPACK_PROTOCOL,
    CloseCode,
    Frame,
)
from schemas.legacy import LegacyError, LegacyPong

__all__ = ["Sockets"]

_CLOSE_S: Final = 1.0
# A client whose ping is not answered within half of this is cut off. Longer than the fan-out's own deadline for a
# slow client, whose pong stands behind what it still has to read.
_HEARTBEAT_S: Final = 50.0
_NOT_UNDERSTOOD: Final = codec.encode(LegacyError(message="unknown message")).decode()


class _Talk(Protocol):
    async def open(self) -> None: ...
    async def answer(self, data: bytes | str) -> None: ...
    def close(self) -> None: ...


_Begin = Callable[[web.WebSocketResponse, Client], _Talk]


class Sockets:
    """The WebSocket clients, of protocol v1 and of the drop-in paths."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._traffic = services.hub.traffic
        # Those of each path.
        self._clients: dict[str, set[Client]] = {path: set() for path in ("/ws", LEGACY_FEDERATION, LEGACY_MEMORY)}

    def counts(self) -> dict[str, int]:
        """How many clients each path has."""
        return {path: len(clients) for path, clients in self._clients.items()}

    def behind(self) -> int:
        """How many have not read yet what was sent to them."""
        return sum(client.mark is not None for clients in self._clients.values() for client in clients)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client of protocol v1 until it leaves, or is closed. Cancellation: the connection is cut off.

        Raises HTTPForbidden, HTTPServiceUnavailable, HTTPTooManyRequests, HTTPUnauthorized: see `Gate`. Raises
        HTTPBadRequest: if it is no WebSocket handshake, or none of its subprotocols is ours.
        """
        offered = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        if offered != [""] and not {JSON_PROTOCOL, MSGPACK_PROTOCOL} & {*offered}:
            raise web.HTTPBadRequest(reason=f"subprotocol must be {JSON_PROTOCOL} or {MSGPACK_PROTOCOL}")
        visitor = self._services.gate.visitor(request)

        def begin(ws: web.WebSocketResponse, client: Client) -> _Talk:
            encoding, send = JSON, _text
            if ws.ws_protocol == MSGPACK_PROTOCOL:
                encoding, send = MSGPACK, _binary
            return Conversation(self._services, client, encoding, visitor, partial(send, ws))

        return await self._serve(request, begin, (JSON_PROTOCOL, MSGPACK_PROTOCOL))

    async def handle_legacy(self, request: web.Request) -> web.StreamResponse:
        """Serve one client of a drop-in path, as `handle` does."""
        gate = self._services.gate
        visitor = None if gate.legacy_open else gate.visitor(request)

        def begin(ws: web.WebSocketResponse, client: Client) -> _Talk:
            return _Legacy(self._services, client, ws, request.path, visitor)

        return await self._serve(request, begin, ())

    async def close_all(self, reason: CloseCode) -> None:
        """Close every client with `reason`, within about a second. Cancellation: the rest is cut off."""
        clients = [client for each in self._clients.values() for client in each]
        try:
            await asyncio.gather(*(client.end(reason) for client in clients))
        finally:
            for client in clients:
                client.transport.abort()

    def _enter(self, request: web.Request) -> AbstractContextManager[None]:
        self._services.gate.check_origin(request)
        if request.headers.get("Upgrade", "").strip().lower() != "websocket":
            raise web.HTTPBadRequest(reason="a WebSocket handshake is expected here")
        return self._services.gate.place(request)

    async def _serve(self, request: web.Request, begin: _Begin, protocols: tuple[str, ...]) -> web.StreamResponse:
        with self._enter(request):
            ws = web.WebSocketResponse(
                timeout=1.0,
                heartbeat=_HEARTBEAT_S,
                compress=False,
                autoping=False,  # or they would not be counted
                max_msg_size=MAX_MESSAGE + 1,  # from there on aiohttp refuses it
                writer_limit=0,
                protocols=protocols,
            )
            await ws.prepare(request)
            transport = request.transport
            if transport is not None:  # it has not left during the handshake
                client = Client(transport, request.writer.drain, partial(self._end, ws, transport))
                self._traffic.connections[request.path] += 1
                await self._talk(ws, client, begin(ws, client), self._clients[request.path])
            return ws

    async def _talk(self, ws: web.WebSocketResponse, client: Client, talk: _Talk, clients: set[Client]) -> None:
        clients.add(client)
        try:
            await talk.open()
            # An ERROR needs no answer: aiohttp has closed the connection with the right code (1002, 1007, 1009).
            async for message in ws:
                if client.meter.count(_now_ms()):
                    await client.end(CLOSE_CODES["too_many"])
                elif message.type is WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type is WSMsgType.ERROR:
                    self._traffic.note_closed(getattr(message.data, "code", 0))
                elif message.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    await asyncio.sleep(0)  # a flood of these must not keep the loop to itself
                elif (message.type is WSMsgType.BINARY) != (ws.ws_protocol == MSGPACK_PROTOCOL):
                    await client.end(CLOSE_CODES["wrong_kind"])
                else:
                    await talk.answer(message.data)
        except ConnectionError:
            pass  # it left while it was answered
        finally:
            clients.discard(client)
            talk.close()

    async def _end(self, ws: web.WebSocketResponse, transport: asyncio.Transport, reason: CloseCode) -> None:
        """Close a connection with `reason`, and cut it off if the client does not answer within a second."""
        self._traffic.note_closed(reason.code)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await ws.close(code=reason.code, message=reason.name.encode())
        except TimeoutError:
            pass  # its close frame stands behind what it does not read
        finally:
            transport.abort()


class _Legacy:
    """The conversation on a drop-in path. `visitor` is None where no token is asked for."""

    def __init__(
        self, services: Services, client: Client, ws: web.WebSocketResponse, path: str, visitor: Visitor | None
    ) -> None:
        self._services = services
        self._client = client
        self._ws = ws
        self._path = path
        # Ends the watch for the end of its access.
        self._unwatch: Callable[[], None] | None = None
        if visitor is not None:
            self._unwatch = services.gate.watch(visitor, lambda: client.end_soon(CLOSE_CODES["expired"]))

    async def open(self) -> None:
        await self._services.hub.follow(self._client, [Want(self._path, DEFAULT_RATE)], JSON, {})

    async def answer(self, data: bytes | str) -> None:
        """Answer one message. Waits until the client reads, so that it cannot make us hold its answers."""
        match understand(str(data)):
            case Ask.PING:
                pong = LegacyPong(timestamp=self._services.clock.now_ms())
                await self._ws.send_str(codec.encode(pong).decode())
            case Ask.REFRESH:
                self._services.hub.refresh(self._client, [self._path])
                await asyncio.sleep(0)  # a flood of these must not keep the loop to itself
            case Ask.UNKNOWN if self._client.meter.may_complain(_now_ms()):
                await self._ws.send_str(_NOT_UNDERSTOOD)
            case Ask.UNKNOWN:
                await asyncio.sleep(0)

    def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
        self._services.hub.leave(self._client)


async def _text(ws: web.WebSocketResponse, frame: Frame) -> None:
    await ws.send_str(codec.encode(frame).decode())


async def _binary(ws: web.WebSocketResponse, frame: Frame) -> None:
    await ws.send_bytes(msgpack_of(frame))


def _now_ms() -> int:
    return int(time.monotonic() * 1000)
