"""The memory half, as an operator runs it: real databases, all processes, and what a client sees."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.databases import make_ark, make_reasoning, write_session
from tests.stack import Stack, running_stack, wait_for

ARK_PULSE = Path(sys.executable).parent / "ark-pulse"


@contextlib.contextmanager
def databases(base: Path, mode: str = "delete") -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """Both databases of a node, empty."""
    with (
        contextlib.closing(make_reasoning(base / "data" / "reasoning_logs.db", mode)) as reasoning,
        contextlib.closing(make_ark(base / "data" / "ark.db", mode)) as ark,
    ):
        yield reasoning, ark


@pytest.fixture(scope="module", params=["delete", "wal"])
def live(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, sqlite3.Connection, sqlite3.Connection]]:
    """A running stack beside a node's databases, which nobody else has used at first."""
    base = tmp_path_factory.mktemp(request.param)
    with databases(base, request.param) as (reasoning, ark), running_stack(base) as (stack, _):
        stack.memory(lambda s: s["source"] == "live" and s.get("trust_distribution") is not None)
        yield stack, reasoning, ark


def put_pattern(ark: sqlite3.Connection, name: str, snippet: str, usage: int) -> None:
    ark.execute(
        "INSERT OR REPLACE INTO code_patterns (pattern_id, pattern_type, code_snippet, usage_count) "
        "VALUES (?, 'x', ?, ?)",
        (name, snippet, usage),
    )


def put_execution(ark: sqlite3.Connection, name: str, status: str, violations: str = "[]") -> None:
    ark.execute(
        "INSERT OR REPLACE INTO sandbox_executions (execution_id, code_hash, status, security_violations) "
        "VALUES (?, '', ?, ?)",
        (name, status, violations),
    )


def put_file(ark: sqlite3.Connection, name: str, tier: str | None) -> None:
    ark.execute(
        "INSERT OR REPLACE INTO code_index (file_id, file_path, trust_tier) VALUES (?, ?, ?)", (name, name, tier)
    )


async def frame_of(stack: Stack, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first frame of the drop-in path for which `holds`."""
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{stack.port}/ws/memory") as socket,
    ):
        while True:
            frame: dict[str, Any] = json.loads(await socket.receive_str())
            if holds(frame):
                return frame


def test_commits_give_exactly_the_values_of_the_definition(
    live: tuple[Stack, sqlite3.Connection, sqlite3.Connection],
) -> None:
    stack, reasoning, ark = live
    empty = stack.get("/api/v1/memory")
    assert (empty["ingestion_rate"], empty["sessions_total"], empty["quarantine_count"]) == (0, 0, 0)
    assert "dedup_rate" not in empty
    for number in range(6):
        write_session(reasoning, f"s{number}", [0.25, 0.75, 0.5 + number / 16])
    put_pattern(ark, "a", "one", 3)
    put_pattern(ark, "b", "one", 2)
    put_pattern(ark, "c", "two", 3)
    put_pattern(ark, "d", "", 2)
    for name, status in (("ok", "success"), ("bad", "error"), ("late", "timeout"), ("runs", "running")):
        put_execution(ark, name, status)
    put_execution(ark, "broke", "success", '["network"]')
    for name, tier in (("f", "core"), ("g", "core"), ("h", "trusted"), ("i", "testing"), ("j", None)):
        put_file(ark, name, tier)
    expected = {"core": 2, "trusted": 1, "sandbox": 0, "external": 0, "other": 2}
    stack.memory(lambda s: s["stages_total"] == 18 and s["trust_distribution"] == expected)
    frame = asyncio.run(frame_of(stack, lambda f: f["quarantine_count"] == 3 and f["stages_total"] == 18))
    # 18 stages: six of 0.75, and of 0.5 to 0.8125 the last two.
    assert (frame["ingestion_rate"], frame["consolidation_rate"]) == (6 / 60, 8 / 60)
    assert frame["dedup_rate"] == 80
    assert frame["confidence_deltas"] == [each for number in range(6) for each in (0.5, number / 16 - 0.25)]
    assert [log["severity"] for log in frame["logs"]] == ["info"] * 5 + ["consolidation"]
    assert frame["logs"][-1]["message"] == "planner: confidence 0.81: why is the sky blue"
    assert (frame["sessions_total"], frame["consolidated_total"]) == (6, 8)
    assert (frame["source"], frame["unknown"]) == ("live", [])


def test_what_is_changed_in_place_replaced_or_deleted_is_followed(
    live: tuple[Stack, sqlite3.Connection, sqlite3.Connection],
) -> None:
    stack, _, ark = live
    for table in ("code_patterns", "code_index", "sandbox_executions"):
        ark.execute(f"DELETE FROM {table}")
    for number in range(10):
        put_pattern(ark, f"p{number}", f"snippet {number}", 2)
        put_file(ark, f"f{number}", "sandbox")
        put_execution(ark, f"e{number}", "running")
    stack.memory(lambda s: s.get("dedup_rate") == 50 and s["trust_distribution"]["sandbox"] == 10)
    ark.execute("UPDATE code_patterns SET usage_count = usage_count + 20 WHERE pattern_id = 'p0'")
    stack.memory(lambda s: s["dedup_rate"] == 75)
    put_file(ark, "f3", "core")
    stack.memory(lambda s: (s["trust_distribution"]["sandbox"], s["trust_distribution"]["core"]) == (9, 1))
    ark.execute("UPDATE sandbox_executions SET status = 'killed' WHERE execution_id = 'e5'")
    stack.memory(lambda s: s["quarantine_count"] == 1)
    ark.execute("DELETE FROM sandbox_executions")
    ark.execute("DELETE FROM code_patterns WHERE pattern_id <> 'p0'")
    stack.memory(lambda s: s["quarantine_count"] == 0 and s["dedup_rate"] == 100 * 21 / 22)


def test_check_agrees_while_seed_makes_traffic(tmp_path: Path) -> None:
    with running_stack(tmp_path, ARK_SIMULATE="never") as (stack, _):
        seeding = subprocess.Popen(
            [ARK_PULSE, "seed", "--rate", "50"], env=stack.environment, stdout=subprocess.DEVNULL
        )
        try:
            stack.memory(lambda s: s.get("sessions_total", 0) > 100 and s.get("dedup_rate") is not None)
            stack.federation(lambda s: s.get("online_peers") == 24)
            found = [
                subprocess.run([ARK_PULSE, "check"], env=stack.environment, capture_output=True, text=True, check=False)
                for _ in range(3)
            ]
        finally:
            seeding.terminate()
            assert seeding.wait(10) == 0
        assert [each.returncode for each in found] == [0, 0, 0], found[-1].stdout + found[-1].stderr


def test_two_nodes_on_one_bus_are_told_apart_and_added_up(tmp_path: Path) -> None:
    bases = (tmp_path, tmp_path / "other")
    with (
        databases(bases[0]) as (first, first_ark),
        databases(bases[1]) as (second, second_ark),
        running_stack(tmp_path, ARK_NODE_ID="node-a") as (stack, _),
    ):
        stack.memory(lambda s: s["source"] == "live")
        address = (tmp_path / "state" / "bus.url").read_text(encoding="utf-8").strip()
        beside = stack.environment | {
            "ARK_BUS_URL": address,
            "ARK_NODE_ID": "node-b",
            "ARK_BASE_PATH": str(bases[1]),
            "REDIS_URL": "redis://127.0.0.1:1/0",
        }
        with subprocess.Popen([ARK_PULSE, "run", "collectors"], env=beside, stderr=subprocess.DEVNULL) as collectors:
            try:
                for connection, count in ((first, 2), (second, 3)):
                    for number in range(count):
                        write_session(connection, f"s{number}", [0.5, 0.75])
                put_pattern(first_ark, "p", "same", 4)
                put_pattern(second_ark, "p", "same", 6)
                put_file(first_ark, "f", "core")
                put_file(second_ark, "f", "core")
                put_execution(second_ark, "e", "error")
                # They start meanwhile, which takes as long as `Stack.start` may.
                stack.memory(lambda s: "node-b" in s["nodes"], 20)
                summary = stack.memory(
                    lambda s: (
                        s["sessions_total"] == 5
                        and s.get("dedup_rate") == 80
                        and s["trust_distribution"]["core"] == 2
                        and s["quarantine_count"] == 1
                    )
                )
            finally:
                collectors.terminate()
                collectors.wait(10)
        told = {
            name: (node["sessions_total"], node["dedup_rate"], node["quarantine_count"])
            for name, node in summary["nodes"].items()
        }
        assert told == {"node-a": (2, 75, 0), "node-b": (3, 100 * 5 / 6, 1)}
        assert (summary["nodes_total"], summary["stages_total"], summary["consolidated_total"]) == (2, 10, 5)
        assert len(summary["confidence_deltas"]) == 5
        stack.memory(lambda s: s["nodes"]["node-b"]["source"] == "stale" and s["source"] == "stale")
        assert stack.memory(lambda s: True)["nodes"]["node-a"]["source"] == "live"


def _is_another(stack: Stack, before: int) -> bool:
    return stack.pid_of("collectors") != before


def _has_counted(summary: dict[str, Any], sessions: int, stages: int) -> bool:
    return bool(summary["sessions_total"] >= sessions and summary["stages_total"] >= stages)


def test_a_killed_collector_counts_every_session_once(
    live: tuple[Stack, sqlite3.Connection, sqlite3.Connection],
) -> None:
    stack, reasoning, _ = live
    before = stack.memory(lambda s: s["source"] == "live")
    for round_ in range(3):
        for number in range(20):
            write_session(reasoning, f"{round_}-{number}", [0.5, 0.9])
        pid = stack.pid_of("collectors")
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
        for number in range(20, 40):
            write_session(reasoning, f"{round_}-{number}", [0.5, 0.9])
        sent = 40 * (round_ + 1)
        sessions, stages = before["sessions_total"] + sent, before["stages_total"] + 2 * sent
        wait_for("another process", partial(_is_another, stack, pid))
        summary = stack.memory(partial(_has_counted, sessions=sessions, stages=stages))
        assert (summary["sessions_total"], summary["stages_total"]) == (sessions, stages)
