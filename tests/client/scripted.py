"""A gateway after a script: it speaks protocol v1 of two states and a feed, and does to clients what a test asks."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

NOW = 1_700_000_000_000
STATES = ("federation", "peers")
FEED = "sync"


def difference(before: Any, after: Any) -> Any:
    """A merge patch from one object to another."""
    patch = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            patch |= {name: difference(old, value)} if old != value else {}
        elif old != value or type(old) is not type(value):
            patch[name] = value
    return patch


class ScriptedGateway:
    """The states, the records, all they ever were, and the clients."""

    def __init__(self) -> None:
        self.url = ""
        self.epoch = 1
        # Every value of each state of this epoch; a position is the number of one.
        self.history: dict[str, list[Any]] = {name: [{}] for name in STATES}
        self.records: list[Any] = []
        # Rows of one piece of a snapshot.
        self.piece = 1_000
        # What each client asked for, in the order in which they came; and what else they said.
        self.asked: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.clients: dict[web.WebSocketResponse, dict[str, Any]] = {}
        # Sent instead of an answer to `subscribe`, once each.
        self.instead: list[str] = []
        # Whether a ping is answered; and the status of the handshake that is refused, once each.
        self.is_silent = False
        self.refusals: list[int] = []
        # Whether a handshake is answered at once, or once it is set.
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @property
    def state(self) -> dict[str, Any]:
        return {name: values[-1] for name, values in self.history.items()}

    async def set(self, channel: str, value: Any) -> None:
        """Change a state, and tell it."""
        self.history[channel].append(value)
        await self._tell(channel, lambda: self._delta(channel, len(self.history[channel]) - 2))

    async def add(self, *records: Any) -> None:
        """Add records, and tell them."""
        self.records += records
        await self._tell(FEED, lambda: self._event(len(self.records) - len(records)))

    async def begin_again(self) -> None:
        """The bus was wiped: no position of before is known."""
        self.epoch += 1
        self.history = {name: [values[-1]] for name, values in self.history.items()}
        self.records = []
        for channel in (*STATES, FEED):
            await self._tell(channel, lambda channel=channel: self._reset(channel))

    async def say(self, *frames: Any) -> None:
        """Send frames, or a text as it is, to every client."""
        for ws in list(self.clients):
            for frame in frames:
                await _send(ws, frame)

    async def close(self, code: int) -> None:
        """Close every client."""
        for ws in list(self.clients):
            self.clients.pop(ws)
            await ws.close(code=code)

    def cut(self) -> None:
        """Cut every client off without a word."""
        for ws in list(self.clients):
            self.clients.pop(ws)
            transport = ws._req.transport if ws._req else None
            if transport is not None:
                transport.abort()

    async def let_happen(self, chance: random.Random) -> None:
        """Let one thing happen, to the data or to the connection."""
        match chance.randrange(10):
            case 0:
                self.cut()
            case 1:
                await self.close(chance.choice([1001, 1011, 1013, 4008]))
            case 2:
                await self.say("garbage")
            case 3:  # the beginning of a snapshot whose end is lost
                await self.say({"type": "snapshot", "channel": "peers", "ts": 1, "data": {"ghost": 1}, "more": True})
                self.cut()
            case 4 if chance.random() < 0.3:
                await self.begin_again()
            case 4 | 5 | 6:
                await self.add(*({"n": chance.random()} for _ in range(chance.randrange(3))))
            case _:
                names = chance.sample("abcdefgh", chance.randrange(8))
                await self.set(chance.choice(STATES), {name: {"x": chance.randrange(3)} for name in names})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        await self.may_answer.wait()
        if self.refusals:
            return web.Response(status=self.refusals.pop())
        ws = web.WebSocketResponse(protocols=("ark.v1.json",))
        await ws.prepare(request)
        await _send(ws, {"type": "welcome", "v": 1, "ts": NOW, "role": "viewer", "gateway": "g", "new_field": 1})
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    await self._answer(ws, json.loads(message.data))
        except ConnectionError:
            pass  # it was cut off by the test
        finally:
            self.clients.pop(ws, None)
        return ws

    async def _answer(self, ws: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message["op"] != "subscribe":
            self.said.append(message)
            if message["op"] == "ping" and not self.is_silent:
                await _send(ws, {"type": "pong", "ts": NOW})
            return
        self.asked.append(message)
        self.clients[ws] = message
        if self.instead:
            await _send(ws, self.instead.pop(0))
            return
        for channel in message["channels"]:
            for frame in self._since(channel, message.get("since", {}).get(channel)):
                await _send(ws, frame)

    def _since(self, channel: str, position: str | None) -> list[Any]:
        if position is None:
            return self._snapshot(channel)
        epoch, number = map(int, position.split("."))
        if epoch != self.epoch:
            return self._reset(channel)
        return self._event(number) if channel == FEED else self._delta(channel, number)

    def _reset(self, channel: str) -> list[Any]:
        return [{"type": "reset", "channel": channel, "reason": "epoch"}, *self._snapshot(channel)]

    def _snapshot(self, channel: str) -> list[Any]:
        frame = {"type": "snapshot", "channel": channel, "ts": NOW}
        if channel == FEED:
            return [frame | {"pos": f"{self.epoch}.{len(self.records)}", "data": self.records[-50:]}]
        values = self.history[channel]
        rows = list(values[-1].items())
        pieces = [dict(rows[at : at + self.piece]) for at in range(0, len(rows), self.piece)] or [{}]
        ends = {"pos": f"{self.epoch}.{len(values) - 1}", "source": "live", "as_of": NOW}
        return [frame | {"data": piece, "more": True} for piece in pieces[:-1]] + [frame | ends | {"data": pieces[-1]}]

    def _delta(self, channel: str, since: int) -> list[Any]:
        values = self.history[channel]
        patch = difference(values[since], values[-1])
        ends = {"pos": f"{self.epoch}.{len(values) - 1}", "source": "live", "as_of": NOW}
        return [{"type": "delta", "channel": channel, "ts": NOW, **ends, "data": patch}]

    def _event(self, since: int) -> list[Any]:
        position = f"{self.epoch}.{len(self.records)}"
        return [{"type": "event", "channel": FEED, "ts": NOW, "pos": position, "data": self.records[since:]}]

    async def _tell(self, channel: str, frames: Any) -> None:
        for ws, message in list(self.clients.items()):
            if channel in message["channels"]:
                for frame in frames():
                    await _send(ws, frame)


async def _send(ws: web.WebSocketResponse, frame: Any) -> None:
    with contextlib.suppress(ConnectionError):  # whom the test has cut off hears nothing
        await ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))


@contextlib.asynccontextmanager
async def scripted_gateway(*routes: web.RouteDef) -> AsyncIterator[ScriptedGateway]:
    """One that listens on a free port; with further routes."""
    gateway = ScriptedGateway()
    app = web.Application()
    app.router.add_get("/ws", gateway.handle)
    app.router.add_routes(routes)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await gateway.close(WSCloseCode.GOING_AWAY)
        await runner.cleanup()


def numbers(first: int, count: int) -> list[Any]:
    """Records that can be told apart."""
    return [{"n": n} for n in range(first, first + count)]


async def eventually(condition: Callable[[], object], within_s: float = 8.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def eventually_async(condition: Callable[[], Awaitable[object]], within_s: float = 8.0) -> None:
    """Wait until what `condition` finds out holds."""
    deadline = time.monotonic() + within_s
    while not await condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)
