import json

import pytest
from msgspec import to_builtins
from redis.asyncio import Redis

from processors.runtime.bus import Bus
from processors.runtime.connection import open_client
from processors.tools import partitions as module
from processors.tools.overview import PartitionSeen
from processors.tools.partitions import partitions, read_partitions
from schemas import streams

SEEN = (
    PartitionSeen(name="0", owner="host/1/ab\x1b", epoch="e", n=7, position="5-1", lag_entries=100, lag_ms=3, fenced=2),
    PartitionSeen(name="sim"),
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ask_bus", lambda settings, work: SEEN)


@pytest.mark.usefixtures("shown")
def test_each_partition_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    partitions(None, json_text=False)  # type: ignore[arg-type]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["partition", "owner", "epoch", "n", "position", "waiting", "lag", "ms", "fenced"],
        ["0", "host/1/ab\\x1b", "e", "7", "5-1", "100+", "3", "2"],
        ["sim", "nobody", "-", "0", "0-0", "0", "0", "0"],
    ]


@pytest.mark.usefixtures("shown")
def test_as_json_all_of_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    partitions(None, json_text=True)  # type: ignore[arg-type]
    told = json.loads(capsys.readouterr().out)["partitions"]
    assert told[0]["fenced"] == 2
    assert told[1] == to_builtins(SEEN[1])


async def test_they_are_those_of_the_bus(bus: Bus, server_url: str) -> None:
    await bus.client.hset(streams.meta_key("3"), mapping={"epoch": "e", "n": "7", "pos": "5-1", "fenced": "2"})
    async with open_client(server_url) as client:
        seen = await read_partitions(client)
    assert [each.name for each in seen] == [*streams.live_partitions(16), "sim"]
    assert seen[3] == PartitionSeen(name="3", epoch="e", n=7, position="5-1", fenced=2)


async def test_a_bus_that_nobody_opened_has_none(redis_client: Redis) -> None:
    assert await read_partitions(redis_client) == ()
