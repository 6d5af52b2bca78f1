"""`ark-pulse uninstall`: what is ours goes, what is not stays as it was."""

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from processors.cli import FAILURE, OK, main
from processors.collectors.peer_reader import PeerCollector
from processors.collectors.publisher import SourceBatch
from processors.runtime.bus import Bus
from processors.runtime.embedded import EmbeddedServer
from processors.runtime.keyspace import NOTIFY_OPTION, classes, noted_flags
from processors.runtime.settings import bus_url_file
from processors.runtime.up import only_one
from processors.tools.capture import install
from processors.tools.resting import HASHES, STREAMS
from schemas import streams
from tests.collectors.helpers import LIVE, new_status, running, until
from tests.databases import make_ark
from tests.federation.support import running_service
from tests.gateway.support import running_gateway
from tests.integration.aggregation import aggregating, summary_when
from tests.integration.test_aggregators import publisher, traffic
from tests.servers import free_port
from tests.tools.contents import contents

Output = pytest.CaptureFixture[str]

# Keys of others that begin as ours do, on the bus.
OTHERS = dict.fromkeys(
    [
        b"peer:x", b"ark:mine", b"ark:{x}:state", b"{ark:mine}:meta", b"other", b"ark:{999999}:foo", b"ark:{01}:events",
        b"ark:{0}:mine", b"ark:{sim}:x", b"ark:{0}:published:", b"ark:{0}:meta\n",
        b"ark:{1024}:events",
    ],
    "1",
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture(autouse=True)
def _settings(
    server_url: str, ark_url: str, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("ARK_BUS_URL", server_url)
    monkeypatch.setenv("REDIS_URL", ark_url)
    monkeypatch.setenv("ARK_BASE_PATH", str(tmp_path))
    monkeypatch.setenv("ARK_STATE_DIR", str(state))
    for name in ("ARK_HTTP_PORT", "FEDERATION_PORT"):
        monkeypatch.setenv(name, str(free_port()))
    yield
    with Redis.from_url(server_url) as client:
        client.config_set(NOTIFY_OPTION, "")


@pytest.fixture
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARK_BUS_URL")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")


@pytest.fixture
def client(server_url: str, redis_client: AsyncRedis) -> Iterator[Redis]:
    """A blocking client of the bus."""
    with Redis.from_url(server_url) as client:
        yield client


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["uninstall", *arguments])


async def collect(bus: Bus, ark_url: str, state: Path) -> None:
    """Have a collector watch ARK's Redis for a moment."""
    status = new_status()
    async with running(PeerCollector(bus, ark_url, LIVE, status, state_dir=state).run()):
        await until(lambda: status.state == "live")


async def use(bus: Bus, url: str, ark_url: str, state: Path, ark_db: Path) -> None:
    """Leave what ARK Pulse leaves: keys on the bus, flags of ARK's Redis, a log of changes in ark.db."""
    await collect(bus, ark_url, state)
    sender = await publisher(bus)
    async with aggregating(url):
        await sender.publish(SourceBatch("1", list(traffic(bus.clock.now_ms(), 5))))
        await summary_when(bus, lambda s: s.sync_events_total == 5)
    await bus.client.hset(streams.FEDERATION_PINS, "node", "pin")
    await bus.client.hset(streams.SILENCES, "node/peers", "silence")
    await asyncio.to_thread(install, ark_db)


def dump(path: Path) -> list[str]:
    """All that is in a database."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return list(database.iterdump())


def flags(client: Redis) -> frozenset[str]:
    found: Any = client.config_get(NOTIFY_OPTION)
    return classes(found[NOTIFY_OPTION])


async def test_what_is_ours_goes_and_all_else_is_as_it_was(
    bus: Bus, server_url: str, ark_url: str, ark: Redis, client: Redis, state: Path, tmp_path: Path, capsys: Output
) -> None:
    ark_db = tmp_path / "data" / "ark.db"
    with contextlib.closing(make_ark(ark_db)) as database:
        database.execute("INSERT INTO code_patterns (pattern_id, pattern_type, code_snippet) VALUES ('a', 't', 's')")
    client.config_set(NOTIFY_OPTION, "Ex")
    client.mset(OTHERS)
    ark.hset("peer:one", "hostname", "one.local")
    ark.lpush("sync_events", "{}")
    before = dump(ark_db), flags(client), ark.hgetall("peer:one"), ark.lrange("sync_events", 0, -1)
    await use(bus, server_url, ark_url, state, ark_db)
    used = contents(client), dump(ark_db), flags(client)
    assert flags(client) > before[1]

    assert await run() == OK
    assert (contents(client), dump(ark_db), flags(client)) == used
    told = capsys.readouterr().out
    assert "keys of ours to be removed" in told
    assert told.endswith("nothing was changed yet: `ark-pulse uninstall --yes` does it\n")

    assert await run("--yes") == OK
    assert set(client.keys()) == set(OTHERS)
    assert (dump(ark_db), flags(client), ark.hgetall("peer:one"), ark.lrange("sync_events", 0, -1)) == before
    assert set(ark.keys()) == {"peer:one", "sync_events"}
    told = capsys.readouterr().out
    assert 'notify-keyspace-events put back to "xE"' in told
    assert "ark.db: log of changes removed" in told

    assert await run("--yes") == OK
    assert "bus: 0 keys of ours removed" in capsys.readouterr().out


async def test_a_bus_that_is_worked_on_is_left_alone(bus: Bus, server_url: str, client: Redis, capsys: Output) -> None:
    async with aggregating(server_url):
        await until(lambda: client.zcard(streams.AGGREGATORS))
        assert await run("--yes") == FAILURE
    assert capsys.readouterr().err.startswith("ark-pulse: stop what works on this bus first: aggregator ")
    assert client.get(streams.PARTITIONS) == b"16"


async def test_flags_that_somebody_set_meanwhile_are_left(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, state: Path, capsys: Output
) -> None:
    await collect(bus, ark_url, state)
    client.config_set(NOTIFY_OPTION, "KEA")
    await run("--yes")
    assert 'is "AKE", which somebody else set: left alone; before us it was ""' in capsys.readouterr().out
    assert flags(client) == classes("KEA")


async def test_what_was_set_is_known_after_a_restart_and_on_a_wiped_bus(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, state: Path
) -> None:
    client.config_set(NOTIFY_OPTION, "El")
    await collect(bus, ark_url, state)
    client.flushall()
    await collect(bus, ark_url, state)
    await run("--yes")
    assert flags(client) == classes("El")
    assert noted_flags(state, ark_url) is None


async def test_flags_that_were_added_twice_are_put_back_to_what_was_before_the_first(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, state: Path
) -> None:
    await collect(bus, ark_url, state)
    client.config_set(NOTIFY_OPTION, "Kgh")
    await collect(bus, ark_url, state)
    await run("--yes")
    assert flags(client) == frozenset()


async def test_what_cannot_be_written_is_said_and_leaves_the_rest_to_be_done(
    bus: Bus, ark_url: str, ark: Redis, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def refuse(state_dir: Path, _url: str) -> None:
        raise PermissionError(13, "Permission denied", str(state_dir))

    await collect(bus, ark_url, state)
    monkeypatch.setattr("processors.tools.uninstall.forget", refuse)
    assert await run("--yes") == FAILURE
    told = capsys.readouterr().out
    assert (
        f"FAILED  [Errno 13] Permission denied: '{state}'\n{tmp_path}/data/ark.db: nothing of ours is in it\n" in told
    )


async def test_a_server_that_does_not_answer_leaves_the_rest_to_be_done(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    await collect(bus, ark_url, state)
    monkeypatch.setenv("ARK_BUS_URL", "redis://127.0.0.1:1/0")
    (state / "node-id").touch()
    assert await run("--yes", "--state") == FAILURE
    assert "FAILED  the bus does not answer: " in capsys.readouterr().out
    assert flags(client) == frozenset()
    assert (state / "node-id").exists()


async def test_flags_that_could_not_be_set_need_not_be_put_back(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    admin: Any = client
    admin.execute_command("ACL SETUSER", "limited", "on", ">pw", "~*", "&*", "+@all", "-config|set")
    limited = ark_url.replace("redis://", "redis://limited:pw@")
    await collect(bus, limited, state)
    monkeypatch.setenv("REDIS_URL", limited)
    assert await run("--yes") == OK
    client.acl_deluser("limited")
    assert 'notify-keyspace-events is "", as it was before us\n' in capsys.readouterr().out


@pytest.mark.usefixtures("_embedded")
def test_a_folder_that_holds_other_things_stays_with_them(state: Path, capsys: Output) -> None:
    state.mkdir()
    with EmbeddedServer(state):
        pass
    (state / "node-id").write_text("node-1")
    others = [state / "bus" / "mine", state / "backups" / "before"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("x")
    assert main(["uninstall", "--yes", "--state"]) == OK
    assert sorted(path for path in state.rglob("*") if path.is_file()) == sorted(others)
    assert f"left: {state} with backups, bus; " in capsys.readouterr().out


@pytest.mark.usefixtures("_embedded")
def test_an_address_that_was_left_by_a_killed_server_is_nobodys(state: Path, capsys: Output) -> None:
    state.mkdir()
    with EmbeddedServer(state):
        left = bus_url_file(state).read_text()
    bus_url_file(state).write_text(left)
    assert main(["uninstall", "--yes", "--state"]) == OK
    assert capsys.readouterr().out.startswith("bus: 0 keys of ours removed\n")
    assert not state.exists()


def test_what_a_link_leads_to_is_not_ours(state: Path, tmp_path: Path) -> None:
    state.mkdir()
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "lock").write_text("x")
    (state / "bus").symlink_to(tmp_path / "theirs")
    main(["uninstall", "--yes", "--state"])
    assert (tmp_path / "theirs" / "lock").exists()


def test_where_nothing_was_installed_nothing_is_made(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delenv("ARK_BUS_URL")
    assert main(["uninstall", "--yes", "--state"]) == OK
    assert capsys.readouterr().out.startswith(f"bus: no bus of ours in {state}\n")
    assert list(tmp_path.iterdir()) == []


async def test_keys_of_partitions_that_this_bus_does_not_have_stay(redis_client: AsyncRedis, client: Redis) -> None:
    client.mset({streams.PARTITIONS: "16", "ark:{15}:events": "1", "ark:{16}:events": "1"})
    assert await run("--yes") == OK
    assert client.keys() == [b"ark:{16}:events"]


async def test_without_their_number_the_keys_of_every_partition_that_may_be_are_ours(
    redis_client: AsyncRedis, client: Redis
) -> None:
    for number in (None, "0", "many"):
        client.flushdb()
        client.mset({b"ark:{16}:events": "1", b"ark:{1023}:published:a\nb": "1", b"ark:{sim}:meta": "1"})
        client.mset({b"ark:{1024}:events": "1", b"ark:{1023}:events:": "1"})
        if number is not None:
            client.set(streams.PARTITIONS, number)
        assert await run("--yes") == OK
        assert set(client.keys()) == {b"ark:{1024}:events", b"ark:{1023}:events:"}


def test_what_a_backup_reads_of_a_partition_is_the_whole_map() -> None:
    path = Path(streams.__file__)
    mapped = re.findall(r"^(\w+_key): Final = _of_partition", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert {key_of("1") for key_of in (*HASHES, *STREAMS)} == {getattr(streams, name)("1") for name in mapped}


def everything(directory: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Mode, time and content of all that is in a folder."""
    return {
        path: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [directory, *directory.rglob("*")]
    }


@pytest.mark.usefixtures("_embedded")
@pytest.mark.parametrize("marks", [(), ("bus.password",), ("bus/lock",)])
@pytest.mark.parametrize("linked", [False, True])
def test_the_files_of_another_redis_are_left_as_they_are(
    state: Path, tmp_path: Path, marks: tuple[str, ...], linked: bool, capsys: Output
) -> None:
    state.mkdir()
    bus = tmp_path / "theirs" if linked else state / "bus"
    (bus / "appendonlydir").mkdir(parents=True)
    if linked:
        (state / "bus").symlink_to(bus)
        marks = ("bus.password", "bus/lock")
    for name in (*marks, "bus/appendonlydir/appendonly.aof.manifest", "bus/temp-1.rdb", "bus.log"):
        (state / name).write_text("theirs")
    before = everything(state), everything(bus)
    for arguments in ([], ["--state"], ["--yes"], ["--yes", "--state"]):
        assert main(["uninstall", *arguments]) == OK
        assert f"bus: no bus of ours in {state}\n" in capsys.readouterr().out
    assert (everything(state), everything(bus)) == before


@pytest.mark.usefixtures("_embedded")
def test_what_would_be_done_with_the_embedded_bus_is_told_without_starting_it(state: Path, capsys: Output) -> None:
    state.mkdir()
    with EmbeddedServer(state):
        pass
    (state / "bus" / "appendonlydir").mkdir()
    (state / "bus" / "appendonlydir" / "appendonly.aof.1.incr.aof").write_text("x" * 7)
    before = everything(state)
    assert main(["uninstall", "--state"]) == OK
    assert capsys.readouterr().out.startswith(f"bus: 2 files of ours in {state}/bus, 7 bytes: our keys to be removed\n")
    assert everything(state) == before


@pytest.mark.usefixtures("redis_client")
def test_while_up_runs_it_is_to_be_stopped_first(state: Path, capsys: Output) -> None:
    with only_one(state):
        before = everything(state)
        assert main(["uninstall"]) == OK
        first = f"first stop `ark-pulse up` (process {os.getpid()})\n"
        assert capsys.readouterr().out.endswith(f"nothing was changed yet: {first}")
        assert main(["uninstall", "--yes"]) == FAILURE
        assert capsys.readouterr().err == f"ark-pulse: {first}"
        assert everything(state) == before


async def test_while_a_gateway_or_a_federation_service_answers_nothing_is_removed(
    bus: Bus, ark_url: str, ark: Redis, client: Redis, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    client.set("ark:{0}:meta", "1")
    async with running_gateway(bus) as gateway, running_service(bus, ark_url) as service:
        places = {"ARK_HTTP_PORT": gateway.url, "FEDERATION_PORT": service.url}
        for setting, url in places.items():
            with monkeypatch.context() as patched:
                patched.setenv(setting, url.rpartition(":")[2])
                assert await run() == OK
                assert await run("--yes") == FAILURE
            told = capsys.readouterr()
            first = f"first stop what answers at {url.removeprefix('http://')}\n"
            assert told.out.endswith(f"nothing was changed yet: {first}")
            assert told.err == f"ark-pulse: {first}"
    assert client.exists("ark:{0}:meta")


async def test_another_program_on_a_port_of_ours_is_no_hindrance(
    redis_client: AsyncRedis, ark: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = b"/discover" in await reader.readline()
        head, body = (b"200 OK", b'{"peers": []}') if found else (b"404 Not Found", b'{"detail":"Not Found"}')
        writer.write(b"HTTP/1.0 " + head + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        monkeypatch.setenv("FEDERATION_PORT", str(server.sockets[0].getsockname()[1]))
        assert await run("--yes") == OK
