import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from processors.collectors.reasoning_reader import ReasoningCollector
from processors.collectors.service import serve
from processors.runtime.bus import Bus, Entry
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import Settings, load_settings
from schemas import codec, streams
from schemas.events import Event, Heartbeat, NodeSeen
from schemas.metrics import SourceState
from tests.collectors.helpers import published, until
from tests.databases import make_ark, make_reasoning
from tests.federation.support import Node, Service, running_service

NOWHERE = "redis://:secret@127.0.0.1:1/0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose Redis does not answer, and whose databases are not there."""
    return load_settings({"REDIS_URL": NOWHERE, "ARK_STATE_DIR": str(tmp_path), "ARK_BASE_PATH": str(tmp_path)})


@contextlib.asynccontextmanager
async def serving(bus: Bus, settings: Settings) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(serve(bus, settings, stop, MetricsRegistry("collectors")))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 3)


async def said(bus: Bus) -> dict[str, SourceState]:
    """The newest state of each source."""
    entries = cast("list[Entry]", await bus.client.xrange(streams.SOURCES))
    states = [codec.decode_source(fields) for _, fields in entries]
    return {state.collector: state for state in states}


async def until_said(bus: Bus, **expected: str) -> None:
    async def there() -> bool:
        states = await said(bus)
        return all(name in states and states[name].state == state for name, state in expected.items())

    await until(there)


async def test_without_a_redis_the_federation_is_simulated_in_its_own_partition(bus: Bus, settings: Settings) -> None:
    async with serving(bus, settings):
        await until_said(bus, peers="down", sync_events="down", simulator="simulated")
        events = await until(lambda: published(bus, [streams.SIMULATED]))
    assert {event.peer[:4] for event in events if isinstance(event, Heartbeat)} == {"sim-"}
    assert await published(bus) == []


async def heartbeats(bus: Bus) -> list[Event]:
    """Those that are simulated."""
    return [event for event in await published(bus, [streams.SIMULATED]) if isinstance(event, Heartbeat)]


@pytest.mark.parametrize("live", ["federation", "memory"])
async def test_each_half_is_simulated_by_itself(
    bus: Bus, settings: Settings, ark: Redis, source_url: str, live: str
) -> None:
    if live == "federation":
        settings = dataclasses.replace(settings, redis_url=source_url)
        expected = {"peers": "live", "reasoning": "down", "simulator": "down", "memory_simulator": "simulated"}
    else:
        make_reasoning(settings.ark_base_path / "data" / "reasoning_logs.db").close()
        make_ark(settings.ark_base_path / "data" / "ark.db").close()
        expected = {
            "peers": "down",
            "reasoning": "live",
            "code_memory": "live",
            "simulator": "simulated",
            "memory_simulator": "down",
        }
    async with serving(bus, settings):
        await until_said(bus, **expected)


async def test_a_node_s_memory_is_published_in_its_own_partition(bus: Bus, settings: Settings) -> None:
    make_reasoning(settings.ark_base_path / "data" / "reasoning_logs.db").close()
    settings = dataclasses.replace(settings, ark_node_id="node-a")
    async with serving(bus, settings):
        await until_said(bus, reasoning="live")
    home = streams.partition_of("node-a", settings.ark_partitions)
    assert {event.node for event in await published(bus, [home]) if isinstance(event, NodeSeen)} == {"node-a"}


async def test_a_redis_that_appears_ends_the_simulation(
    bus: Bus, settings: Settings, ark: Redis, source_url: str
) -> None:
    async with serving(bus, dataclasses.replace(settings, redis_url=source_url)):
        await until_said(bus, peers="live", sync_events="live", simulator="down")
    assert await heartbeats(bus) == []


@contextlib.asynccontextmanager
async def followed(bus: Bus, settings: Settings, redis_url: str) -> AsyncIterator[tuple[Service, Settings]]:
    """Another federation service, over another Redis, and settings that follow it."""
    async with running_service(bus, redis_url) as other:
        yield other, dataclasses.replace(settings, ark_federation_url=other.url.replace("//", "//user:secret@"))


async def test_another_service_that_answers_keeps_the_federation_from_being_simulated(
    bus: Bus, settings: Settings, source_url: str
) -> None:
    async with followed(bus, settings, source_url) as (other, following):
        await other.post(Node("far").body())
        async with serving(bus, following):
            await until_said(bus, peers="down", discovery="live", simulator="down")
        [beat] = [event for event in await published(bus) if isinstance(event, Heartbeat)]
        assert (beat.peer, beat.learnt_from) == ("far", other.url.removeprefix("http://"))
        states = await said(bus)
    assert (states["discovery"].group, states["discovery"].state) == ("discovery", "stale")
    async with serving(bus, following):
        # It was live on this bus, so it is not simulated now.
        await until_said(bus, peers="down", discovery="stale", simulator="down")


async def test_another_service_that_fails_does_not_touch_our_own_redis(
    bus: Bus, settings: Settings, ark: Redis, source_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    nowhere = "http://user:secret@127.0.0.1:1"
    settings = dataclasses.replace(settings, redis_url=source_url, ark_federation_url=nowhere)
    async with serving(bus, settings):
        await until_said(bus, peers="live", sync_events="live", discovery="down", simulator="down")
        assert (await said(bus))["discovery"].reason == "connection refused"
    assert "discovery is down: connection refused" in caplog.text
    assert "secret" not in caplog.text


async def test_no_service_that_is_followed_is_no_source(bus: Bus, settings: Settings) -> None:
    async with serving(bus, settings):
        await until_said(bus, peers="down", simulator="simulated")
    assert "discovery" not in await said(bus)


async def test_a_half_that_was_live_before_is_stale_and_not_simulated(
    bus: Bus, settings: Settings, ark: Redis, source_url: str
) -> None:
    async with serving(bus, dataclasses.replace(settings, redis_url=source_url)):
        await until_said(bus, peers="live", sync_events="live")
    async with serving(bus, settings):
        await until_said(bus, peers="stale", sync_events="stale", simulator="down")


async def test_stopping_in_order_tells_of_it(bus: Bus, settings: Settings, ark: Redis, source_url: str) -> None:
    async with serving(bus, dataclasses.replace(settings, redis_url=source_url)):
        await until_said(bus, peers="live", sync_events="live", simulator="down")
    states = await said(bus)
    assert {name: (state.state, state.reason) for name, state in states.items()} == {
        "peers": ("stale", "collector stopped"),
        "sync_events": ("stale", "collector stopped"),
        "reasoning": ("down", "file does not exist"),
        "code_memory": ("down", "file does not exist"),
        "simulator": ("down", "stopped"),
        "memory_simulator": ("down", "stopped"),
    }


async def test_always_simulating_leaves_the_sources_alone(
    bus: Bus, settings: Settings, ark: Redis, source_url: str
) -> None:
    await ark.hset("peer:a", "latency", 1)
    async with serving(bus, dataclasses.replace(settings, redis_url=source_url, ark_simulate="always")):
        await until_said(bus, peers="down", sync_events="down", simulator="simulated")
        await until(lambda: published(bus, [streams.SIMULATED]))
    assert await published(bus) == []


async def test_never_simulating_leaves_the_half_empty(bus: Bus, settings: Settings) -> None:
    async with serving(bus, dataclasses.replace(settings, ark_simulate="never")):
        await until_said(bus, peers="down", sync_events="down", simulator="down")
    assert await published(bus, [streams.SIMULATED]) == []


async def test_sources_are_heard_of_again_and_again_and_no_password_is_logged(
    bus: Bus, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.collectors.reporter.HEARTBEAT_S", 0.2)
    caplog.set_level("DEBUG", "ark_pulse")
    async with serving(bus, dataclasses.replace(settings, ark_simulate="never")):

        async def heartbeat() -> bool:
            entries = cast("list[Entry]", await bus.client.xrange(streams.SOURCES))
            states = [codec.decode_source(fields) for _, fields in entries]
            return sum(state.collector == "simulator" for state in states) > 1

        await until(heartbeat)
    assert "peers is down" in caplog.text
    assert "secret" not in caplog.text
    assert all("secret" not in state.reason for state in (await said(bus)).values())


async def test_a_source_that_fails_in_an_unforeseen_way_does_not_end_its_neighbours(
    bus: Bus, settings: Settings, ark: Redis, source_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise OverflowError("never thought of")

    monkeypatch.setattr(ReasoningCollector, "run", fail)
    async with serving(bus, dataclasses.replace(settings, redis_url=source_url)):
        await until_said(bus, peers="live", sync_events="live", reasoning="down")
        assert (await said(bus))["reasoning"].reason == "internal error: OverflowError"
