import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.cli import main
from processors.runtime.bus import Bus
from processors.runtime.connection import open_client
from processors.runtime.errors import BusError
from processors.tools.check import check_federation, check_memory
from processors.tools.comparison import HISTORY, MEMORY, Row
from schemas import codec, streams
from schemas.metrics import FederationSummary, MemoryRecord, MemorySummary, NodeSummary, Origin, PeerRow, SourceState
from tests.gateway.support import memory_summary, summary

NODE = "node-1"
SINCE = 1_600_000_000_000
TABLES = """
CREATE TABLE reasoning_sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE reasoning_stages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT, stage_order INTEGER, confidence REAL,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP);
"""
CODE = """
CREATE TABLE code_index (file_id TEXT PRIMARY KEY, trust_tier TEXT);
CREATE TABLE code_patterns (pattern_id TEXT PRIMARY KEY, code_snippet TEXT, usage_count INTEGER);
CREATE TABLE sandbox_executions (execution_id TEXT PRIMARY KEY, status TEXT, security_violations TEXT);
"""
# What a published summary says of the databases that the fixture `data` makes.
RIGHT: dict[str, Any] = {
    "ingestion_rate": 1 / 60,
    "consolidation_rate": 1 / 60,
    "dedup_rate": 75.0,
    "quarantine_count": 1,
    "trust_distribution": {"core": 1, "other": 1},
    "confidence_deltas": (0.25,),
    "sessions_total": 1,
    "stages_total": 2,
    "since": SINCE,
}


@contextmanager
def _writing(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of both databases, with a few rows in each table."""
    with _writing(tmp_path / "reasoning_logs.db") as database:
        database.executescript(TABLES)
        _add_session(database)
        database.execute("INSERT INTO reasoning_stages (session_id, stage_order, confidence) VALUES ('a', 1, 0.5)")
        database.execute("INSERT INTO reasoning_stages (session_id, stage_order, confidence) VALUES ('a', 2, 0.75)")
    with _writing(tmp_path / "ark.db") as database:
        database.executescript(CODE)
        database.execute("INSERT INTO code_index VALUES ('a', 'core'), ('b', 'testing')")
        database.execute("INSERT INTO code_patterns VALUES ('a', 'x', 3), ('b', 'x', 1)")
        database.execute("INSERT INTO sandbox_executions VALUES ('a', 'error', '[]')")
    return tmp_path


def _add_session(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO reasoning_sessions (session_id) VALUES ('a')")


def _summary(logs: tuple[int, ...] = (1,), origin: Origin = "live", **values: Any) -> MemorySummary:
    state = summary(origin).peers
    node = NodeSummary(source=origin, reasoning=state, code=state, seen=SINCE, **(RIGHT | values))
    records = tuple(
        MemoryRecord(ts=SINCE, node=NODE, id=number, severity="info", message="", source=origin) for number in logs
    )
    return memory_summary(origin, origin, logs=records, nodes={NODE: node}, nodes_total=1)


async def _publish(client: Redis, value: MemorySummary | FederationSummary, entry_id: str = "*") -> None:
    stream = streams.METRICS_MEMORY if isinstance(value, MemorySummary) else streams.METRICS_FEDERATION
    fields: Any = codec.entry_fields("summary", value.ts, codec.encode(value))
    await client.xadd(stream, fields, id=entry_id)


async def _memory(client: Redis, data: Path, wait_s: float = 0.05) -> dict[str, Row]:
    return {row.name: row for row in await check_memory(client, data, NODE, wait_s)}


async def _federation(client: Redis, wait_s: float = 0.05) -> dict[str, Row]:
    return {row.name: row for row in await check_federation(client, client, NODE, 16, wait_s)}


def _verdicts(rows: dict[str, Row]) -> dict[str, str]:
    return {name: row.verdict for name, row in rows.items()}


async def test_a_memory_half_that_is_right_agrees_in_every_value(bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary())
    rows = await _memory(bus.client, data)
    assert _verdicts(rows) == dict.fromkeys((*MEMORY, "memory_summary_age_s"), "agrees")


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("ingestion_rate", 8.0),
        ("consolidation_rate", 0.1),
        ("dedup_rate", 75.1),
        ("quarantine_count", 0),
        ("confidence_deltas", (-0.25,)),
        ("sessions_total", 2),
        ("stages_total", None),
    ],
)
async def test_a_value_that_is_wrong_is_the_only_one_that_differs(value: str, wrong: Any, bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary(**{value: wrong}))
    rows = await _memory(bus.client, data)
    assert [name for name, row in rows.items() if row.verdict == "differs"] == [value]
    assert rows[value].published == wrong


async def test_values_that_are_published_after_the_count_agree(bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary((), sessions_total=0, ingestion_rate=0.0))
    checking = asyncio.create_task(_memory(bus.client, data, 10))
    await _publish(bus.client, _summary())
    assert set(_verdicts(await checking).values()) == {"agrees"}


async def test_a_pipeline_that_stands_still_differs_in_what_changed(bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary())
    with _writing(data / "reasoning_logs.db") as database:
        _add_session(database)
    rows = await _memory(bus.client, data)
    assert [name for name, row in rows.items() if row.verdict == "differs"] == [
        "ingestion_rate",
        "sessions_total",
        "logs",
    ]


async def test_a_summary_that_is_too_old_differs(bus: Bus, data: Path) -> None:
    now, _ = await bus.client.time()
    await _publish(bus.client, _summary(), f"{(now - 60) * 1_000}-1")
    rows = await _memory(bus.client, data)
    assert rows["memory_summary_age_s"].verdict == "differs"


async def test_a_node_that_is_not_in_the_summary_differs_and_is_named(bus: Bus, data: Path) -> None:
    await _publish(bus.client, memory_summary())
    row = (await _memory(bus.client, data))["quarantine_count"]
    assert (row.verdict, row.reason) == ("differs", "node node-1 is not in the summary")


async def test_a_node_among_too_many_is_not_compared(bus: Bus, data: Path) -> None:
    await _publish(bus.client, memory_summary(nodes_total=40))
    row = (await _memory(bus.client, data))["quarantine_count"]
    assert (row.verdict, row.reason) == ("not compared", "of 40 nodes this one is not told by itself")


async def test_a_database_that_is_missing_leaves_out_its_values_only(bus: Bus, data: Path) -> None:
    await asyncio.to_thread((data / "ark.db").unlink)
    await _publish(bus.client, _summary())
    rows = await _memory(bus.client, data)
    assert rows["dedup_rate"].reason == "ark.db: unable to open database file"
    assert {row.verdict for row in rows.values()} == {"agrees", "not compared"}


async def test_a_simulated_half_is_not_compared_and_says_why(bus: Bus, data: Path) -> None:
    state = SourceState(node=NODE, collector="reasoning", group="reasoning", state="down", since=1, reason="no file")
    fields: Any = codec.entry_fields("source", 1, codec.encode(state))
    await bus.client.xadd(streams.SOURCES, fields)
    await _publish(bus.client, _summary(origin="simulated"))
    rows = await _memory(bus.client, data)
    assert {(row.verdict, row.reason) for row in rows.values()} == {
        ("not compared", "the memory half is simulated: reasoning is down (no file)")
    }


async def test_a_stale_half_is_compared_and_says_so_where_it_differs(bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary(origin="stale", quarantine_count=7))
    rows = await _memory(bus.client, data)
    assert (rows["quarantine_count"].reason, rows["dedup_rate"].verdict) == ("published as stale", "agrees")


async def test_a_half_of_which_nothing_is_published_is_not_compared(bus: Bus, data: Path) -> None:
    rows = await _memory(bus.client, data)
    assert {row.reason for row in rows.values()} == {"nothing is published on ark:metrics:memory"}


async def test_a_summary_that_cannot_be_read_is_an_error(bus: Bus, data: Path) -> None:
    await bus.client.xadd(streams.METRICS_MEMORY, {"v": 1, "d": "x"})
    with pytest.raises(BusError, match=r"^ark:metrics:memory cannot be read: JSON is malformed"):
        await _memory(bus.client, data)


async def _peer(client: Redis, hostname: str = "host") -> None:
    await client.hset("peer:a", mapping={"hostname": hostname, "trust_tier": "core"})
    row = PeerRow(
        id="a",
        status="online",
        suspicion=0,
        data_shared=0,
        last_seen=SINCE,
        learnt_from="redis",
        hostname="host",
        tier="core",
    )
    key = streams.peers_key(streams.partition_of("a", 16))
    await client.hset(key, "a", codec.encode(row))


async def test_a_federation_half_that_is_right_agrees(bus: Bus) -> None:
    await _peer(bus.client)
    await _publish(bus.client, summary(total_peers=1, sync_rate=0.0, sync_bytes_rate=0.0, active_syncs=0))
    rows = await _federation(bus.client)
    assert rows["peers"].reason == "1 of 1 peers equal"
    assert {name for name, row in rows.items() if row.verdict != "agrees"} == set(HISTORY)


async def test_a_peer_that_is_published_otherwise_differs(bus: Bus) -> None:
    await _peer(bus.client, hostname="other")
    await _publish(bus.client, summary(total_peers=1, sync_rate=0.0, sync_bytes_rate=0.0, active_syncs=0))
    row = (await _federation(bus.client))["peers"]
    assert (row.verdict, row.reason) == ("differs", "'a' hostname 'other' is published as 'host'")


async def test_an_unreadable_roster_is_an_error(bus: Bus) -> None:
    await _publish(bus.client, summary())
    await bus.client.hset(streams.peers_key("0"), "a", "x")
    with pytest.raises(BusError, match=r"^a roster cannot be read: "):
        await _federation(bus.client)


async def test_a_redis_that_does_not_answer_leaves_out_the_federation(bus: Bus, unused_tcp_port: int) -> None:
    await _publish(bus.client, summary())
    async with open_client(f"redis://127.0.0.1:{unused_tcp_port}/0") as source:
        rows = await check_federation(bus.client, source, NODE, 16, 0.05)
    assert {row.verdict for row in rows} == {"not compared"}
    assert rows[0].reason.startswith("REDIS_URL: ")


async def test_the_polling_backend_is_explained(bus: Bus, data: Path) -> None:
    await _publish(bus.client, _summary())
    assert (await _memory(bus.client, data))["ingestion_rate"].polling.startswith("compares created_at as text")


def _run(server_url: str, base: Path, *options: str, monkeypatch: pytest.MonkeyPatch) -> int:
    environment = {"ARK_BUS_URL": server_url, "REDIS_URL": server_url, "ARK_BASE_PATH": str(base), "ARK_NODE_ID": NODE}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return main(["check", "--wait", "1", *options])


async def test_the_command_says_how_much_agrees_and_leaves_the_databases_as_they_are(
    bus: Bus, data: Path, server_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = data / "base"
    await asyncio.to_thread(base.mkdir)
    await asyncio.to_thread((base / "data").symlink_to, data)
    before = await asyncio.to_thread((data / "ark.db").read_bytes)
    await _publish(bus.client, _summary())
    code = await asyncio.to_thread(lambda: _run(server_url, base, monkeypatch=monkeypatch))
    assert (code, capsys.readouterr().out.splitlines()[-1]) == (0, "all 14 compared values agree")
    assert await asyncio.to_thread((data / "ark.db").read_bytes) == before


async def test_what_a_terminal_would_obey_is_escaped(
    bus: Bus, tmp_path: Path, server_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = SourceState(node=NODE, collector="reasoning", group="reasoning", state="down", since=1, reason="\x1b[31m")
    fields: Any = codec.entry_fields("source", 1, codec.encode(state))
    await bus.client.xadd(streams.SOURCES, fields)
    await _publish(bus.client, _summary(origin="simulated"))
    await asyncio.to_thread(lambda: _run(server_url, tmp_path, monkeypatch=monkeypatch))
    assert "reasoning is down (\\x1b[31m)" in capsys.readouterr().out


async def test_the_command_fails_if_nothing_could_be_compared(
    bus: Bus, tmp_path: Path, server_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = await asyncio.to_thread(lambda: _run(server_url, tmp_path, "--json", monkeypatch=monkeypatch))
    assert (code, '"verdict":"nothing could be compared"' in capsys.readouterr().out) == (1, True)


def test_the_command_without_a_bus_says_so(
    tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _run(f"redis://127.0.0.1:{unused_tcp_port}/0", tmp_path, monkeypatch=monkeypatch)
    assert (code, capsys.readouterr().err.startswith("ark-pulse: the bus does not answer: ")) == (1, True)
