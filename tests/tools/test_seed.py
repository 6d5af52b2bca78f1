import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from processors.runtime.settings import Settings, load_settings
from processors.tools.ark_schema import ARK, IDS, REASONING, SCHEMAS
from processors.tools.errors import Refused, TargetFailed
from processors.tools.seed import Amounts, Demo, amounts, seed, unseed
from tests.integration.up import ROOT, eventually

_DATABASE_OF = {table: REASONING if table.startswith("reasoning") else ARK for table in IDS}


class Target:
    """ARK's Redis and databases, as a test looks at them."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.settings = settings
        self.data = settings.ark_base_path / "data"

    def query(self, file: str, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.data / file)) as connection, connection:
            return connection.execute(sql).fetchall()

    def count(self, table: str, condition: str = "1") -> int:
        (found,) = self.query(_DATABASE_OF[table], f"SELECT count(*) FROM {table} WHERE {condition}")[0]
        return int(found)

    def peers(self) -> int:
        return len(self.redis.keys("peer:*"))

    def everything(self) -> list[Any]:
        """All that both hold."""
        hashes = [(key, self.redis.hgetall(key)) for key in sorted(self.redis.keys("peer:*"))]
        tables = [self.query(file, f"SELECT rowid, * FROM {table}") for table, file in _DATABASE_OF.items()]
        return [hashes, self.redis.lrange("sync_events", 0, -1), tables]

    def make_real(self) -> None:
        """Fill it as ARK would."""
        self.redis.hset("peer:ark-node-1", "latency", "15")
        self.redis.rpush("sync_events", '{"source": "a", "target": "b"}', "not JSON")
        self.data.mkdir()
        for file, schema in SCHEMAS.items():
            with closing(sqlite3.connect(self.data / file)) as connection:
                connection.executescript(schema)
        self.query(REASONING, "INSERT INTO reasoning_stages (session_id, stage_name, stage_order) VALUES ('s', 'x', 0)")
        self.query(ARK, "INSERT INTO code_index (file_id, file_path) VALUES ('f', 'p'), ('g', 'q')")


@pytest.fixture
def target(ark: Redis, ark_url: str, tmp_path: Path) -> Target:
    return Target(ark, load_settings({"REDIS_URL": ark_url, "ARK_BASE_PATH": str(tmp_path)}))


def fill(target: Target, *, rows: int | None = None, force: bool = False) -> None:
    seed(target.settings, rows=rows, rate=None, force=force)


def test_it_fills_redis_and_both_databases(target: Target) -> None:
    fill(target)
    assert (target.peers(), target.redis.llen("sync_events")) == (24, 200)
    counts = [target.count(t) for t in ("reasoning_sessions", "code_patterns", "sandbox_executions", "code_index")]
    assert counts == [200, 300, 120, 200]
    assert target.count("reasoning_stages") >= 600


def test_every_row_is_marked(target: Target) -> None:
    fill(target)
    assert all(target.count(table, f"{key} NOT GLOB 'demo-*'") == 0 for table, key in IDS.items())


def test_it_tells_what_it_writes_where(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    fill(target)
    assert capsys.readouterr().out.splitlines() == [
        f"seeding {target.settings.redis_url}, {target.data / REASONING} and {target.data / ARK}",
        "wrote 24 heartbeats, 200 syncs, 200 sessions, 300 patterns, 120 executions and 200 files",
    ]


@pytest.mark.parametrize(("rows", "tenth"), [(1, 1), (25, 2), (1_000_000, 100_000)])
def test_rows_are_patterns_and_a_tenth_of_the_rest(rows: int, tenth: int) -> None:
    assert amounts(rows) == Amounts(sessions=tenth, patterns=rows, executions=tenth, files=tenth)


def test_more_rows_than_fit_into_one_transaction_are_written(target: Target) -> None:
    fill(target, rows=12_000)
    assert [target.count("code_patterns"), target.count("code_index")] == [12_000, 1_200]


def test_filling_again_adds_to_it(target: Target) -> None:
    fill(target)
    fill(target)
    assert (target.peers(), target.redis.llen("sync_events"), target.count("code_patterns")) == (24, 400, 600)


def test_a_target_with_other_things_is_refused_and_left_alone(target: Target) -> None:
    target.make_real()
    before = target.everything()
    with pytest.raises(Refused) as caught:
        fill(target)
    assert str(caught.value) == (
        f"refused: 1 peers and 2 sync events in {target.settings.redis_url}, "
        f"1 rows of reasoning_stages in {target.data / REASONING}, "
        f"2 rows of code_index in {target.data / ARK} were not made by seed; use --force"
    )
    assert target.everything() == before


def test_force_fills_beside_what_is_there_and_removing_restores_it(target: Target) -> None:
    target.make_real()
    before = target.everything()
    fill(target, force=True)
    assert (target.peers(), target.count("code_index")) == (25, 202)
    unseed(target.settings)
    assert target.everything() == before


def test_removing_deletes_the_files_that_it_made(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    fill(target)
    capsys.readouterr()
    unseed(target.settings)
    assert (target.redis.keys("*"), list(target.data.iterdir())) == ([], [])
    assert capsys.readouterr().out.splitlines()[1].startswith("removed 224 peers and syncs, ")


def test_removing_twice_is_harmless(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    fill(target)
    unseed(target.settings)
    unseed(target.settings)
    assert capsys.readouterr().out.splitlines()[-1] == "removed nothing"


def test_without_a_redis_nothing_is_written(tmp_path: Path) -> None:
    settings = load_settings({"REDIS_URL": "redis://127.0.0.1:1/0", "ARK_BASE_PATH": str(tmp_path)})
    with pytest.raises(TargetFailed, match="REDIS_URL"):
        seed(settings, rows=None, rate=None, force=True)
    assert list(tmp_path.iterdir()) == []


async def test_live_traffic_makes_every_kind_of_change(target: Target) -> None:
    demo = Demo(target.settings)
    await asyncio.to_thread(demo.fill, Amounts(sessions=1, patterns=5, executions=1, files=5))
    before = await asyncio.to_thread(target.everything)
    stop = asyncio.Event()
    going = asyncio.create_task(demo.go_on(500, stop))

    def changed() -> bool:
        peers, syncs, tables = target.everything()
        old_peers, old_syncs, old = before
        sessions, stages, files, patterns, executions = (new != former for new, former in zip(tables, old, strict=True))
        ended = target.count("sandbox_executions", "status != 'running'") > 1
        return all([peers != old_peers, syncs != old_syncs, sessions, stages, files, patterns, executions, ended])

    try:
        await asyncio.to_thread(eventually, changed, 20.0)
    finally:
        stop.set()
        written = await going
    assert set(written) == {"heartbeats", "syncs", "sessions", "uses", "executions", "files"}


async def test_live_traffic_keeps_a_session_and_its_stages_together(target: Target) -> None:
    demo = Demo(target.settings)
    await asyncio.to_thread(demo.fill, Amounts(sessions=1, patterns=1, executions=1, files=1))
    stop = asyncio.Event()
    going = asyncio.create_task(demo.go_on(500, stop))
    await asyncio.to_thread(eventually, lambda: target.count("reasoning_sessions") > 10, 20.0)
    stop.set()
    await going
    orphans = "session_id NOT IN (SELECT session_id FROM reasoning_sessions)"
    assert await asyncio.to_thread(target.count, "reasoning_stages", orphans) == 0


@contextlib.contextmanager
def seeding(target: Target, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`ark-pulse seed` in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "processors.cli", "seed", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": target.settings.redis_url,
            "ARK_BASE_PATH": str(target.settings.ark_base_path),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def newest_sync(target: Target) -> Callable[[], bool]:
    """Whether more syncs were pushed than a fill does."""
    return lambda: int(str(target.redis.llen("sync_events"))) > 200


def test_live_traffic_ends_in_order_at_sigterm(target: Target) -> None:
    with seeding(target, "--rate", "200", "--rows", "10") as process:
        eventually(newest_sync(target), 10)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=10)
    first, last = output.splitlines()
    assert (process.returncode, errors) == (0, "")
    assert first.endswith(", then 200 changes a second until interrupted")
    assert last.startswith("wrote ")
    assert json.loads(str(target.redis.lindex("sync_events", 0)))["source"].startswith("demo-")


def test_a_refusal_is_one_line_and_exit_code_1(target: Target) -> None:
    target.redis.hset("peer:a", "latency", 1)
    with seeding(target) as process:
        output, errors = process.communicate(timeout=10)
    message = f"ark-pulse: refused: 1 peers in {target.settings.redis_url} were not made by seed; use --force\n"
    assert (process.returncode, output, errors) == (1, "", message)


def test_removing_from_the_command_line_leaves_nothing(target: Target) -> None:
    for arguments in ((), ("--remove",)):
        with seeding(target, *arguments) as process:
            process.communicate(timeout=10)
            assert process.returncode == 0
    assert (target.redis.keys("*"), list(target.data.iterdir())) == ([], [])
