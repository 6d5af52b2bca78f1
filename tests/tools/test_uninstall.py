"""`ark-pulse uninstall`: what is ours goes, what is not stays as it was."""

import asyncio
import contextlib
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
from processors.tools.capture import install
from schemas import streams
from tests.collectors.helpers import LIVE, new_status, running, until
from tests.databases import make_ark
from tests.integration.aggregation import aggregating, summary_when
from tests.integration.test_aggregators import publisher, traffic
from tests.tools.contents import contents

Output = pytest.CaptureFixture[str]

# Keys of others that begin as ours do, on the bus.
OTHERS = {b"peer:x": "1", b"ark:mine": "2", b"ark:{x}:state": "3", b"{ark:mine}:meta": "4", b"other": "5"}


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
    yield
    with Redis.from_url(server_url) as client:
        client.config_set(NOTIFY_OPTION, "")


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


def test_a_folder_that_holds_other_things_stays_with_them(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.delenv("ARK_BUS_URL")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
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
    assert capsys.readouterr().out.startswith(f"bus: none was made in {state}\n")
    assert list(tmp_path.iterdir()) == []
