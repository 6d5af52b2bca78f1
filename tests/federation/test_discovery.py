import asyncio
import json

import pytest
from redis.asyncio import Redis

from processors.federation import registry as registry_module
from processors.federation.discovery import Discovery
from processors.federation.errors import Refused
from processors.federation.registry import Registry


class Reading:
    """A registry whose readings are counted, and wait until they are let go."""

    def __init__(self, *, fails: bool = False) -> None:
        self.readings = 0
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self._fails = fails

    async def peers(self) -> dict[str, dict[str, str]]:
        self.readings += 1
        self.begun.set()
        await self.go.wait()
        if self._fails:
            raise Refused(503, "ARK's Redis does not answer")
        return {"a": {"node_id": "a", "status": "offline"}}


def discovery_of(reading: Reading) -> Discovery:
    return Discovery(reading)  # type: ignore[arg-type]  # has what is used of it


async def listed(discovery: Discovery) -> dict[str, str]:
    body = json.loads(await discovery.body())
    assert body["count"] == len(body["peers"])
    return {peer["node_id"]: peer["status"] for peer in body["peers"]}


async def test_a_thousand_that_ask_at_once_cost_one_reading() -> None:
    reading = Reading()
    discovery = discovery_of(reading)
    asking = [asyncio.create_task(discovery.body()) for _ in range(1_000)]
    await reading.begun.wait()
    reading.go.set()
    assert set(await asyncio.gather(*asking)) == {b'{"peers":[{"node_id":"a","status":"offline"}],"count":1}'}
    assert reading.readings == 1


async def test_who_registers_is_listed_without_another_reading() -> None:
    reading = Reading()
    reading.go.set()
    discovery = discovery_of(reading)
    assert await listed(discovery) == {"a": "offline"}
    discovery.put("a", {"node_id": "a", "status": "online"})
    discovery.put("b", {"node_id": "b", "status": "online"})
    assert await listed(discovery) == {"a": "online", "b": "online"}
    assert reading.readings == 1


async def test_who_registers_during_a_reading_is_listed_as_it_registered() -> None:
    reading = Reading()
    discovery = discovery_of(reading)
    asking = asyncio.create_task(listed(discovery))
    await reading.begun.wait()
    discovery.put("a", {"node_id": "a", "status": "online"})
    reading.go.set()
    assert await asking == {"a": "online"}


async def test_a_reading_that_fails_is_not_tried_again_at_once() -> None:
    reading = Reading(fails=True)
    reading.go.set()
    discovery = discovery_of(reading)
    for _ in range(5):
        with pytest.raises(Refused, match=r"^ARK's Redis does not answer$"):
            await discovery.body()
    assert reading.readings == 1


async def test_no_more_peers_are_listed_than_the_bound(
    ark: Redis, ark_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "MAX_PEERS", 7)
    async with ark.pipeline() as pipe:
        for number in range(20):
            pipe.hset(f"peer:n{number}", "status", "online")
        await pipe.execute()
    registry = Registry(ark_url)
    assert len(await registry.peers()) == 7
    await registry.close()


async def test_no_more_bytes_are_listed_than_the_bound(
    ark: Redis, ark_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "MAX_BYTES", 2_500)
    for number in range(5):
        await ark.hset(f"peer:n{number}", "note", "x" * 1_000)
    registry = Registry(ark_url)
    assert len(await registry.peers()) == 2
    await registry.close()


async def test_what_is_not_utf_8_is_listed_with_marks_in_its_place(ark: Redis, ark_url: str) -> None:
    await ark.hset(b"peer:\xff", mapping={b"a\xff": b"\xff"})
    registry = Registry(ark_url)
    assert await registry.peers() == {"\ufffd": {"node_id": "\ufffd", "a\ufffd": "\ufffd"}}
    await registry.close()
