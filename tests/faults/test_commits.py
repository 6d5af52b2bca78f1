"""Aggregators cut off or killed at each step of what they write: all of it is there once."""

import asyncio
import random

import pytest

from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import MAX_BATCH_EVENTS
from tests.faults.mesh import Mesh, names_of, publishing
from tests.faults.proxy import Proxy
from tests.faults.victims import Aggregators
from tests.integration.aggregation import aggregating

_DEADLINE_S = 20


@pytest.mark.parametrize("answered", [False, True], ids=["before-the-server-has-it", "before-the-answer-is-read"])
@pytest.mark.parametrize("name", ["commit", "append"])
async def test_what_is_written_on_a_connection_that_is_cut_is_there_once(
    bus: Bus, proxy: Proxy, name: str, answered: bool
) -> None:
    chance = random.Random(f"{name} {answered}")
    mesh = Mesh(bus, 1)
    async with aggregating(proxy.url), publishing(mesh), asyncio.timeout(_DEADLINE_S):
        for _ in range(3):
            failpoint = proxy.failpoint(name, turn=chance.randint(1, 15), answered=answered)
            await failpoint.reached.wait()
            failpoint.cut()
    async with aggregating(proxy.url):
        await mesh.until_right()


async def killed_at(
    victim: Aggregators, proxy: Proxy, name: str, key: str, turn: int = 1, *, answered: bool = False
) -> None:
    """Start the victim unless it runs, and kill it at the request."""
    failpoint = proxy.failpoint(name, key=key, turn=turn, answered=answered)
    if not victim.runs:
        victim.start()
    async with asyncio.timeout(_DEADLINE_S):
        await failpoint.reached.wait()
    victim.kill()
    failpoint.cut()


@pytest.mark.parametrize("answered", [False, True], ids=["before-it", "after-it"])
@pytest.mark.parametrize(("name", "key"), [("commit", streams.meta_key("3")), ("append", streams.FEED_SYNC)])
async def test_who_is_killed_at_a_write_under_load_has_written_all_of_it_or_nothing(
    bus: Bus, server_url: str, proxy: Proxy, victim: Aggregators, name: str, key: str, answered: bool
) -> None:
    mesh = Mesh(bus, 2)
    victim.start()
    await mesh.publish(8)
    await mesh.until_right(_DEADLINE_S)
    async with publishing(mesh):
        await killed_at(victim, proxy, name, key, 5, answered=answered)
    async with aggregating(server_url):
        await mesh.until_right()


@pytest.mark.parametrize(("turn", "answered"), [(2, True), (3, False)], ids=["after-the-first", "before-the-second"])
async def test_who_is_killed_between_the_commits_of_one_large_read_leaves_the_rest_to_its_successor(
    bus: Bus, server_url: str, proxy: Proxy, victim: Aggregators, turn: int, answered: bool
) -> None:
    mesh = Mesh(bus, 3, names_of("3", 3_000))
    await mesh.heartbeats()
    await killed_at(victim, proxy, "commit", streams.meta_key("3"), turn, answered=answered)
    async with aggregating(server_url):
        await mesh.until_right()


async def test_who_is_killed_while_it_restores_has_changed_nothing(
    bus: Bus, server_url: str, proxy: Proxy, victim: Aggregators
) -> None:
    mesh = Mesh(bus, 4, names_of("3", 3_000))
    await mesh.heartbeats()
    async with aggregating(server_url):
        await mesh.until_right()
    await mesh.heartbeats()
    await killed_at(victim, proxy, "HSCAN", streams.state_key("3"), 3)
    async with aggregating(server_url):
        await mesh.until_right()


@pytest.mark.parametrize(("turn", "answered"), [(1, True), (2, False)], ids=["after-the-first", "before-the-second"])
async def test_who_is_killed_while_it_drains_parked_entries_counts_each_once(
    bus: Bus, server_url: str, proxy: Proxy, victim: Aggregators, turn: int, answered: bool
) -> None:
    mesh = Mesh(bus, 5, names_of("3", 2_000))
    for _ in range(12):
        body = codec.encode([mesh.heartbeat() for _ in range(MAX_BATCH_EVENTS)])
        # As an owner of an older release parked it.
        await bus.client.xadd(streams.parked_key("3"), codec.entry_fields("events", 0, body))  # type: ignore[arg-type]
    await killed_at(victim, proxy, "commit", streams.meta_key("3"), turn, answered=answered)
    async with aggregating(server_url):
        await mesh.until_right()
    assert await bus.client.xlen(streams.parked_key("3")) == 0
