import asyncio
from typing import Any

import aiohttp
import pytest

from processors.gateway.fanout import text_frame
from processors.runtime.bus import Bus
from schemas.positions import EntryId
from tests.gateway.support import (
    Gateway,
    eventually,
    frame_where,
    never_reading,
    row,
    running_gateway,
    source,
    summary,
)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_a_frame_is_final_unmasked_text_with_its_length(size: int, header: str) -> None:
    assert text_frame(b"x" * size) == bytes.fromhex(header) + b"x" * size


def fill(gateway: Gateway, now: int, peers: int = 400) -> None:
    """A state of more than 100 kB, so that a client that does not read is soon behind."""
    for group in ("peers", "sync"):
        gateway.state.sources.hear(now, source(group))
    rows = {f"p{number}": row(f"p{number}", hostname="h" * 200) for number in range(peers)}
    gateway.mesh.live.load("0", "e", EntryId(0, 1), rows)
    gateway.mesh.hold(summary(network_health=0.0))
    gateway.federation.note_change()


def tell(gateway: Gateway, value: float) -> None:
    gateway.mesh.hold(summary(network_health=value))
    gateway.federation.note_change()


async def tell_until(gateway: Gateway, condition: Any) -> None:
    """Go on telling changes until `condition` holds."""
    for step in range(2_000):
        if condition():
            return
        tell(gateway, step % 100)
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def test_a_client_that_never_reads_is_conflated_and_then_closed(bus: Bus) -> None:
    async with running_gateway(bus, tail=False, drain_s=1.0) as gateway:
        fill(gateway, bus.clock.now_ms())
        raw = await never_reading(gateway.url)
        fanout = gateway.federation.fanout
        await eventually(lambda: len(fanout) == 1)
        await tell_until(gateway, lambda: fanout.conflated > 0)
        await tell_until(gateway, lambda: fanout.closed_slow == 1)
        await eventually(lambda: len(fanout) == 0)
        raw.close()


async def test_a_client_that_never_reads_does_not_delay_its_neighbour(bus: Bus) -> None:
    async with running_gateway(bus, tail=False, drain_s=5.0) as gateway, aiohttp.ClientSession() as session:
        fill(gateway, bus.clock.now_ms())
        raw = await never_reading(gateway.url)
        async with session.ws_connect(gateway.ws_url, max_msg_size=0) as ws:
            for value in range(1, 25):
                tell(gateway, value)
                await frame_where(ws, lambda frame, value=value: frame["network_health"] == value, within_s=2)  # type: ignore[misc]
        assert gateway.federation.fanout.conflated > 0
        raw.close()


async def test_a_client_that_reads_again_gets_the_newest_state_and_not_those_between(bus: Bus) -> None:
    async with running_gateway(bus, tail=False, drain_s=20) as gateway:
        fill(gateway, bus.clock.now_ms())
        raw = await never_reading(gateway.url)
        fanout = gateway.federation.fanout
        await tell_until(gateway, lambda: fanout.conflated >= 5)
        tell(gateway, 77.5)
        reader, writer = await asyncio.open_connection(sock=raw)
        seen = bytearray()
        async with asyncio.timeout(8):
            while b'"network_health":77.5' not in seen:
                seen += await reader.read(1 << 16)
        assert fanout.closed_slow == 0
        writer.close()
        await writer.wait_closed()


async def test_a_thousand_ticks_hold_no_more_than_one_write_for_a_slow_client(bus: Bus) -> None:
    async with running_gateway(bus, tail=False, drain_s=20) as gateway:
        fill(gateway, bus.clock.now_ms())
        raw = await never_reading(gateway.url)
        fanout = gateway.federation.fanout
        await tell_until(gateway, lambda: fanout.conflated > 0)
        [client] = fanout._clients
        held = client.transport.get_write_buffer_size()
        for _ in range(1_000):
            fanout.send(b"x" * 1000)
        assert client.transport.get_write_buffer_size() <= held + 2
        raw.close()
