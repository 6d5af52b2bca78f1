"""`/sse` as a browser's EventSource reads it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway import sse
from processors.runtime.bus import Bus
from tests.gateway.model import NaiveClient
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync, tasks_of_clients


class Source:
    """One EventSource: it keeps the last id that it was given."""

    def __init__(self, answer: aiohttp.ClientResponse, client: NaiveClient) -> None:
        self.answer = answer
        self.client = client
        self.id = ""
        self.retry = ""
        self._event = self._data = ""

    async def block(self) -> dict[str, Any] | None:
        """The next frame; None at the end of a block without one. Raises EOFError: at the end of the answer."""
        async with asyncio.timeout(8):
            while line := await self.answer.content.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name in {"event", "data", "id", "retry"}:
                    setattr(self, name if name in {"id", "retry"} else f"_{name}", value)
                elif not name:
                    return self._dispatch()
        raise EOFError

    def _dispatch(self) -> dict[str, Any] | None:
        if not self._data:
            return None
        frame: dict[str, Any] = json.loads(self._data)
        assert frame["type"] == self._event
        self._data = ""
        self.client.take(frame)
        return frame

    async def until(self, condition: Callable[[NaiveClient], object]) -> None:
        while not condition(self.client):
            await self.block()

    async def identified(self) -> str:
        """The id once it stands for all that came."""
        before = self.id
        while self.id == before:
            await self.block()
        return self.id


@contextlib.asynccontextmanager
async def listening(
    gateway: Gateway, query: str, last: str | None = None, client: NaiveClient | None = None
) -> AsyncIterator[Source]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with (
        aiohttp.ClientSession(read_bufsize=1 << 24) as http,
        http.get(f"{gateway.url}/sse?{query}", headers=headers) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        yield Source(answer, client or NaiveClient())


@pytest.fixture
async def world(gateway: Gateway, redis_client: Redis) -> World:
    world = World(redis_client)
    await fill(world)
    await eventually(lambda: gateway.mesh.live.total == 1 and gateway.state.syncs.top and gateway.mesh.summary)
    return world


async def fill(world: World) -> None:
    await world.heartbeat()
    await world.roster({"a": row("a")})
    await world.summary(network_health=1.0)
    await world.sync(sync("a", bytes=1))


async def test_frames_come_as_events_and_their_id_is_the_position_in_all_channels(
    gateway: Gateway, world: World
) -> None:
    async with listening(gateway, "channels=sync,federation&channels=peers") as source:
        await source.until(lambda client: len(client.channels) == 3)
        positions = (await source.identified()).split(".")
        assert positions == [source.client[name].pos for name in ("federation", "peers", "sync")]
        await world.summary(network_health=2.0)
        await source.until(lambda client: client["federation"].data["network_health"] == 2.0)
        assert source.retry == "2000"


async def test_a_browser_goes_on_where_it_was_at_a_gateway_that_was_started_again(
    bus: Bus, redis_client: Redis
) -> None:
    world = World(redis_client)
    await fill(world)
    query = "channels=sync,federation,peers"
    async with running_gateway(bus) as gateway:
        await eventually(lambda: gateway.state.bus_answers)
        async with listening(gateway, query) as source:
            await source.until(lambda client: len(client.channels) == 3)
            last = await source.identified()
    for n in range(2, 40):
        await world.sync(sync("a", bytes=n))
        await world.roster({f"p{n}": row(f"p{n}")})
        await world.summary(network_health=float(n))
    async with running_gateway(bus) as gateway:
        await eventually(lambda: gateway.state.bus_answers)
        async with listening(gateway, query, last, source.client) as again:
            await again.until(lambda client: client["federation"].data["network_health"] == 39.0)
            await again.until(lambda client: len(client["peers"].data) == 39)
            await again.until(lambda client: len(client["sync"].data) >= 39)
    assert [record["bytes"] for record in again.client["sync"].data] == list(range(1, 40))
    assert all(not held.resets for held in again.client.channels.values())


@pytest.mark.parametrize("last", ["x", ".", "x.y", "a.b.c.d", "A" * 5_000, "ä", "%00"])
async def test_an_id_that_is_none_of_ours_begins_anew(gateway: Gateway, world: World, last: str) -> None:
    async with listening(gateway, "channels=sync,federation", last) as source:
        await source.until(lambda client: client["sync"].data and client["federation"].data)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("", "channels must name one at least"),
        ("channels=", "channels must name one at least"),
        ("channels=nothing", "channel must be one of "),
        ("channels=sync&rate=x", "Expected `float"),
        ("channels=sync&rate=101", "rate must be between 0 and 100"),
        ("channels=sync&rate=nan", "rate must be between 0 and 100"),
        ("channels=sync&fields=x", "channel has none of the fields"),
        ("channels=sync&other=1", "parameters are channels"),
        ("channels=" + ",".join(f"peer:{n}" for n in range(65)), "at most 64 channels"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(gateway: Gateway, query: str, error: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/sse?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"].lower().startswith(error.lower())
    assert not gateway.gate.clients


async def test_a_past_that_cannot_be_shown_is_said_and_does_not_bring_the_browser_back(gateway: Gateway) -> None:
    async with listening(gateway, "channels=sync&at=99999999999999") as source:
        frame = None
        while frame is None:
            frame = await source.block()
        assert (frame["type"], frame["code"]) == ("error", "out_of_reach")
        assert gateway.gate.clients == 1


async def test_an_answer_of_http_1_0_is_refused(gateway: Gateway) -> None:
    """Its body would have no frames of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(b"GET /sse?channels=sync HTTP/1.0\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(8):
        assert (await reader.readline()).split()[1] == b"400"
    writer.close()
    await writer.wait_closed()


async def test_the_answer_ends_when_the_gateway_does(bus: Bus) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with running_gateway(bus) as gateway:
            source = await clients.enter_async_context(listening(gateway, "channels=sync"))
            await source.until(lambda client: client["sync"].data is not None)
        with pytest.raises(EOFError):
            await source.until(lambda _client: False)


async def test_a_client_that_left_is_forgotten(gateway: Gateway, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_KEEP_ALIVE_S", 0.05)
    for _ in range(5):
        async with listening(gateway, "channels=sync,peers,peer:a") as source:
            await source.block()
    await eventually(lambda: not gateway.gate.clients)
    await eventually(lambda: not tasks_of_clients())
    assert not gateway.hub._places
