"""What clients say on `/ws`, and what they are answered."""

import asyncio
import contextlib
from typing import Any

import aiohttp
import msgspec
import pytest

from processors.gateway import conversation
from processors.runtime.bus import Bus
from schemas.frames import JSON_PROTOCOL, MAX_CHANNELS, MSGPACK_PROTOCOL
from tests.gateway.support import Gateway, World, eventually, row, running_gateway, sync, tasks_of_clients
from tests.gateway.talk import Talk, talking


async def test_a_message_that_cannot_be_read_is_an_error_and_the_next_is_answered(talk: Talk) -> None:
    for text in ("", "x", "5", "[]", "null", "{}", '{"op":5}', '{"op":"ping","id":[]}', "[" * 10_000, '{"op":"auth"}'):
        await talk.ws.send_str(text)
        assert (await talk.hear("error"))["code"] == "bad_message", text
    await talk.say("ping", id="after")
    assert (await talk.hear("pong"))["id"] == "after"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"op": "sing"}, "unknown_op"),
        ({"op": "subscribe"}, "bad_message"),
        ({"op": "subscribe", "channels": "sync"}, "bad_message"),
        ({"op": "subscribe", "channels": []}, "bad_message"),
        ({"op": "subscribe", "channels": ["sync"], "since": {"sync": 5}}, "bad_message"),
        ({"op": "subscribe", "channels": ["x"]}, "unknown_channel"),
        ({"op": "subscribe", "channels": ["/ws/federation"]}, "unknown_channel"),
        ({"op": "subscribe", "channels": ["peer:"]}, "unknown_channel"),
        ({"op": "subscribe", "channels": ["peer:" + "x" * 5_000]}, "unknown_channel"),
        ({"op": "subscribe", "channels": ["sync"], "rate": -1}, "bad_rate"),
        ({"op": "subscribe", "channels": ["sync"], "rate": 100.5}, "bad_rate"),
        ({"op": "subscribe", "channels": ["sync"], "speed": 101}, "bad_rate"),
        ({"op": "subscribe", "channels": ["sync"], "fields": ["nothing"]}, "bad_fields"),
        ({"op": "subscribe", "channels": ["sync"], "since": {"sync": "garbage"}}, "bad_position"),
        ({"op": "subscribe", "channels": ["sync"], "since": {"sync": "A" * 25_000}}, "bad_position"),
        ({"op": "subscribe", "channels": [f"peer:{n}" for n in range(MAX_CHANNELS + 1)]}, "too_many_channels"),
        ({"op": "refresh", "channels": ["sync"]}, "not_subscribed"),
    ],
)
async def test_what_is_wrong_with_a_message_is_said_with_its_id(
    talk: Talk, gateway: Gateway, message: dict[str, Any], code: str
) -> None:
    await talk.ws.send_str(msgspec.json.encode(message | {"id": 7}).decode())
    error = await talk.hear("error")
    assert (error["code"], error["id"]) == (code, 7)
    assert len(error["message"]) < 200
    await talk.say("ping")
    await talk.hear("pong")
    assert not gateway.hub._places


async def test_what_is_right_of_a_subscription_is_done(talk: Talk) -> None:
    await talk.say("subscribe", channels=["nothing", "sync", "sync"], since={"sources": "x"})
    assert (await talk.hear("error"))["channel"] == "nothing"
    assert len((await talk.hear("snapshot", channel="sync"))["data"]) == 1


async def test_fields_are_chosen_from_snapshots_and_from_changes(talk: Talk, world: World) -> None:
    await talk.say("subscribe", channels=["federation"], fields=["network_health"])
    await talk.say("subscribe", channels=["sync"], fields=["bytes"])
    await talk.say("subscribe", channels=["peers"], fields=["hostname"])
    await talk.until(lambda client: len(client.channels) == 3)
    assert talk.client["federation"].data == {"network_health": 1.0}
    assert talk.client["sync"].data == [{"bytes": 1}]
    assert talk.client["peers"].data == {"a": {"hostname": "alpha"}}
    await world.summary(network_health=2.0, total_peers=9)
    await world.sync(sync("a", bytes=2))
    await world.roster({"b": row("b")})
    await talk.until(lambda client: client["federation"].data == {"network_health": 2.0})
    await talk.until(lambda client: client["sync"].data == [{"bytes": 1}, {"bytes": 2}])
    await talk.until(lambda client: client["peers"].data == {"a": {"hostname": "alpha"}, "b": {}})


async def test_a_rate_of_nothing_tells_every_change_and_a_small_one_the_newest(talk: Talk, world: World) -> None:
    async with talking(str(talk.ws._response.url), "federation", rate=0) as every:
        await talk.say("subscribe", channels=["federation"], rate=0.5)
        await asyncio.gather(talk.hear("snapshot"), every.hear("snapshot"))
        for value in range(10):
            await world.summary(network_health=10.0 + value)
        seen: list[float] = []
        while seen[-1:] != [19.0]:
            seen.append((await every.hear("delta"))["data"].get("network_health"))
        assert seen == [10.0 + value for value in range(10)]
        frames = talk.client["federation"].frames
        await talk.until(lambda client: client["federation"].data["network_health"] == 19.0)
        assert talk.client["federation"].frames - frames <= 2


async def test_the_smallest_rate_there_is_does_no_harm(talk: Talk, world: World) -> None:
    for rate in (5e-324, 1e-306, -0.0):
        await talk.say("subscribe", channels=["federation"], rate=rate)
        await talk.hear("snapshot")
        await world.summary(network_health=5.0)
    await talk.until(lambda client: client["federation"].data["network_health"] == 5.0)


async def test_a_refresh_sends_the_whole_again(talk: Talk) -> None:
    await talk.say("subscribe", channels=["sync", "federation"])
    await talk.hear("snapshot", channel="sync")
    await talk.say("refresh", channels=["sync"])
    assert (await talk.hear("snapshot"))["channel"] == "sync"
    await talk.say("refresh")
    assert {(await talk.hear("snapshot"))["channel"] for _ in range(2)} == {"sync", "federation"}


async def test_what_was_given_up_is_not_told_any_more(talk: Talk, world: World) -> None:
    await talk.say("subscribe", channels=["sync", "federation"])
    await talk.until(lambda client: len(client.channels) == 2)
    await talk.say("unsubscribe", channels=["sync", "never"])
    await talk.say("ping")
    await talk.hear("pong")
    await world.sync(sync("a"))
    await world.summary(network_health=3.0)
    await talk.until(lambda client: client["federation"].data["network_health"] == 3.0)
    assert talk.client["sync"].frames == 1
    await talk.say("unsubscribe", channels=["federation"])
    await talk.say("refresh")
    await talk.say("ping")
    await talk.hear("pong")


async def test_sixty_four_channels_are_served_and_one_more_is_refused(talk: Talk) -> None:
    await talk.say("subscribe", channels=[f"peer:{n}" for n in range(MAX_CHANNELS)])
    await talk.until(lambda client: len(client.channels) == MAX_CHANNELS)
    await talk.say("subscribe", channels=["sync"])
    assert (await talk.hear("error"))["code"] == "too_many_channels"
    await talk.say("unsubscribe", channels=["peer:0"])
    await talk.say("subscribe", channels=["sync"])
    await talk.hear("snapshot", channel="sync")


async def test_a_whole_session_in_msgpack(gateway: Gateway, world: World) -> None:
    async with talking(gateway.v1_url, "federation", "sync", "peers", protocols=[MSGPACK_PROTOCOL]) as talk:
        assert (await talk.hear("welcome"))["role"] == "operator"
        await talk.until(lambda client: len(client.channels) == 3)
        await world.summary(network_health=2.0)
        await world.sync(sync("a", bytes=2))
        await talk.until(lambda client: client["federation"].data["network_health"] == 2.0)
        await talk.until(lambda client: [each["bytes"] for each in client["sync"].data] == [1, 2])
        assert talk.client["peers"].data["a"]["hostname"] == "alpha"
        await talk.say("sing", id=1)
        assert (await talk.hear("error"))["code"] == "unknown_op"
        await talk.ws.send_bytes(b"\xc1")
        assert (await talk.hear("error"))["code"] == "bad_message"


@pytest.mark.parametrize(
    ("protocol", "is_text", "code"), [(JSON_PROTOCOL, False, 1003), (MSGPACK_PROTOCOL, True, 1003)]
)
async def test_a_message_of_the_other_kind_closes(gateway: Gateway, protocol: str, is_text: bool, code: int) -> None:
    async with talking(gateway.v1_url, protocols=[protocol]) as talk:
        await (talk.ws.send_str('{"op":"ping"}') if is_text else talk.ws.send_bytes(b"\x80"))
        assert await talk.closed() == code


async def test_ten_megabytes_close(gateway: Gateway) -> None:
    async with talking(gateway.v1_url) as talk:
        with contextlib.suppress(ConnectionError):  # it may be cut off before all of it was sent
            await talk.ws.send_str("x" * 10_000_000)
        assert await talk.closed() in {1009, 1006}
    await eventually(lambda: not gateway.gate.clients)


async def test_an_unknown_subprotocol_is_refused(gateway: Gateway) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await http.ws_connect(gateway.v1_url, protocols=["mqtt"])
    assert refusal.value.status == 400


async def test_a_thousand_refreshes_end_the_connection_and_disturb_nobody(
    talk: Talk, gateway: Gateway, world: World
) -> None:
    await talk.say("subscribe", channels=["federation"])
    await talk.hear("snapshot")
    async with talking(gateway.v1_url, "federation") as flood:
        await flood.hear("snapshot")
        for _ in range(1_000):
            try:
                await flood.say("refresh")
            except ConnectionError:
                break
        await world.summary(network_health=4.0)
        await talk.until(lambda client: client["federation"].data["network_health"] == 4.0)
        assert await flood.closed() == 4029
        assert flood.client["federation"].frames < 20


async def test_who_follows_nothing_in_time_is_closed(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "FIRST_S", 0.2)
    async with (
        running_gateway(bus) as gateway,
        talking(gateway.v1_url) as silent,
        talking(gateway.v1_url, "sync") as busy,
    ):
        await busy.hear("snapshot")
        await silent.say("ping")
        assert await silent.closed() == 4009
        await busy.say("ping")
        await busy.hear("pong")


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(gateway: Gateway, world: World) -> None:
    for _ in range(20):
        async with talking(gateway.v1_url, "federation", "peers", "sync", "peer:a") as talk:
            await talk.say("refresh")
            talk.ws._response.connection.transport.abort()  # type: ignore[union-attr]
    await eventually(lambda: not gateway.gate.clients)
    await eventually(lambda: not tasks_of_clients())
    assert not gateway.hub._places
    assert not gateway.hub._groups


async def test_everybody_is_told_to_come_back_when_the_gateway_ends(bus: Bus) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with running_gateway(bus) as gateway:
            talk = await clients.enter_async_context(talking(gateway.v1_url, "sync"))
            await talk.hear("snapshot")
            code = asyncio.create_task(talk.closed())
        assert await code == 1001
