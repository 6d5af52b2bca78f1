"""What operators may do over HTTP: replay dead letters, and silence sources."""

import asyncio
import dataclasses
import json
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from processors.cli import OK, main
from processors.gateway import letters, silencing, tail
from processors.gateway.gate import Gate
from processors.runtime.bus import Bus
from schemas import codec, streams
from schemas.events import Heartbeat
from schemas.metrics import DeadLetter
from schemas.streams import partition_of
from tests.gateway.support import SETTINGS, Gateway, World, eventually, frame_where, running_gateway
from tests.gateway.test_gate import line

OPS, ANNA = ({"Authorization": f"Bearer {name}"} for name in ("ops", "anna"))
SILENCE = {"source": "node-1/peers-collector", "minutes": 30, "reason": "new disks"}
NAME = SILENCE["source"]


@pytest.fixture
async def gate(tmp_path: Path) -> Gate:
    """With the tokens of an operator and a viewer."""
    path = tmp_path / "tokens"
    path.write_text(line("ops", "operator") + line("anna"))
    gate = Gate(dataclasses.replace(SETTINGS, ark_tokens_file=path))
    await gate.open()
    return gate


@pytest.fixture
async def gateway(bus: Bus, gate: Gate) -> AsyncIterator[Gateway]:
    async with running_gateway(bus, gate=gate) as running:
        await eventually(lambda: running.state.bus_answers)
        yield running


@pytest.fixture
async def http(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    """An operator's."""
    async with aiohttp.ClientSession(gateway.url, headers=OPS) as session:
        yield session


async def ask(http: aiohttp.ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with http.request(method, path, **more) as answer:
        return answer.status, await answer.json() if answer.content_type == "application/json" else None


async def write(client: Redis, excerpt: str = "", *, by: str = "aggregator", whole: bool = True) -> str:
    """Write a letter; returns its id."""
    body = codec.encode(DeadLetter(ts=1, rejected_by=by, reason="r", excerpt=excerpt, whole=whole))
    name: Any = await client.xadd(streams.DEAD, codec.entry_fields("dead", 1, body))  # type: ignore[arg-type]
    return str(name.decode())


def heartbeat(peer: str) -> str:
    return codec.encode(Heartbeat(peer=peer, ts=1)).decode()


# Who may.

CHANGES = [
    ("POST", "/api/v1/dead/1-1/replay", None),
    ("POST", "/api/v1/silences", SILENCE),
    ("DELETE", f"/api/v1/silences?source={NAME}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_a_viewer_may_not_change_anything(
    http: aiohttp.ClientSession, redis_client: Redis, method: str, path: str, body: Any
) -> None:
    problem = {"error": "only an operator may do this"}
    assert await ask(http, method, path, json=body, headers=ANNA) == (403, problem)
    assert await redis_client.exists(streams.SILENCES) == 0


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_without_a_token_nobody_may_change_anything(gateway: Gateway, method: str, path: str, body: Any) -> None:
    async with aiohttp.ClientSession(gateway.url) as http:
        assert await ask(http, method, path, json=body) == (401, {"error": "a token is needed"})


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_a_page_of_another_origin_may_not_change_anything(
    http: aiohttp.ClientSession, redis_client: Redis, method: str, path: str, body: Any
) -> None:
    assert (await ask(http, method, path, json=body, headers={"Origin": "http://evil.example"}))[0] == 403
    assert await redis_client.exists(streams.SILENCES) == 0


@pytest.mark.parametrize("path", ["/api/v1/dead", "/api/v1/silences"])
async def test_a_viewer_may_look(http: aiohttp.ClientSession, path: str) -> None:
    assert (await ask(http, "GET", path, headers=ANNA))[0] == 200


async def test_without_a_file_of_tokens_whoever_reaches_loopback_is_an_operator(bus: Bus) -> None:
    async with running_gateway(bus) as gateway, aiohttp.ClientSession(gateway.url) as http:
        assert (await ask(http, "POST", "/api/v1/silences", json=SILENCE))[0] == 200


async def test_what_an_operator_asks_for_is_logged_with_the_name_and_without_the_query(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await ask(http, "DELETE", "/api/v1/silences?source=a/b&token=secret")
    assert "ops asks for DELETE /api/v1/silences" in caplog.messages
    assert "secret" not in caplog.text


# Dead letters.


async def test_the_newest_letters_are_told_as_the_command_tells_them(
    http: aiohttp.ClientSession,
    redis_client: Redis,
    server_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(3):
        await write(redis_client, f"x{number}", by="peers")
    await redis_client.xadd(streams.DEAD, {"not": "ours"})
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    assert await asyncio.to_thread(main, ["dead", "list", "--count", "3", "--json"]) == OK
    told = json.loads(capsys.readouterr().out)["letters"]
    assert [each["excerpt"] for each in told] == ["", "x2", "x1"]
    assert await ask(http, "GET", "/api/v1/dead?count=3") == (200, {"letters": told})


@pytest.mark.parametrize("count", ["0", "201", "x", ""])
async def test_a_count_out_of_its_bounds_is_refused(http: aiohttp.ClientSession, count: str) -> None:
    problem = {"error": "count must be between 1 and 200"}
    assert await ask(http, "GET", f"/api/v1/dead?count={count}") == (400, problem)


async def test_a_letter_is_replayed_once(http: aiohttp.ClientSession, redis_client: Redis) -> None:
    name, other = await write(redis_client, heartbeat("a")), await write(redis_client, heartbeat("b"))
    assert await ask(http, "POST", f"/api/v1/dead/{name}/replay") == (200, {"replayed": name})
    problem = {"error": f"ark:dead has no letter {name}"}
    assert await ask(http, "POST", f"/api/v1/dead/{name}/replay") == (404, problem)
    entries: Any = await redis_client.xrange(streams.events_key(partition_of("a", 16)))
    assert [codec.decode_events(fields).events for _, fields in entries] == [[Heartbeat(peer="a", ts=1)]]
    left: Any = await redis_client.xrange(streams.DEAD)
    assert [entry.decode() for entry, _ in left] == [other]


async def test_a_letter_that_stays_is_told_with_the_reason(http: aiohttp.ClientSession, redis_client: Redis) -> None:
    name = await write(redis_client, heartbeat("a"), whole=False)
    why = f"letter {name} stays: it does not hold all of the input, or some of that was used"
    assert await ask(http, "POST", f"/api/v1/dead/{name}/replay") == (409, {"error": why})
    assert await redis_client.xlen(streams.DEAD) == 1


@pytest.mark.parametrize("name", ["five", "--all", "1", "-1-1", "1-1%0A", "1-18446744073709551616", "%C3%A91-1", "1-²"])
async def test_an_id_that_is_none_is_refused(http: aiohttp.ClientSession, name: str) -> None:
    problem = {"error": "id must be that of a letter, <ms>-<n>"}
    assert await ask(http, "POST", f"/api/v1/dead/{name}/replay") == (400, problem)


async def test_of_two_replays_at_once_one_is_refused(http: aiohttp.ClientSession, redis_client: Redis) -> None:
    names = [await write(redis_client, heartbeat(peer)) for peer in "ab"]
    answers = await asyncio.gather(*(ask(http, "POST", f"/api/v1/dead/{name}/replay") for name in names))
    assert sorted(status for status, _ in answers) == [200, 409]
    assert (409, {"error": "another replay is at work"}) in answers
    assert await redis_client.xlen(streams.DEAD) == 1


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.subprocess.Process]:
    """The processes that were started, of a command that does not end and is run instead of ours."""
    processes = []
    script = tmp_path / "ark-pulse"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o700)

    async def start(*arguments: Any, **more: Any) -> asyncio.subprocess.Process:
        processes.append(await asyncio.create_subprocess_exec(*arguments, **more))
        return processes[-1]

    monkeypatch.setattr(letters, "child_environment", lambda *_: {"PATH": f"{tmp_path}:/bin:/usr/bin"})
    monkeypatch.setattr(letters, "asyncio", SimpleNamespace(**vars(asyncio) | {"create_subprocess_exec": start}))
    return processes


async def test_a_replay_that_does_not_end_is_killed_at_its_deadline(
    http: aiohttp.ClientSession, started: list[asyncio.subprocess.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "_REPLAY_S", 0)
    problem = {"error": "the replay took longer than 0 s"}
    assert await ask(http, "POST", "/api/v1/dead/1-1/replay") == (504, problem)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


async def test_a_replay_ends_with_its_request(bus: Bus, started: list[asyncio.subprocess.Process]) -> None:
    request: Any = SimpleNamespace(match_info={"id": "1-1"})
    replaying = asyncio.create_task(letters.Letters(bus).replay(request))
    await eventually(lambda: started)
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    assert [process.returncode for process in started] == [-signal.SIGKILL]


# Silences.


@pytest.fixture
async def world(redis_client: Redis, gateway: Gateway) -> World:
    """A mesh whose peers' source is stale."""
    world = World(redis_client)
    await world.heartbeat("peers", state="stale")
    await world.heartbeat("sync")
    await world.summary(peers="stale")
    await eventually(lambda: gateway.mesh.summary and len(gateway.state.sources.by_name()) == 2)
    return world


async def test_a_silence_is_told_until_it_is_ended(
    http: aiohttp.ClientSession, gateway: Gateway, bus: Bus, world: World
) -> None:
    before = bus.clock.now_ms()
    status, silence = await ask(http, "POST", "/api/v1/silences", json=SILENCE)
    assert (status, silence["reason"]) == (200, "new disks")
    assert before <= silence["until"] - 1_800_000 <= bus.clock.now_ms()
    assert await ask(http, "GET", "/api/v1/silences") == (200, {"silences": {NAME: silence}})
    [peers, sync] = (await ask(http, "GET", "/api/v1/sources"))[1]["sources"]
    assert (peers["silenced_until"], peers["silence_reason"]) == (silence["until"], "new disks")
    assert (sync["silenced_until"], sync["silence_reason"]) == (None, None)
    assert await ask(http, "DELETE", f"/api/v1/silences?source={NAME}") == (204, None)
    assert await ask(http, "GET", "/api/v1/silences") == (200, {"silences": {}})
    problem = {"error": "source is not silenced"}
    assert await ask(http, "DELETE", f"/api/v1/silences?source={NAME}") == (404, problem)


async def test_a_silence_is_pushed_to_those_who_follow_the_sources(http: aiohttp.ClientSession, world: World) -> None:
    async with http.ws_connect("/ws") as ws:
        await ws.send_json({"op": "subscribe", "channels": ["sources"], "rate": 0})
        await frame_where(ws, lambda frame: frame["type"] == "snapshot")
        _, silence = await ask(http, "POST", "/api/v1/silences", json=SILENCE)
        frame = await frame_where(ws, lambda frame: frame["type"] == "delta" and "silence" in str(frame))
        assert frame["data"] == {NAME: {"silenced_until": silence["until"], "silence_reason": "new disks"}}
        await ask(http, "DELETE", f"/api/v1/silences?source={NAME}")
        frame = await frame_where(ws, lambda frame: frame["type"] == "delta" and "silence" in str(frame))
        assert frame["data"] == {NAME: {"silenced_until": None, "silence_reason": None}}


@pytest.mark.parametrize(("who", "access"), [(OPS, "operator"), (ANNA, "viewer")])
async def test_health_tells_who_asks_what_they_may_do(
    http: aiohttp.ClientSession, who: dict[str, str], access: str
) -> None:
    assert (await ask(http, "GET", "/api/health", headers=who))[1]["access"] == access


async def test_a_half_whose_failing_sources_are_silenced_is_stale_and_no_alarm(
    http: aiohttp.ClientSession, world: World
) -> None:
    alarm = "no news from a source of the federation half"
    _, health = await ask(http, "GET", "/api/health")
    assert (health["status"], health["reason"], health["source"]) == ("degraded", alarm, "stale")
    await ask(http, "POST", "/api/v1/silences", json=SILENCE)
    _, health = await ask(http, "GET", "/api/health")
    assert (health["status"], health["reason"], health["source"]) == ("ok", "", "stale")
    await ask(http, "DELETE", f"/api/v1/silences?source={NAME}")
    _, health = await ask(http, "GET", "/api/health")
    assert (health["status"], health["reason"]) == ("degraded", alarm)


async def test_a_silence_does_not_hide_another_group_that_fails(
    http: aiohttp.ClientSession, gateway: Gateway, world: World
) -> None:
    await ask(http, "POST", "/api/v1/silences", json=SILENCE)
    await world.summary(peers="stale", sync="stale")
    await eventually(lambda: gateway.mesh.summary and gateway.mesh.summary.sync.source == "stale")
    assert (await ask(http, "GET", "/api/health"))[1]["status"] == "degraded"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"source": "peers"}, "source must be <node>/<collector>, at most 512 characters"),
        ({"source": "/peers"}, "source must be <node>/<collector>, at most 512 characters"),
        ({"source": "node-1/"}, "source must be <node>/<collector>, at most 512 characters"),
        ({"source": "node\n/peers"}, "source must be <node>/<collector>, at most 512 characters"),
        ({"source": f"{'n' * 512}/peers"}, "source must be <node>/<collector>, at most 512 characters"),
        ({"minutes": 0}, "minutes must be between 1 and 10080"),
        ({"minutes": 10_081}, "minutes must be between 1 and 10080"),
        ({"minutes": 10**30}, "minutes must be between 1 and 10080"),
        ({"reason": "x" * 201}, "reason must have at most 200 printable characters"),
        ({"reason": "\x1b[2J"}, "reason must have at most 200 printable characters"),
    ],
)
async def test_a_silence_out_of_its_bounds_is_refused(
    http: aiohttp.ClientSession, redis_client: Redis, change: dict[str, Any], problem: str
) -> None:
    assert await ask(http, "POST", "/api/v1/silences", json=SILENCE | change) == (400, {"error": problem})
    assert await redis_client.exists(streams.SILENCES) == 0


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"source": "a/b", "minutes": true}', b'{"x":' + b"[" * 9_000, b'"\\ud800"']
)
async def test_a_body_that_is_no_silence_is_refused(http: aiohttp.ClientSession, body: bytes) -> None:
    status, said = await ask(http, "POST", "/api/v1/silences", data=body)
    assert (status, said["error"][:25]) == (400, "body must be JSON such as")


async def test_a_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    assert (await ask(http, "POST", "/api/v1/silences", data=b" " * (1 << 20)))[0] == 413


async def test_as_many_as_may_be_are_silenced_and_those_that_have_ended_make_room(
    http: aiohttp.ClientSession, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silencing, "MAX_SILENCES", 2)
    await redis_client.hset(streams.SILENCES, mapping={"ended/a": '{"until": 1}', "unreadable/a": "x"})
    for node in "ab":
        assert (await ask(http, "POST", "/api/v1/silences", json=SILENCE | {"source": f"{node}/peers"}))[0] == 200
    problem = {"error": "at most 2 sources may be silenced"}
    assert await ask(http, "POST", "/api/v1/silences", json=SILENCE | {"source": "c/peers"}) == (409, problem)
    assert (await ask(http, "POST", "/api/v1/silences", json=SILENCE | {"source": "a/peers"}))[0] == 200
    assert sorted(await redis_client.hkeys(streams.SILENCES)) == [b"a/peers", b"b/peers"]


async def test_a_silence_that_a_foreign_hand_spoilt_silences_nothing(bus: Bus, redis_client: Redis, gate: Gate) -> None:
    for name, body in (("a/b", "x"), (b"\xff", "{}"), ("c/d", '{"until": 1e300}'), ("e/f", "[" * 9_000)):
        await redis_client.hset(streams.SILENCES, name, body)
    async with running_gateway(bus, gate=gate) as gateway, aiohttp.ClientSession(gateway.url, headers=OPS) as http:
        await eventually(lambda: gateway.state.bus_answers)
        assert await ask(http, "GET", "/api/v1/silences") == (200, {"silences": {}})


async def test_a_silence_is_known_to_other_gateways_and_to_those_that_start_later(
    http: aiohttp.ClientSession, server_url: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "CHECK_MS", 20)
    other = Bus(server_url)
    await other.open(16)
    try:
        async with running_gateway(other, gate=gate) as later:
            await eventually(lambda: later.state.bus_answers)
            await ask(http, "POST", "/api/v1/silences", json=SILENCE)
            await eventually(lambda: NAME in later.state.sources.silences(other.clock.now_ms()))
            await ask(http, "DELETE", f"/api/v1/silences?source={NAME}")
            await eventually(lambda: not later.state.sources.silences(other.clock.now_ms()))
            await ask(http, "POST", "/api/v1/silences", json=SILENCE)
        async with running_gateway(other, gate=gate) as later:
            await eventually(lambda: later.state.bus_answers)
            assert NAME in later.state.sources.silences(other.clock.now_ms())
    finally:
        await other.close()
