"""Pins: a node id belongs to one key, a number is taken once, whoever else writes at the same moment."""

import asyncio

import pytest

from processors.federation.errors import Refused
from processors.federation.manifest import read_manifest
from processors.federation.pinning import renewed
from processors.federation.pins import Pins
from processors.runtime.bus import Bus
from schemas import streams
from schemas.manifests import Pin, decode_pin
from tests.federation.support import Node, base64_of

NOW = 1_700_000_000_000


async def renew(pins: Pins, node: Node, *, always: bool = False, **fields: int) -> Pin | None:
    manifest = read_manifest(node.body(**fields))
    return await pins.renew(node.node_id, lambda pin: renewed(pin, manifest, frozenset(), NOW), always=always)


async def held(bus: Bus, node_id: str = "ark-node-1") -> Pin:
    body = await bus.client.hget(streams.FEDERATION_PINS, node_id)
    assert isinstance(body, bytes)
    return decode_pin(body)


async def test_a_pin_is_kept_as_json_under_the_nodes_id(bus: Bus) -> None:
    node = Node()
    assert await renew(Pins(bus), node, seq=1) is None
    assert await held(bus) == Pin(key=base64_of(node.pubkey), first_seen=NOW, seq=1)


async def test_a_newer_manifest_replaces_the_pin_that_was_there(bus: Bus) -> None:
    node = Node()
    await renew(Pins(bus), node, seq=1)
    before = await renew(Pins(bus), node, seq=2**53 - 1)
    assert before is not None
    assert (before.seq, (await held(bus)).seq) == (1, 2**53 - 1)


async def test_of_many_keys_that_come_together_one_is_pinned(bus: Bus) -> None:
    nodes = [Node() for _ in range(20)]
    outcomes = await asyncio.gather(*(renew(Pins(bus), node) for node in nodes), return_exceptions=True)
    [winner] = [node for node, outcome in zip(nodes, outcomes, strict=True) if outcome is None]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert (await held(bus)).key == base64_of(winner.pubkey)
    assert {refusal.status for refusal in refusals} == {403}
    assert len(refusals) == 19


async def test_of_many_manifests_with_one_number_one_is_taken(bus: Bus) -> None:
    node = Node()
    await renew(Pins(bus), node, seq=1)
    outcomes = await asyncio.gather(*(renew(Pins(bus), node, seq=2) for _ in range(20)), return_exceptions=True)
    assert sorted(outcome.status if isinstance(outcome, Refused) else 200 for outcome in outcomes) == [200] + [409] * 19


async def test_a_node_that_is_too_many_is_refused_and_pinned_ones_go_on(bus: Bus) -> None:
    pins, one, other = Pins(bus, most=1), Node("one"), Node("other")
    await renew(pins, one, seq=1)
    with pytest.raises(Refused, match=r"^there are too many pins to take a new node$") as error:
        await renew(pins, other)
    assert error.value.status == 503
    await renew(pins, one, seq=2)
    await renew(pins, other, always=True)
    assert await bus.client.hlen(streams.FEDERATION_PINS) == 2


async def test_a_pin_that_cannot_be_read_is_nobodys(bus: Bus) -> None:
    await bus.client.hset(streams.FEDERATION_PINS, "ark-node-1", "rubbish")
    with pytest.raises(Refused, match=r"^the pin of this node cannot be read, and must be removed by hand$"):
        await renew(Pins(bus), Node())


async def test_a_key_of_another_type_is_a_bus_that_does_not_answer(bus: Bus) -> None:
    await bus.client.set(streams.FEDERATION_PINS, "x")
    with pytest.raises(Refused, match=r"^the bus does not answer$"):
        await renew(Pins(bus), Node())
