"""`/sse`: the frames of protocol v1 as server-sent events.

Delivery: as on `/ws`. The id of an event is the position in all channels of the request, so that a browser that comes
back by itself goes on where it was. What is told in several writes has its id at the end only: whoever leaves before
that gets its records again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import HttpVersion11, web
from multidict import MultiMapping

from processors.gateway.channel import Want
from processors.gateway.conversation import Services
from processors.gateway.encodings import SERVER_SENT
from processors.gateway.fanout import Client
from processors.gateway.group import Mark, Marks
from processors.gateway.past import Past
from processors.gateway.subscriptions import Refused, error_of, wants_of
from processors.runtime.tasks import is_set_within
from schemas import codec
from schemas.frames import CLOSE_CODES, CloseCode, Subscribe

__all__ = ["ServerSent"]

_RETRY: Final = b"retry: 2000\n\n"
_CLOSE_S: Final = 1.0
_KEEP_ALIVE_S: Final = 15.0
_HEADERS: Final = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_PARAMETERS: Final = ("channels", "fields", "rate", "at", "speed")


class ServerSent:
    """The clients of `/sse`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._traffic = services.hub.traffic
        self._clients: set[Client] = set()

    def __len__(self) -> int:
        return len(self._clients)

    def behind(self) -> int:
        """How many have not read yet what was sent to them."""
        return sum(client.mark is not None for client in self._clients)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves, or is closed. Cancellation: the connection is cut off.

        Raises HTTPBadRequest: if what it asks for cannot be served. Raises what `Gate.place` does.
        """
        services = self._services
        services.gate.check_origin(request)
        visitor = services.gate.visitor(request)
        assert visitor is not None, "the door is shut to them"
        try:
            message = _message(request.query)
            wants, refused = wants_of(message, {}, services.hub.channel)
            if refused:
                raise refused[0]
        except Refused as error:
            raise web.HTTPBadRequest(reason=str(error)) from error
        if request.version < HttpVersion11:
            raise web.HTTPBadRequest(reason="HTTP must be 1.1: what comes bit by bit has no end before")
        with services.gate.place(request):
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            if request.transport is not None:  # it has not left at once
                gone = asyncio.Event()
                client = Client(request.transport, request.writer.drain, partial(self._end, request.transport, gone))
                self._traffic.connections[request.path] += 1
                unwatch = services.gate.watch(visitor, lambda: client.end_soon(CLOSE_CODES["expired"]))
                self._clients.add(client)
                past = Past(services.players, client, SERVER_SENT, lambda: self._go_live(client, past))
                try:
                    await response.write(_RETRY)
                    event_id = request.headers.get("Last-Event-ID")
                    if message.at is not None and not event_id:
                        await _show(past, message, wants, response)
                    else:
                        await self._follow(client, wants, await self._marks(sorted(wants), event_id))
                    await _until_gone(response, gone)
                except ConnectionError:
                    pass  # it has left
                finally:
                    unwatch()
                    past.close()
                    self._clients.discard(client)
                    services.hub.leave(client)
            return response

    async def close_all(self, reason: CloseCode) -> None:
        """End every client's answer. Cancellation: the rest is cut off."""
        for client in list(self._clients):
            await client.end(reason)

    async def _end(self, transport: asyncio.Transport, gone: asyncio.Event, reason: CloseCode) -> None:
        self._traffic.note_closed(reason.code)
        gone.set()
        if reason is CLOSE_CODES["too_slow"]:
            transport.abort()
        else:
            # One that does not read would keep its place.
            asyncio.get_running_loop().call_later(_CLOSE_S, transport.abort)

    async def _follow(self, client: Client, wants: Mapping[str, Want], marks: Marks) -> None:
        await self._services.hub.follow(client, wants.values(), SERVER_SENT, marks)

    async def _go_live(self, client: Client, past: Past) -> None:
        """The past has reached the present."""
        wants, positions = await past.end()
        marks, _ = await self._services.recovery.begin(wants, positions)
        await self._follow(client, wants, marks)

    async def _marks(self, names: Sequence[str], event_id: str | None) -> Mapping[str, Mark]:
        """Where a client begins that comes back with the id of the last event that it got, None: it is new."""
        if not event_id:
            return {}
        positions = event_id.split(".")
        since = {name: text for name, text in zip(names, positions, strict=False) if text}
        marks, bad = await self._services.recovery.begin(since, since)
        # An id that is none of ours is answered as one that is too old: a browser would give up at an error.
        lost = [name for name in names if name not in since] if len(positions) != len(names) else []
        return marks | {name: Mark(None, reset="gone") for name in [*lost, *(str(each.channel) for each in bad)]}


def _message(query: MultiMapping[str]) -> Subscribe:
    """What the parameters of a request ask for. Raises Refused: if they cannot be read."""
    unknown = [name for name in query if name not in _PARAMETERS]
    if unknown:
        raise Refused("bad_message", f"parameters are {', '.join(_PARAMETERS)}")
    given: dict[str, Any] = {name: query[name] for name in ("rate", "at", "speed") if name in query}
    for name in ("channels", "fields"):
        if name in query:
            given[name] = [each for text in query.getall(name) for each in text.split(",") if each]
    try:
        return msgspec.convert({"op": "subscribe", "channels": [], **given}, Subscribe, strict=False)
    except msgspec.ValidationError as error:
        raise Refused("bad_message", codec.reason_of(error)) from error


async def _show(past: Past, message: Subscribe, wants: Mapping[str, Want], response: web.StreamResponse) -> None:
    """Show the past. What cannot be shown is told: an answer that ended would bring a browser back again and again."""
    try:
        refused = await past.load(message, wants)
    except Refused as error:
        refused = [error]
    for each in refused:
        await response.write(SERVER_SENT.frame(error_of(each)))
    await past.begin()


async def _until_gone(response: web.StreamResponse, gone: asyncio.Event) -> None:
    """Wait until the client is closed. Raises ConnectionError: once it has left; a comment now and then finds out."""
    while not await is_set_within(gone, _KEEP_ALIVE_S):
        await response.write(b":\n\n")
