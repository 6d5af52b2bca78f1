"""The Python client against a gateway that loses, resets, leaves out, and closes as a test asks."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from processors.client.channel_client import Pulse, connect
from processors.client.errors import Refused
from processors.client.updates import Outage, Records, Reset, State, Update
from schemas.frames import CLOSE_CODES
from tests.client.scripted import FEED, STATES, ScriptedGateway, eventually, numbers, scripted_gateway


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ScriptedGateway]:
    """One whose clients come back at once."""
    monkeypatch.setattr("processors.client.channel_client.random.random", lambda: 0.0)
    async with scripted_gateway() as running:
        yield running


@pytest.fixture
async def pulse(gateway: ScriptedGateway) -> AsyncIterator[Pulse]:
    async with connect(gateway.url) as client:
        yield client


class Told:
    """What a consumer holds who believes all that it is told."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.records: list[Any] = []
        self.updates: list[Update] = []

    def take(self, update: Update) -> None:
        self.updates.append(update)
        match update:
            case State():
                self.states[update.channel] = update.value
            case Records(snapshot=True):
                self.records = list(update.records)
            case Records():
                self.records += update.records

    async def listen(self, updates: Any, until: Callable[[], object]) -> None:
        """Take updates until the condition holds."""
        async with asyncio.timeout(8):
            while not until():
                self.take(await anext(updates))


async def test_a_subscription_begins_with_snapshots(gateway: ScriptedGateway, pulse: Pulse) -> None:
    await gateway.set("federation", {"total_peers": 1})
    await gateway.add(*numbers(0, 3))
    told = Told()
    async with aclosing(pulse.subscribe("federation", "sync")) as updates:
        await told.listen(updates, lambda: len(told.updates) == 2)
    assert told.states == {"federation": {"total_peers": 1}}
    assert told.records == numbers(0, 3)
    assert [update.snapshot for update in told.updates if isinstance(update, Records)] == [True]


async def test_what_is_wished_is_what_is_asked_for(gateway: ScriptedGateway, pulse: Pulse) -> None:
    async with aclosing(pulse.subscribe("sync", rate=0, fields=["n"], since={"sync": "1.0"})) as updates:
        await gateway.add(*numbers(0, 1))
        await anext(updates)
    (asked,) = gateway.asked
    assert (asked["channels"], asked["rate"], asked["fields"], asked["since"]) == (["sync"], 0, ["n"], {"sync": "1.0"})


async def test_positions_of_states_are_not_taken_from_outside(pulse: Pulse) -> None:
    with pytest.raises(ValueError, match=r"^since must name channels of records$"):
        await anext(pulse.subscribe("federation", since={"federation": "1.0"}))


async def test_a_token_goes_into_the_header(gateway: ScriptedGateway) -> None:
    async with connect(gateway.url, "secret") as pulse, aclosing(pulse.subscribe("federation")) as updates:
        await anext(updates)
    assert gateway.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_is_lost_and_when_the_end_is_that_of_the_gateway(
    gateway: ScriptedGateway, pulse: Pulse, seed: int
) -> None:
    chance = random.Random(seed)
    gateway.piece = 3
    told = Told()
    async with aclosing(pulse.subscribe(*STATES, FEED)) as updates:
        await told.listen(updates, lambda: len(told.states) == 2)
        for _ in range(60):
            await gateway.let_happen(chance)
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)  # the client may do something in between, or not
            if chance.random() < 0.3 and gateway.clients:
                told.take(await asyncio.wait_for(anext(updates), 8))
        await gateway.set("federation", {"end": True})
        await gateway.set("peers", {"end": True})
        await gateway.add({"end": True})
        await told.listen(updates, lambda: told.states == gateway.state and told.records[-1:] == [{"end": True}])
    assert told.records == gateway.records


async def test_after_a_reset_what_was_told_before_is_told_to_be_void(gateway: ScriptedGateway, pulse: Pulse) -> None:
    told = Told()
    async with aclosing(pulse.subscribe("sync")) as updates:
        await gateway.add(*numbers(0, 2))
        await told.listen(updates, lambda: told.updates)
        await gateway.begin_again()
        await told.listen(updates, lambda: len(told.updates) == 3)
    assert [type(update) for update in told.updates] == [Records, Reset, Records]
    assert told.records == []


async def test_large_snapshots_come_whole(gateway: ScriptedGateway, pulse: Pulse) -> None:
    rows = {f"peer-{n}": {"hostname": "h" * 500} for n in range(10_000)}
    await gateway.set("peers", rows)
    async with aclosing(pulse.subscribe("peers")) as updates:
        update = await anext(updates)
    assert isinstance(update, State)
    assert update.value == rows


async def test_what_was_left_out_is_told(gateway: ScriptedGateway, pulse: Pulse) -> None:
    async with aclosing(pulse.subscribe("federation")) as updates:
        await anext(updates)
        await gateway.say({"type": "skipped", "channel": "federation", "count": 9}, {"type": "of tomorrow"})
        await gateway.set("federation", {"a": 1})
        update = await anext(updates)
    assert isinstance(update, State)
    assert (update.skipped, update.changed) == (9, {"a": 1})


@pytest.mark.parametrize("name", ["going_away", "full", "too_slow", "too_many", "silent"])
async def test_a_client_that_was_closed_says_why_and_comes_back(
    gateway: ScriptedGateway, pulse: Pulse, name: str
) -> None:
    code = CLOSE_CODES[name].code
    async with aclosing(pulse.subscribe("federation")) as updates:
        await anext(updates)
        await gateway.close(code)
        assert await anext(updates) == Outage(f"closed with {code} {name}", 0.0)
        assert isinstance(await anext(updates), State)
    assert [message.get("since") for message in gateway.asked] == [{}, {"federation": "1.0"}]


@pytest.mark.parametrize("name", ["policy", "expired"])
async def test_a_client_that_is_not_to_come_back_raises(gateway: ScriptedGateway, pulse: Pulse, name: str) -> None:
    updates = pulse.subscribe("federation")
    await anext(updates)
    await gateway.close(CLOSE_CODES[name].code)
    with pytest.raises(Refused, match=rf"^the gateway refuses: {CLOSE_CODES[name].code}: "):
        await anext(updates)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_handshake_raises(gateway: ScriptedGateway, pulse: Pulse, status: int) -> None:
    gateway.refusals = [status]
    with pytest.raises(Refused, match=rf"^the gateway refuses: {status}: origin or token was refused$"):
        await anext(pulse.subscribe("federation"))


async def test_an_error_of_what_was_asked_for_raises(gateway: ScriptedGateway, pulse: Pulse) -> None:
    gateway.instead = ['{"type":"error","code":"unknown_channel","message":"weather is none","channel":"weather"}']
    with pytest.raises(Refused, match=r"^the gateway refuses: unknown_channel: weather is none$"):
        await anext(pulse.subscribe("weather"))


async def test_a_full_gateway_is_tried_again(gateway: ScriptedGateway, pulse: Pulse) -> None:
    gateway.refusals = [503, 502]
    async with aclosing(pulse.subscribe("federation")) as updates:
        assert await anext(updates) == Outage("the handshake was answered with 502", 0.0)
        assert await anext(updates) == Outage("the handshake was answered with 503", 0.0)
        assert isinstance(await anext(updates), State)


async def test_a_gateway_that_is_not_there_is_waited_for(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with connect(url) as pulse, aclosing(pulse.subscribe("federation")) as updates:
        outage = await anext(updates)
    assert isinstance(outage, Outage)
    assert outage.reason
    assert 0 <= outage.retry_in_s <= 0.25


async def test_a_silent_gateway_makes_the_state_stale_and_the_connection_new(gateway: ScriptedGateway) -> None:
    gateway.is_silent = True
    async with connect(gateway.url, silent_s=0.3) as pulse, aclosing(pulse.subscribe("federation")) as updates:
        first = await anext(updates)
        outage = await anext(updates)
        stale = await anext(updates)
        again = await anext(updates)
    assert outage == Outage("nothing was heard for 0.3 s", 0.0)
    assert [each.stale for each in (first, stale, again) if isinstance(each, State)] == [False, True, False]
    assert len(gateway.said) >= 2


async def test_a_state_becomes_stale_while_the_next_attempt_is_waited_for(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.client.channel_client.random.random", lambda: 1e6)
    async with connect(gateway.url, silent_s=0.05) as pulse, aclosing(pulse.subscribe("federation")) as updates:
        first = await anext(updates)
        gateway.cut()
        assert isinstance(await anext(updates), Outage)
        stale = await asyncio.wait_for(anext(updates), 8)
    assert isinstance(first, State)
    assert stale == first._replace(stale=True, changed={})


async def test_a_state_becomes_stale_while_a_connection_is_not_answered(gateway: ScriptedGateway) -> None:
    async with connect(gateway.url, silent_s=0.3) as pulse, aclosing(pulse.subscribe("federation")) as updates:
        first = await anext(updates)
        gateway.may_answer.clear()
        gateway.cut()
        async with asyncio.timeout(8):
            told = [await anext(updates) for _ in range(3)]
        gateway.may_answer.set()
    assert isinstance(first, State)
    assert [type(update) for update in told] == [Outage, Outage, State]
    assert told[-1] == first._replace(stale=True, changed={})


async def test_pongs_keep_a_quiet_connection(gateway: ScriptedGateway) -> None:
    async with connect(gateway.url, silent_s=0.3) as pulse, aclosing(pulse.subscribe("federation")) as updates:
        await anext(updates)
        task = asyncio.create_task(anext(updates))
        await eventually(lambda: len(gateway.said) >= 6)
        await gateway.set("federation", {"a": 1})
        update = await task
    assert isinstance(update, State)
    assert len(gateway.asked) == 1


async def test_a_consumer_that_does_not_read_makes_the_gateway_wait(gateway: ScriptedGateway, pulse: Pulse) -> None:
    async def flood() -> None:
        for n in range(200):
            await gateway.add({"n": n, "text": "x" * 100_000})

    async with aclosing(pulse.subscribe("sync")) as updates:
        await anext(updates)
        (ws,) = gateway.clients
        flooding = asyncio.create_task(flood())
        await eventually(lambda: _waiting_bytes(ws) > 0)
        assert not flooding.done()
        numbers_told = [record["n"] for _ in range(200) for record in _records(await anext(updates))]
        await flooding
    assert numbers_told == list(range(200))


def _waiting_bytes(ws: web.WebSocketResponse) -> int:
    """What the gateway has written that the client has not read."""
    transport = ws._req.transport if ws._req else None
    return transport.get_write_buffer_size() if transport else 0


def _records(update: Update) -> list[Any]:
    assert isinstance(update, Records)
    return update.records


async def test_a_closed_client_ends_its_subscriptions(gateway: ScriptedGateway) -> None:
    async with connect(gateway.url) as pulse:
        updates = pulse.subscribe("federation")
        await anext(updates)
        waiting = asyncio.create_task(anext(updates))
        await asyncio.sleep(0)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 8)


async def test_a_loop_that_is_left_leaves_nothing_behind(gateway: ScriptedGateway, pulse: Pulse) -> None:
    async for update in pulse.subscribe("federation"):
        assert isinstance(update, State)
        break
    await eventually(lambda: not gateway.clients)
