"""`/api/v1/pipeline` of a running gateway; what it tells of the bus is a contract."""

import asyncio

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.gateway import pipeline
from tests.gateway.support import Gateway, eventually
from tests.gateway.test_operator import ask


async def test_the_gateways_own_clients_are_counted(http: aiohttp.ClientSession, gateway: Gateway) -> None:
    async with http.ws_connect("/ws/memory"):
        await eventually(lambda: gateway.gate.clients)
        status, body = await ask(http, "GET", "/api/v1/pipeline")
    assert (status, body["clients"]["/ws/memory"], len(body["partitions"])) == (200, 1, 17)


async def test_what_was_told_is_read_again_after_a_second(
    http: aiohttp.ClientSession, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "KEPT_S", 0.05)
    await ask(http, "GET", "/api/v1/pipeline")
    await redis_client.xadd("ark:dead", {"d": "x"})
    # Where the bus took long to answer, it is asked again five seconds later.
    async with asyncio.timeout(20):
        while (await ask(http, "GET", "/api/v1/pipeline"))[1]["dead"] != 1:
            pass


async def test_a_bus_that_is_silent_is_said_to_be(
    http: aiohttp.ClientSession, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "BUS_S", 0.1)
    await redis_client.client_pause(1_000)
    answers = await asyncio.gather(*(ask(http, "GET", "/api/v1/pipeline") for _ in range(3)))
    assert answers == [(503, {"error": "the bus does not answer"})] * 3
    await redis_client.client_unpause()
