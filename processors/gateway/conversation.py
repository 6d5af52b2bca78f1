"""What a client of protocol v1 says, and what it is answered."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from msgspec import UNSET

from processors.gateway.channel import Want
from processors.gateway.encodings import MSGPACK, Encoding
from processors.gateway.fanout import Client
from processors.gateway.gate import Gate, Visitor
from processors.gateway.hub import Hub
from processors.gateway.past import Past, Players
from processors.gateway.recovery import Recovery
from processors.gateway.subscriptions import Refused, error_of, read_message, wants_of
from schemas.frames import (
    CLOSE_CODES,
    Auth,
    Frame,
    Message,
    Ping,
    Pong,
    Refresh,
    Subscribe,
    Unsubscribe,
    Welcome,
)

__all__ = ["FIRST_S", "Conversation", "Services"]

FIRST_S: Final = 10.0
"""How long a client may take until it follows a channel."""


class Services:
    """What all conversations have in common."""

    def __init__(self, hub: Hub, recovery: Recovery, players: Players, gate: Gate, name: str) -> None:
        self.hub = hub
        self.recovery = recovery
        self.players = players
        self.gate = gate
        self.clock = players.bus.clock
        # Of this process, as `Welcome` tells it.
        self.name = name


class Conversation:
    """The conversation with one client. `say` waits until the client has read what was said before."""

    def __init__(
        self,
        services: Services,
        client: Client,
        encoding: Encoding,
        visitor: Visitor | None,
        say: Callable[[Frame], Awaitable[None]],
    ) -> None:
        self._services = services
        self._client = client
        self._encoding = encoding
        # None until it has shown a token.
        self._visitor = visitor
        self._say = say
        # Ends it if it does not follow anything in time; None once it does.
        self._deadline: asyncio.TimerHandle | None = None
        # Ends the watch for the end of its access.
        self._unwatch: Callable[[], None] | None = None
        # What it is shown of the past.
        self._past = Past(services.players, client, encoding, self._go_live)
        # What it follows is changed by one at a time: by it, or by a past that has reached the present.
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Greet the client."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(FIRST_S, self._client.end_soon, CLOSE_CODES["silent"])
        if self._visitor is not None:
            self._let_in(self._visitor)
        await self._welcome()

    def close(self) -> None:
        """Forget the client."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._unwatch is not None:
            self._unwatch()
        self._past.close()
        self._services.hub.leave(self._client)

    async def answer(self, data: bytes | str) -> None:
        """Answer one message. Raises ConnectionError: if the client has left."""
        to = None
        try:
            message = read_message(data, msgpack=self._encoding is MSGPACK)
            to = message.id
            await self._answer(message)
        except Refused as refused:
            if refused.to is None:
                refused.to = to
            await self._say(error_of(refused))

    async def _answer(self, message: Message) -> None:
        match message:
            case Ping():
                await self._say(Pong(ts=self._services.clock.now_ms(), id=UNSET if message.id is None else message.id))
            case Auth():
                await self._authenticate(message)
            case _ if self._visitor is None:
                raise Refused("unauthorized", "a token is needed")
            case Refresh():
                self._refresh(message)
            case Subscribe():
                async with self._lock:
                    await self._subscribe(message)
            case Unsubscribe():
                async with self._lock:
                    await self._give_up(message.channels)
                    await self._past.drop(message.channels)

    async def _authenticate(self, message: Auth) -> None:
        visitor = self._services.gate.authenticate(message.token)
        if visitor is None:
            self._client.end_soon(CLOSE_CODES["policy"])
            return
        self._let_in(visitor)
        await self._welcome()

    def _let_in(self, visitor: Visitor) -> None:
        if self._unwatch is not None:
            self._unwatch()
        self._visitor = visitor
        self._unwatch = self._services.gate.watch(visitor, lambda: self._client.end_soon(CLOSE_CODES["expired"]))

    async def _subscribe(self, message: Subscribe) -> None:
        hub = self._services.hub
        held = {**hub.wants(self._client), **self._past.wants}
        wants, refused = wants_of(message, held, hub.channel)
        if wants and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if message.at is None:
            refused += await self._follow(wants, message.since)
        elif wants:
            refused += await self._past.load(message, wants)
            # The present of a channel must not be told after its past.
            await self._give_up(self._past.wants)
            await self._past.begin()
        for each in refused:
            each.to = message.id
            await self._say(error_of(each))

    async def _follow(self, wants: Mapping[str, Want], since: Mapping[str, str]) -> list[Refused]:
        """Follow `wants` too, from positions. Which channels have none of ours."""
        services = self._services
        marks, refused = await services.recovery.begin(wants, since)
        fresh = {name: wants[name] for name in marks}
        if fresh:
            await self._past.drop(fresh)
            held = services.hub.wants(self._client)
            await services.hub.follow(self._client, {**held, **fresh}.values(), self._encoding, marks)
        return refused

    async def _give_up(self, names: Collection[str]) -> None:
        held = self._services.hub.wants(self._client)
        left = [want for name, want in held.items() if name not in names]
        if len(left) < len(held):
            await self._services.hub.follow(self._client, left, self._encoding, {})

    async def _go_live(self) -> None:
        """The past has reached the present."""
        async with self._lock:
            await self._follow(*await self._past.end())

    def _refresh(self, message: Refresh) -> None:
        held = {**self._services.hub.wants(self._client), **self._past.wants}
        for name in message.channels:
            if name not in held:
                raise Refused("not_subscribed", "channel is not subscribed", name[:256])
        names = message.channels or tuple(held)
        self._past.refresh(names)
        self._services.hub.refresh(self._client, self._services.hub.wants(self._client).keys() & set(names))

    async def _welcome(self) -> None:
        role = None if self._visitor is None else self._visitor.role
        await self._say(Welcome(ts=self._services.clock.now_ms(), role=role, gateway=self._services.name))
