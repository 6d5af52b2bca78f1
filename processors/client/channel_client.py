"""The typed client of the gateway: channels as async iterators.

Delivery: what follows comes once, in order, over any number of connections; where that cannot be, a `Reset` says so.
Bound: there is no queue of ours. What a consumer does not take waits in its socket, some 100 KiB at most; then the
gateway waits, conflates, and tells how much it left out. So each subscription has a connection of its own: one that is
not read does not stop the others.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from aiohttp import ClientWSTimeout, WSMsgType, WSServerHandshakeError

from processors.client.errors import Lost, Refused
from processors.client.following import Following
from processors.client.updates import Update
from schemas import codec
from schemas.frames import CLOSE_CODES, DEFAULT_RATE, JSON_PROTOCOL, RECORDS, Ping, Subscribe

__all__ = ["Pulse", "connect"]

_CONNECT_S: Final = 10.0
_CLOSE: Final = ClientWSTimeout(ws_close=1.0)
# Larger than any piece of a snapshot.
_MAX_FRAME: Final = 16 << 20
_NAMES: Final = {row.code: row.name for row in CLOSE_CODES.values()}
_PING: Final = codec.encode(Ping()).decode()


@asynccontextmanager
async def connect(url: str, token: str | None = None, *, silent_s: float = 15.0) -> AsyncIterator["Pulse"]:
    """A client of the gateway at `url`, as `http://127.0.0.1:8101`; connections are made by its subscriptions.

    `token`: goes into the Authorization header. `silent_s`: after so long without a word a state is stale, and the
    connection made anew.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # Without a bound on connections: a subscription beyond it would wait for ever, and not be told why.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as http:
        yield Pulse(http, f"{url.rstrip('/')}/ws", silent_s)


class Pulse:
    """The channels of one gateway, or of several behind one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str, silent_s: float) -> None:
        self._http = http
        self._url = url
        self._silent_s = silent_s

    async def subscribe(
        self,
        *channels: str,
        rate: float = DEFAULT_RATE,
        fields: Sequence[str] | None = None,
        at: int | None = None,
        speed: float = 1.0,
        since: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Update]:
        """Yield what `channels` tell, until the client is closed; arguments as in `frames.Subscribe`.

        `since`: positions of records that an earlier subscription had. Survives a gateway that is restarted, or not
        yet there: it says so with an `Outage`, and comes back by itself. Cancellation: safe; close the iterator to let
        go of its connection. Raises Refused: if the gateway does not serve this before something is mended. Raises
        ValueError: if `since` names a channel that has no records.
        """
        if not {*(since or ())} <= {*RECORDS}:
            raise ValueError("since must name channels of records")
        names = None if fields is None else tuple(fields)
        wish = Subscribe(channels=channels, since=dict(since or {}), rate=rate, fields=names, at=at, speed=speed)
        following = Following(wish, random.random, self._silent_s)
        clock = asyncio.get_running_loop().time
        while not self._is_closed():
            try:
                async with await self._open(following) as ws:
                    while True:
                        for update in await _hear(ws, following):
                            yield update
            except (Lost, aiohttp.ClientError, OSError) as error:
                if self._is_closed():
                    return
                code = error.code if isinstance(error, Lost) else None
                outage = following.lose(str(error) or type(error).__name__, code)
            retry_s = clock() + outage.retry_in_s
            yield outage
            for until_s in (min(following.stale_s, retry_s), retry_s):
                await asyncio.sleep(until_s - clock())  # nothing announces a gateway that comes back
                for state in following.grow_stale(until_s):
                    yield state

    def _is_closed(self) -> bool:
        return self._http.closed

    async def _open(self, following: Following) -> aiohttp.ClientWebSocketResponse:
        """A connection that has asked for what `following` wants. Raises Lost, Refused, OSError, ClientError."""
        clock = asyncio.get_running_loop().time
        try:
            # Not beyond the moment when something becomes stale: that is to be said in time.
            async with asyncio.timeout_at(min(clock() + _CONNECT_S, following.stale_s)):
                ws = await self._http.ws_connect(
                    self._url, protocols=(JSON_PROTOCOL,), timeout=_CLOSE, max_msg_size=_MAX_FRAME
                )
        except WSServerHandshakeError as error:
            if error.status in {401, 403}:
                raise Refused(error.status, "origin or token was refused") from error
            raise Lost(f"the handshake was answered with {error.status}") from error
        await ws.send_str(codec.encode(following.open(clock())).decode())
        return ws


async def _hear(ws: aiohttp.ClientWebSocketResponse, following: Following) -> Sequence[Update]:
    """Wait for one message. Returns what it tells; nothing if a ping had to be sent. Raises Lost, Refused."""
    clock = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout_at(following.deadline_s):
            message = await ws.receive()
    except TimeoutError:
        if following.ask(clock()):
            await ws.send_str(_PING)
        return ()
    if message.type is WSMsgType.TEXT:
        return following.take(message.data, clock())
    if message.type is WSMsgType.BINARY:
        raise Lost("the gateway sent what is no text")
    raise Lost(f"closed with {ws.close_code} {_NAMES.get(ws.close_code or 0, '')}".rstrip(), ws.close_code)
