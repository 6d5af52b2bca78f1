"""Slow clients over real sockets: only they notice."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from processors.gateway.backlog import Kept
from processors.runtime.bus import Bus
from schemas import codec
from schemas.positions import EntryId
from tests.gateway.support import (
    Gateway,
    eventually,
    frame_where,
    hold,
    never_reading,
    row,
    running_gateway,
    source,
    summary,
    sync,
)
from tests.gateway.talk import talking


@contextlib.asynccontextmanager
async def stuck(gateway: Gateway, path: str = "/ws/federation", *said: dict[str, Any]) -> AsyncIterator[None]:
    """While a client follows something and never reads."""
    with contextlib.closing(await never_reading(gateway.url, path, *said)):
        await eventually(lambda: gateway.hub._places)
        yield


def fill(gateway: Gateway, now: int, peers: int = 400) -> None:
    """A state of more than 100 kB, so that a client that does not read is soon behind."""
    for group in ("peers", "sync"):
        gateway.state.sources.hear(now, source(group))
    rows = {f"p{number}": row(f"p{number}", hostname="h" * 200) for number in range(peers)}
    gateway.mesh.live.load("0", "e", EntryId(0, 1), rows)
    tell(gateway, 0)


def tell(gateway: Gateway, n: int) -> None:
    """A new summary, and a long sync with so many bytes."""
    hold(gateway.mesh, summary(network_health=float(n), n=n))
    gateway.state.syncs.add("e", Kept(EntryId(1, n + 1), codec.encode(sync("s" * 20_000, bytes=n))))
    gateway.hub.note_change("federation")
    gateway.hub.note_change("sync")


async def tell_until(gateway: Gateway, condition: Any) -> int:
    """Go on telling changes until `condition` holds. Returns the last."""
    for n in range(1, 2_000):
        if condition():
            return n - 1
        tell(gateway, n)
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def is_behind(gateway: Gateway) -> bool:
    return any(client.mark is not None for client in gateway.hub._places)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/ws/federation", ()),
        ("/ws", ({"op": "subscribe", "channels": ["sync", "federation"], "rate": 0},)),
    ],
)
async def test_a_client_that_never_reads_is_closed_and_forgotten(bus: Bus, path: str, said: Any) -> None:
    async with running_gateway(bus, tail=False, drain_s=0.5) as gateway:
        fill(gateway, bus.clock.now_ms())
        async with stuck(gateway, path, *said):
            await tell_until(gateway, lambda: is_behind(gateway))
            await tell_until(gateway, lambda: not gateway.hub._places)
            await eventually(lambda: not gateway.gate.clients)


async def test_a_client_that_never_reads_does_not_delay_its_neighbours(bus: Bus) -> None:
    said = {"op": "subscribe", "channels": ["sync", "federation"], "rate": 0}
    async with (
        running_gateway(bus, tail=False) as gateway,
        stuck(gateway, "/ws", said),
        talking(gateway.v1_url, "federation", "sync", rate=0) as talk,
    ):
        fill(gateway, bus.clock.now_ms())
        await talk.hear("snapshot", channel="sync")
        last = await tell_until(gateway, lambda: is_behind(gateway))
        await talk.until(lambda client: client["sync"].data[-1]["bytes"] == last)
        assert [record["bytes"] for record in talk.client["sync"].data][-last:] == list(range(1, last + 1))
        assert talk.client["federation"].data["network_health"] == last
        assert talk.client["federation"].skipped == 0


async def test_a_page_that_never_reads_does_not_delay_its_neighbour(bus: Bus) -> None:
    async with (
        running_gateway(bus, tail=False) as gateway,
        stuck(gateway),
        talking(gateway.ws_url) as talk,
    ):
        fill(gateway, bus.clock.now_ms())
        last = await tell_until(gateway, lambda: is_behind(gateway))
        await frame_where(talk.ws, lambda frame: frame["network_health"] == last)


async def test_a_slow_client_holds_no_more_than_one_write_of_the_gateways_memory(bus: Bus) -> None:
    async with running_gateway(bus, tail=False) as gateway:
        fill(gateway, bus.clock.now_ms())
        async with stuck(gateway):
            last = await tell_until(gateway, lambda: is_behind(gateway))
            [client] = gateway.hub._places
            held = client.transport.get_write_buffer_size()
            for n in range(last + 1, last + 200):
                tell(gateway, n)
                await asyncio.sleep(0)
            assert client.transport.get_write_buffer_size() <= held


async def test_a_large_roster_is_sent_piece_by_piece_while_it_changes(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for it: the loop is never held for long, and only a piece or two of it is in memory."""
    async with running_gateway(bus, tail=False) as gateway:
        rows = {f"p{number}": row(f"p{number}", hostname=f"host-{number}") for number in range(50_000)}
        world = gateway.mesh.live
        world.load("0", "e", EntryId(0, 1), rows)
        async with talking(gateway.v1_url, "peers") as talk:
            n = 1
            while len(talk.client["peers"].data or ()) < 50_000 or talk.client["peers"].pos is None:
                await talk.next()
                n += 1
                change = {f"p{n * 7}": row(f"p{n * 7}", data_shared=n), f"new-{n}": row(f"new-{n}"), f"p{n}": None}
                assert world.apply("0", EntryId(n, n), "e", world.rosters["0"].held, change)
                gateway.hub.note_change("peers", change)
                assert max((c.transport.get_write_buffer_size() for c in gateway.hub._places), default=0) < 1 << 20
            await talk.until(lambda client: set(client["peers"].data) == {each.id for each in world.rows()})
            await talk.until(lambda client: client["peers"].data[f"new-{n}"])
            assert talk.client["peers"].data[f"p{n * 7}"]["data_shared"] == n
        assert talk.client["peers"].resets == []
    slow = [record.getMessage() for record in caplog.records if "took" in record.getMessage()]
    assert not [each for each in slow if "processors" in each], slow
