"""A client of protocol v1 over a real socket, and what the tests have it ask."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec

from schemas.frames import MSGPACK_PROTOCOL
from tests.gateway.model import NaiveClient

__all__ = ["Talk", "talking"]


class Talk:
    """One client that keeps what it was sent."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.is_msgpack = ws.protocol == MSGPACK_PROTOCOL
        self.client = NaiveClient()

    async def say(self, op: str, **fields: Any) -> None:
        message = {"op": op, **fields}
        if self.is_msgpack:
            await self.ws.send_bytes(msgspec.msgpack.encode(message))
        else:
            await self.ws.send_str(msgspec.json.encode(message).decode())

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        if self.is_msgpack:
            frame: dict[str, Any] = msgspec.msgpack.decode(await self.ws.receive_bytes())
        else:
            frame = await self.ws.receive_json()
        self.client.take(frame)
        return frame

    async def hear(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next frame of a kind that has these fields; others are kept and passed over."""
        async with asyncio.timeout(8):
            while True:
                frame = await self.next()
                if frame["type"] == kind and fields.items() <= frame.items():
                    return frame

    async def until(self, condition: Callable[[NaiveClient], object]) -> None:
        """Take frames until what it holds meets `condition`."""
        async with asyncio.timeout(8):
            while not condition(self.client):
                await self.next()

    async def closed(self) -> int | None:
        """The close code, once it is closed."""
        async with asyncio.timeout(8):
            async for _ in self.ws:
                pass
        return self.ws.close_code


@contextlib.asynccontextmanager
async def talking(url: str, *channels: str, **fields: Any) -> AsyncIterator[Talk]:
    """A client that has subscribed to `channels`, if any are given."""
    protocols = fields.pop("protocols", ())
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, protocols=protocols, max_msg_size=0) as ws,
    ):
        talk = Talk(ws)
        if channels:
            await talk.say("subscribe", channels=channels, **fields)
        yield talk
