"""`/api/v1/history`: what was in force at moments of the past, and how far back there is any."""

from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from schemas import codec, streams
from tests.gateway.support import NOW, Gateway, summary
from tests.gateway.test_operator import ask


@pytest.fixture
async def written(redis_client: Redis) -> None:
    """Summaries of three moments, a second between them."""
    for number in range(3):
        body = codec.encode(summary(ts=NOW + number * 1_000, n=number + 1, total_peers=number))
        fields: Any = codec.entry_fields("federation", NOW, body)
        await redis_client.xadd(streams.METRICS_FEDERATION, fields, id=f"{NOW + number * 1_000}-{number + 1}")


@pytest.mark.usefixtures("written")
async def test_samples_are_what_was_in_force_each_entry_once(http: aiohttp.ClientSession) -> None:
    path = f"/api/v1/history?channel=federation&from={NOW - 500}&to={NOW + 1_500}&points=5"
    _, body = await ask(http, "GET", path)
    assert [(each["ts"] - NOW, each["total_peers"]) for each in body["samples"]] == [(0, 0), (1_000, 1)]
    assert (body["from"], body["to"]) == (NOW - 500, NOW + 1_500)


@pytest.mark.usefixtures("written")
async def test_it_says_when_the_stream_begins(http: aiohttp.ClientSession) -> None:
    _, body = await ask(http, "GET", f"/api/v1/history?channel=federation&from={NOW + 2_000}&to={NOW + 2_000}")
    assert body["begins"] == NOW


async def test_an_empty_stream_begins_nowhere(http: aiohttp.ClientSession, gateway: Gateway) -> None:
    _, body = await ask(http, "GET", "/api/v1/history?channel=memory")
    assert (body["begins"], body["samples"]) == (None, [])
