import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from processors.collectors.status import SourceStatus
from processors.runtime import doctor
from processors.runtime.checks import bus, ports, sources
from processors.runtime.checks.finding import Finding
from processors.runtime.doctor import CHECK_S, examine
from processors.runtime.observation import Health
from processors.runtime.settings import Settings, load_settings
from schemas import codec, streams
from schemas.metrics import SourceState
from tests.servers import free_port

Found = dict[str, Finding]
ME = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"


async def _examine(bus_url: str | None, **environment: str) -> Found:
    ports = {"ARK_HTTP_PORT": str(free_port()), "FEDERATION_PORT": str(free_port())}
    settings = await asyncio.to_thread(load_settings, ports | environment)
    return {finding.check: finding for finding in await examine(settings, bus_url)}


async def _report(client: Redis, state: str, collector: str = "peers", reason: str = "", **more: str) -> None:
    source = SourceState(node="n", collector=collector, group="peers", state=state, since=1, reason=reason)  # type: ignore[arg-type]
    fields = codec.entry_fields("source", 1, codec.encode(source))
    await client.xadd(streams.SOURCES, fields, **more)  # type: ignore[arg-type]


async def test_a_good_bus_is_ok(redis_client: Redis, server_url: str) -> None:
    await redis_client.set(streams.PARTITIONS, 16)
    found = await _examine(server_url)
    assert [found[check].level for check in ("bus", "partitions", "clock")] == ["ok", "ok", "ok"]


async def test_a_bus_that_evicts_is_trouble(redis_client: Redis, server_url: str) -> None:
    await redis_client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = await _examine(server_url)
    finally:
        await redis_client.config_set("maxmemory-policy", "noeviction")
    assert found["bus"].text.endswith("has maxmemory-policy allkeys-lru, and may drop what is not yet counted")


async def test_a_bus_of_another_number_of_partitions_is_trouble(redis_client: Redis, server_url: str) -> None:
    await redis_client.set(streams.PARTITIONS, 8)
    found = (await _examine(server_url))["partitions"]
    assert (found.level, found.text) == ("trouble", "ARK_PARTITIONS is 16, but this bus was made with 8")
    assert found.advice == "set ARK_PARTITIONS=8 for all processes, or use an empty bus"


async def test_a_bus_that_does_not_answer_is_trouble_without_its_password() -> None:
    found = (await _examine(f"redis://:secret@127.0.0.1:{free_port()}/0"))["bus"]
    assert (found.level, "secret" in found.text) == ("trouble", False)


async def test_no_bus_is_trouble() -> None:
    assert (await _examine(None, ARK_STATE_DIR="nowhere"))["bus"].text == (
        f"ARK_BUS_URL is unset and no embedded server runs in {Path.cwd() / 'nowhere'}"
    )


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A listener that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_what_never_answers_is_given_up_in_time(silent_port: int) -> None:
    began = time.monotonic()
    url = f"redis://127.0.0.1:{silent_port}/0"
    found = await _examine(url, REDIS_URL=url, ARK_HTTP_PORT=str(silent_port), FEDERATION_PORT=str(silent_port))
    assert time.monotonic() - began < CHECK_S + 1
    for check in ("bus", "redis", "gateway", "federation"):
        assert found[check].text == "no answer within 2 s"
        assert f"if process {os.getpid()} hangs, `kill -KILL {os.getpid()}`" in found[check].advice


async def test_a_source_that_does_not_answer_is_a_warning() -> None:
    assert (await _examine(None, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"))["redis"].level == "warning"


async def test_a_source_without_notifications_is_a_warning(redis_client: Redis, server_url: str) -> None:
    await redis_client.lpush("sync_events", "{}")
    await redis_client.config_set("notify-keyspace-events", "Ex")
    found = await _examine(None, REDIS_URL=server_url)
    await redis_client.config_set("notify-keyspace-events", "")
    assert (found["redis"].level, found["notifications"].text) == (
        "ok",
        'notify-keyspace-events is "xE", without Kghl',
    )


async def test_a_source_that_refuses_config_is_a_warning(redis_client: Redis, server_url: str) -> None:
    await redis_client.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], categories=["+@all"], commands=["-config"], keys=["*"]
    )
    found = await _examine(None, REDIS_URL=server_url.replace("redis://", "redis://limited:pw@"))
    await redis_client.acl_deluser("limited")
    assert found["notifications"].text == "the server refuses CONFIG, so changes are found by scanning"
    assert found["notifications"].advice == 'have notify-keyspace-events "Kghxl" set by whoever runs that server'


async def test_a_port_of_another_program_is_trouble() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = (await _examine(None, ARK_HTTP_PORT=str(port)))["gateway"]
    assert (found.level, found.text) == ("trouble", f"127.0.0.1:{port} is in use by {ME}")


async def test_a_simulated_source_is_a_warning_with_its_reason(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "simulated", "simulator", "never live here")
    found = (await _examine(server_url))["source simulator"]
    assert (found.level, found.text) == ("warning", "n: peers is simulated (never live here)")


async def test_the_newest_report_of_a_source_counts(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "stale")
    await _report(redis_client, "live")
    assert (await _examine(server_url))["source peers"].level == "ok"


@pytest.mark.parametrize(("state", "level"), [("live", "trouble"), ("stale", "trouble"), ("down", "warning")])
async def test_a_source_that_fell_silent_is_trouble_if_it_was_live(
    redis_client: Redis, server_url: str, state: str, level: str
) -> None:
    seconds, _ = await redis_client.time()
    await _report(redis_client, state, id=f"{(seconds - 60) * 1_000}-1")
    found = (await _examine(server_url))["source peers"]
    assert (found.level, found.text.startswith("n has not reported for 6")) == (level, True)


async def test_a_source_that_was_live_and_is_not_is_trouble(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "stale", reason="Connection refused")
    found = (await _examine(server_url))["source peers"]
    assert (found.level, found.text) == ("trouble", "n: peers is stale (Connection refused)")


async def test_a_source_that_never_was_live_is_a_warning(redis_client: Redis, server_url: str) -> None:
    await _report(redis_client, "down", reason="file does not exist")
    found = (await _examine(server_url))["source peers"]
    assert (found.level, found.text) == ("warning", "n: peers is down (file does not exist)")


async def test_a_collector_that_stands_by_is_ok(redis_client: Redis, server_url: str) -> None:
    standing_by = SourceStatus("peers", "peers", node="n", changed=lambda status: None)
    standing_by.standing_by(1, "another")
    await _report(redis_client, "down", reason=standing_by.reason)
    found = (await _examine(server_url))["source peers"]
    assert (found.level, found.text) == ("ok", "n: peers is down (the collector of another works this source)")


async def _federation(answer: bytes) -> Finding:
    """What is found where a server gives `answer` to whoever asks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # whoever only looks whether anybody listens
            await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        found = (await _examine(None, FEDERATION_PORT=port))["federation"]
    return msgspec.structs.replace(found, text=found.text.replace(port, "9001"))


async def test_a_federation_service_that_answers_is_ok() -> None:
    found = await _federation(b'HTTP/1.0 200 OK\r\n\r\n{"peers":[],"count":0}')
    assert (found.level, found.text) == ("ok", "http://127.0.0.1:9001/discover answers")


async def test_a_federation_service_without_arks_redis_is_a_warning() -> None:
    found = await _federation(b'HTTP/1.0 503 Service Unavailable\r\n\r\n{"error":"ARK\'s Redis does not answer"}')
    assert (found.level, found.text) == ("warning", "http://127.0.0.1:9001/discover cannot tell who is there")


async def test_another_program_on_the_port_of_the_federation_service_is_a_warning() -> None:
    found = await _federation(b"HTTP/1.0 404 Not Found\r\n\r\nnothing")
    assert (found.level, found.text) == ("warning", f"127.0.0.1:9001 is in use by {ME}")
    assert found.advice == "set ARK_FEDERATION_URL if it is to be followed, or FEDERATION_PORT to a free port"


async def test_a_federation_service_that_does_not_run_is_a_warning() -> None:
    port = free_port()
    found = (await _examine(None, FEDERATION_PORT=str(port)))["federation"]
    assert (found.level, found.text) == ("warning", f"nothing listens on 127.0.0.1:{port}")
    assert found.advice == "start it with `ark-pulse up`, or set ARK_FEDERATION_URL to one that is to be followed"


async def test_without_a_federation_service_another_may_be_followed() -> None:
    port = free_port()
    found = (await _examine(None, FEDERATION_PORT=str(port), ARK_FEDERATION_URL="http://other:9001"))["federation"]
    text = f"nothing listens on 127.0.0.1:{port}, ARK_FEDERATION_URL is followed"
    assert (found.level, found.text, found.advice) == ("ok", text, "")


async def test_a_bus_on_which_nobody_reported_is_a_warning(redis_client: Redis, server_url: str) -> None:
    assert (await _examine(server_url))["sources"].text == "no collector has reported yet"


@pytest.mark.parametrize(
    ("skew_ms", "level"), [(1_000, "ok"), (-1_001, "warning"), (5_000, "warning"), (-5_001, "trouble")]
)
async def test_a_clock_that_differs_is_a_warning_and_beyond_what_is_believed_trouble(
    redis_client: Redis, server_url: str, skew_ms: float, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ahead(_client: Redis) -> float:
        return skew_ms

    monkeypatch.setattr(bus, "clock_skew_ms", ahead)
    found = (await _examine(server_url))["clock"]
    assert (found.level, found.see.rpartition("#")[2]) == (level, "" if level == "ok" else "clocks-differ")


async def test_whoever_may_not_ask_for_clocks_and_contents_of_redis_still_learns_the_rest(
    redis_client: Redis, server_url: str
) -> None:
    """Of the users of deploy/redis/source.acl, one may read hashes, and nothing of the server but this option."""
    await redis_client.hset("peer:a", "hostname", "a.local")
    client: Any = redis_client
    rules = ("on", ">pw", "-@all", "+scan", "+exists", "+hgetall", "+config|get", "~peer:*", "~sync_events")
    await client.execute_command("ACL SETUSER", "limited", *rules)
    limited = server_url.replace("redis://", "redis://limited:pw@")
    found = await _examine(None, REDIS_URL=limited)
    await redis_client.delete("peer:a")
    empty = await _examine(None, REDIS_URL=limited)
    await redis_client.acl_deluser("limited")
    assert (found["redis"].level, "peers' clocks" in found) == ("ok", False)
    assert empty["redis"].text.endswith(" answers, but holds neither peer:* nor sync_events")


async def test_a_finding_that_is_not_ok_has_an_advice_and_a_section_and_another_has_none(server_url: str) -> None:
    for finding in (await _examine(server_url, ARK_METRICS_PORT=str(free_port()))).values():
        assert bool(finding.advice) == bool(finding.see) == (finding.level != "ok"), finding


@pytest.mark.parametrize("field", ["n", "fenced", "lease_until", "pos"])
async def test_a_partition_that_a_foreign_hand_wrote_into_is_trouble(
    field: str, redis_client: Redis, server_url: str
) -> None:
    await redis_client.set(streams.PARTITIONS, 16)
    await redis_client.hset(streams.meta_key("3"), mapping={"owner": "a", field: "abc"})
    found = await _examine(server_url)
    assert (found["work"].level, found["work"].see.rpartition("#")[2]) == ("trouble", "a-partition-stands-still")
    assert found["work"].text.startswith("a partition cannot be read: ")
    assert found["bus"].level == "ok"


async def test_what_nobody_foresaw_in_one_check_is_trouble_and_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_settings: Settings) -> None:
        raise ValueError("surprise")

    monkeypatch.setattr(doctor, "check_machine", fail)
    found = await _examine(None)
    assert (found["machine"].level, found["machine"].text) == ("trouble", "internal error: ValueError")
    assert {"python", "gateway", "federation"} <= found.keys()
    assert "surprise" in caplog.text


async def test_clients_that_were_closed_once_are_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_settings: Settings) -> Health:
        return Health(status="ok", source="live", behind=0, closed_slow=12)

    monkeypatch.setattr(ports, "ask_gateway", answer)
    found = await _examine(None)
    assert (found["gateway"].level, "clients" in found) == ("ok", False)


def _bus_as_told(capsys: pytest.CaptureFixture[str], **environment: str) -> dict[str, str]:
    """What the command tells of the bus; the other checks are made, too, and nothing is logged."""
    usual = {"ARK_HTTP_PORT": str(free_port()), "FEDERATION_PORT": str(free_port())}
    assert doctor.doctor(load_settings(usual | environment), as_json=True) == doctor.TROUBLE
    told = capsys.readouterr()
    found = {each["check"]: each for each in json.loads(told.out)["checks"]}
    assert {"redis", "gateway", "federation", "descriptors"} <= found.keys()
    assert (told.err, found["bus"]["level"]) == ("", "trouble")
    told_of_it: dict[str, str] = found["bus"]
    return told_of_it


@pytest.mark.parametrize("note", [b"\xff\xfe\0", b"hello", b""])
def test_a_note_of_the_bus_that_is_no_address_is_a_finding(
    note: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bus.url").write_bytes(note)
    assert _bus_as_told(capsys, ARK_STATE_DIR=str(tmp_path))["text"] == "bus.url is no address"


def test_a_state_directory_that_cannot_be_read_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bus.url").mkdir()
    (tmp_path / "file").touch()
    for path, why in ((tmp_path, "Is a directory"), (tmp_path / "file", "Not a directory")):
        found = _bus_as_told(capsys, ARK_STATE_DIR=str(path))
        assert found["text"] == f"ARK_STATE_DIR cannot be read: {why}"


async def test_a_tokens_file_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokens")
    found = (await _examine(None, ARK_TOKENS_FILE=str(tmp_path / "tokens")))["tokens"]
    assert (found.level, found.text) == ("trouble", f"{tmp_path / 'tokens'} is a pipe, no file")


async def test_stages_that_run_and_do_nothing_are_named(
    redis_client: Redis, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bus, sources):
        monkeypatch.setattr(module, "running", lambda stage, url=None: (len(stage), {}, Path("/srv/ark-pulse")))
    await redis_client.set(streams.PARTITIONS, 16)
    seconds, _ = await redis_client.time()
    await _report(redis_client, "live", id=f"{(seconds - 60) * 1_000}-1")
    found = await _examine(server_url)
    ending = "if process {0} hangs, `kill -KILL {0}`: `ark-pulse up` starts what is its own again"
    assert found["work"].advice == f"see its log; {ending.format(len('aggregators'))}"
    assert found["source peers"].advice.endswith(f"; {ending.format(len('collectors'))}")
    assert (await _examine(None))["bus"].advice.startswith("run it in /srv/ark-pulse, or set ARK_STATE_DIR")


async def test_a_stale_source_whose_collectors_have_other_settings_says_so(
    redis_client: Redis, server_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "running", lambda stage, url=None: (7, {"ARK_BASE_PATH": "old"}, Path("/srv")))
    source = SourceState(
        node="n", collector="code_memory", group="code", state="stale", since=1, reason="file does not exist"
    )
    await redis_client.xadd(streams.SOURCES, codec.entry_fields("source", 1, codec.encode(source)))  # type: ignore[arg-type]
    found = (await _examine(server_url, ARK_BASE_PATH=str(tmp_path)))["source code_memory"]
    theirs = "ARK_BASE_PATH is /srv/old in the collectors (process 7)"
    assert found.text == f"n: code is stale (file does not exist), {theirs}"
    assert found.advice == f"see {tmp_path / 'data' / 'ark.db'}, and ARK_BASE_PATH of the collectors"
