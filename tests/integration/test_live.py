"""The main job, as an operator runs it: all processes, a real Redis of ARK's, and what a client sees."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.stack import Stack, running_stack, wait_for

ARK_PULSE = Path(sys.executable).parent / "ark-pulse"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, redis.Redis]]:
    """A running stack for all tests that kill nothing, unused at first, and a client of ARK's Redis."""
    with running_stack(tmp_path_factory.mktemp("live")) as (stack, source), redis.Redis.from_url(source.url) as ark:
        yield stack, ark


@pytest.fixture
def before(shared: tuple[Stack, redis.Redis]) -> dict[str, Any]:
    """The summary of the shared stack before the test."""
    return shared[0].federation(lambda s: s["source"] == "live")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Stack, redis.Redis]]:
    """A stack of the test's own, and a client of ARK's Redis."""
    with running_stack(tmp_path) as (stack, source), redis.Redis.from_url(source.url) as ark:
        yield stack, ark


def put_peer(ark: redis.Redis, name: str, **fields: str) -> None:
    usual = {"hostname": f"{name}.local", "trust_tier": "core", "status": "online", "latency": "15"}
    ark.hset(f"peer:{name}", items=[text for pair in (usual | fields).items() for text in pair])


def put_sync(ark: redis.Redis, **fields: object) -> None:
    sync = {
        "timestamp": int(time.time() * 1000), "source": "a", "target": "b", "event_type": "memory_sync",
        "bytes": 1_024, "success": True,
    }  # fmt: skip
    ark.lpush("sync_events", json.dumps(sync | fields))


def test_peers_and_syncs_give_exactly_the_values_of_the_definition(shared: tuple[Stack, redis.Redis]) -> None:
    stack, ark = shared
    empty = stack.federation(lambda s: s["source"] == "live")
    assert (empty["total_peers"], empty["sync_rate"]) == (0, 0)
    assert "network_health" not in empty
    put_peer(ark, "a", trust_tier="core", latency="10")
    put_peer(ark, "b", trust_tier="trusted", latency="12.5")
    put_peer(ark, "c", trust_tier="verified", latency="30", status="offline")
    put_peer(ark, "d", trust_tier="untrusted", latency="NaN")
    for number in range(6):
        put_sync(ark, success=number != 0, bytes=600)
    summary = stack.federation(lambda s: s.get("sync_events_total") == 6 and s.get("total_peers") == 4)
    assert summary["online_peers"] == 3
    assert summary["network_health"] == 75
    # a and b took part in six syncs, of which five succeeded.
    assert summary["data_integrity"] == pytest.approx(100 * (5 / 6 + 0.95 * 5 / 6 + 0.90 + 0) / 4, abs=1e-6)
    assert summary["avg_latency"] == 11.25
    assert summary["active_syncs"] == 1
    assert (summary["sync_rate"], summary["sync_bytes_rate"]) == (0.1, 60)
    assert summary["sync_success_rate"] == pytest.approx(100 * 5 / 6)
    assert (summary["sync_bytes_total"], summary["sync_failures_total"]) == (3_600, 1)
    # The roster is a stream of its own, and may be a moment behind the summary.
    rows = wait_for("all are on the roster", lambda: rows if len(rows := stack.rows()) == 4 else None)
    assert (rows["a"]["data_shared"], rows["b"]["data_shared"]) == (3_600, 0)
    assert rows["c"]["status"] == "offline"
    assert "latency_ms" not in rows["d"]


def test_a_deleted_and_an_expired_key_make_their_peers_offline(
    shared: tuple[Stack, redis.Redis], before: dict[str, Any]
) -> None:
    stack, ark = shared
    known, online = before["total_peers"] + 3, before["online_peers"]
    for name in ("deleted", "expired", "stays"):
        put_peer(ark, name)
    stack.federation(lambda s: s["online_peers"] == online + 3)
    ark.delete("peer:deleted")
    ark.pexpire("peer:expired", 50)
    summary = stack.federation(lambda s: s["online_peers"] == online + 1)
    assert summary["total_peers"] == known
    assert summary["network_health"] == pytest.approx(100 * (online + 1) / known)


def test_input_that_cannot_be_used_is_told_and_harms_nobody(
    shared: tuple[Stack, redis.Redis], before: dict[str, Any]
) -> None:
    stack, ark = shared
    ark.set("peer:wrong-type", "x")
    ark.hset("peer:", "hostname", "no id")
    ark.hset(b"peer:\xff\xfe", "hostname", "no text")
    ark.hset("peer:" + "x" * 1_000_000, "hostname", "long")
    put_peer(ark, "markup", hostname="<img src=x onerror=alert(1)>", latency="1e308")
    for item in ("no json", "5", "[]", "null", '{"timestamp": "soon"}', "[" * 100_000, '{"bytes": -1}'):
        ark.lpush("sync_events", item)
    put_sync(ark, bytes=2**60)
    put_sync(ark)
    put_peer(ark, "fine")
    online, syncs = before["online_peers"] + 2, before["sync_events_total"] + 2
    summary = stack.federation(lambda s: (s["online_peers"], s["sync_events_total"]) == (online, syncs))
    assert summary["total_peers"] == before["total_peers"] + 2
    with stack.bus() as bus:
        letters = wait_for("dead letters", lambda: rows if len(rows := bus.xrange("ark:dead")) >= 12 else None)
    reasons = [json.loads(fields[b"d"])["reason"] for _, fields in letters]
    assert all(reasons)


def test_a_full_bus_holds_back_and_goes_on_where_it_was(
    shared: tuple[Stack, redis.Redis], before: dict[str, Any]
) -> None:
    stack, ark = shared
    processes = stack.processes()
    with stack.bus() as bus:
        bus.config_set("maxmemory", "1")
        for _ in range(200):
            put_sync(ark)
        time.sleep(2)
        bus.config_set("maxmemory", "1gb")
    syncs = before["sync_events_total"] + 200
    summary = stack.federation(lambda s: s["sync_events_total"] >= syncs)
    assert summary["sync_events_total"] == syncs
    assert summary["sync_bytes_total"] == before["sync_bytes_total"] + 200 * 1_024
    assert stack.processes() == processes, "no process ended"


def test_the_address_of_the_bus_serves_redis_cli(shared: tuple[Stack, redis.Redis]) -> None:
    client = shutil.which("redis-cli")
    if client is None:
        pytest.skip("variant redis-cli: Debian's redis-tools is not installed")
    stack, _ = shared
    url = subprocess.run([ARK_PULSE, "bus", "url"], env=stack.environment, capture_output=True, text=True, check=True)
    command = [client, "-u", url.stdout.strip(), "XREVRANGE", "ark:metrics:federation", "+", "-", "COUNT", "1"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "AUTH failed" not in answer.stderr
    assert '"network_health"' in answer.stdout or '"total_peers"' in answer.stdout


def test_a_killed_worker_is_back_and_nothing_is_counted_twice(own: tuple[Stack, redis.Redis]) -> None:
    stack, ark = own
    sent = 0
    stack.federation(lambda s: s["source"] == "live")
    for stage in ("aggregators", "collectors", "gateway", "aggregators"):
        for _ in range(50):
            put_sync(ark)
            sent += 1
        before = stack.pid_of(stage)
        os.kill(before, signal.SIGKILL)
        for _ in range(50):
            put_sync(ark)
            sent += 1
        wait_for(f"{stage} is back", lambda b=before, s=stage: stack.pid_of(s) != b)  # type: ignore[misc]
        summary = stack.federation(lambda s: s.get("sync_events_total", 0) >= sent)  # noqa: B023  - used at once
        assert summary["sync_events_total"] == sent
    assert summary["sync_bytes_total"] == sent * 1_024
    with stack.bus() as bus:
        wait_for("the whole feed", lambda: bus.xlen("ark:feed:sync") == sent)


def test_a_killed_bus_comes_back_with_what_it_held(own: tuple[Stack, redis.Redis]) -> None:
    stack, ark = own
    for _ in range(100):
        put_sync(ark)
    before = stack.federation(lambda s: s.get("sync_events_total") == 100)
    # What was acknowledged within the last second may be lost: its file is synced once a second.
    time.sleep(1.5)
    server = next(pid for pid, line in stack.processes().items() if "valkey-server" in line)
    os.kill(server, signal.SIGKILL)
    wait_for("stale", lambda: (s := stack.get("/api/v1/federation")) is not None and s["source"] == "stale")
    for _ in range(10):
        put_sync(ark)
    after = stack.federation(lambda s: s.get("sync_events_total", 0) >= 110 and s["source"] == "live", 20)
    assert after["sync_events_total"] == 110
    assert after["epoch"] != before["epoch"]


def test_redis_that_vanishes_leaves_its_last_values_marked_stale_and_heals(tmp_path: Path) -> None:
    with running_stack(tmp_path) as (stack, source):
        with redis.Redis.from_url(source.url) as ark:
            put_peer(ark, "a")
            stack.federation(lambda s: s.get("total_peers") == 1)
        source.stop()
        stale = stack.federation(lambda s: s["source"] == "stale")
        assert stale["total_peers"] == 1
        source.start()
        with redis.Redis.from_url(source.url) as ark:
            put_peer(ark, "b")
            healed = stack.federation(lambda s: s["source"] == "live" and s.get("total_peers") == 2, 15)
    assert healed["as_of"] > stale["as_of"]


def test_without_any_redis_the_simulation_is_shown_and_marked_and_gives_way_to_live(tmp_path: Path) -> None:
    with running_stack(tmp_path, with_redis=False) as (stack, source):
        simulated = stack.federation(lambda s: s["source"] == "simulated" and s.get("total_peers", 0) > 0)
        assert (simulated["peers"]["source"], simulated["sync"]["source"]) == ("simulated", "simulated")
        assert all(row["id"].startswith("sim-") for row in stack.get("/api/v1/peers")["peers"])
        source.start()
        with redis.Redis.from_url(source.url) as ark:
            put_peer(ark, "real")
        live = stack.federation(lambda s: s["source"] == "live" and s.get("total_peers") == 1, 15)
        assert live["heartbeats_total"] == 1
        assert [row["id"] for row in stack.get("/api/v1/peers")["peers"]] == ["real"]


def test_the_source_redis_keeps_its_configuration_and_its_list(tmp_path: Path) -> None:
    with running_stack(tmp_path) as (stack, source), redis.Redis.from_url(source.url) as ark:
        for _ in range(5):
            put_sync(ark)
        stack.federation(lambda s: s.get("sync_events_total") == 5)
        assert ark.llen("sync_events") == 5
        assert sorted(ark.keys()) == [b"sync_events"]


def test_sigterm_ends_everything_within_five_seconds_with_code_zero(tmp_path: Path) -> None:
    with running_stack(tmp_path) as (stack, _):
        stack.federation(lambda s: s["source"] == "live")
        pids = list(stack.processes())
        began = time.monotonic()
        assert stack.stop() == 0
        assert time.monotonic() - began < 5
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_kill_nine_of_up_leaves_no_process(tmp_path: Path) -> None:
    with running_stack(tmp_path) as (stack, _):
        stack.federation(lambda s: s["source"] == "live")
        pids = list(stack.processes())
        assert len(pids) == 5
        assert stack.up is not None
        stack.up.kill()
        stack.up.wait()
        wait_for("all are gone", lambda: not [pid for pid in pids if _alive(pid)])


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
