"""What `/api/v1/pipeline` tells, of any kind of bus."""

import asyncio
import json
from typing import Any

from aiohttp.test_utils import make_mocked_request
from aiohttp.web import Response

from processors.aggregators.ownership import acquire, join, leave
from processors.gateway.pipeline import Pipeline
from processors.runtime.bus import Bus
from schemas import streams


async def told(pipeline: Pipeline) -> dict[str, Any]:
    answer = await pipeline.show(make_mocked_request("GET", "/"))
    assert isinstance(answer, Response)
    assert isinstance(answer.body, bytes)
    body: dict[str, Any] = json.loads(answer.body)
    return body


def pipeline_of(bus: Bus) -> Pipeline:
    return Pipeline(bus, lambda: "up", lambda: {"/ws": 3})


async def test_owners_and_what_waits_are_told_of_each_partition(bus: Bus) -> None:
    await acquire(bus, [streams.meta_key("1")], "one")
    for _ in range(3):
        await bus.client.xadd(streams.events_key("2"), {"d": "x"})
    partitions = {each["name"]: each for each in (await told(pipeline_of(bus)))["partitions"]}
    assert list(partitions) == ["0", "1", "2", "3", "sim"]
    assert [name for name, each in partitions.items() if each["owner"] == "one"] == ["1"]
    assert [each["lag_entries"] for each in partitions.values()] == [0, 0, 3, 0, 0]


async def test_the_aggregators_that_run_are_told_and_those_that_ended_are_not(bus: Bus) -> None:
    await join(bus, "one")
    await join(bus, "two")
    await leave(bus, "one")
    assert (await told(pipeline_of(bus)))["aggregators"] == ["two"]


async def test_the_bus_its_letters_and_the_clients_are_told(bus: Bus) -> None:
    await bus.client.xadd(streams.DEAD, {"d": "x"})
    body = await told(pipeline_of(bus))
    assert body["server"].startswith(("Valkey ", "Redis "))
    assert body["used_bytes"] > 0
    assert (body["most_bytes"], body["dead"], body["clients"], body["bus"]) == (0, 1, {"/ws": 3}, "up")


async def test_whoever_asks_within_a_second_is_told_the_same(bus: Bus) -> None:
    pipeline = pipeline_of(bus)
    answers = await asyncio.gather(*(told(pipeline) for _ in range(20)))
    await bus.client.xadd(streams.DEAD, {"d": "x"})
    assert [await told(pipeline)] * 20 == answers
