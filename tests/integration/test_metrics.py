"""Metrics of everything that `ark-pulse up` starts, and whether they are exact."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.families import FAMILIES
from tests.servers import Server, free_ports
from tests.stack import Stack, running_stack, wait_for

STAGES = ("collectors", "federation", "aggregators", "gateway")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(len(STAGES))


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[tuple[Stack, Server]]:
    """It has forty live peers, of which each sent one sync, and a simulated memory half."""
    with running_stack(tmp_path_factory.mktemp("metrics"), ARK_METRICS_PORT=str(port)) as (stack, source):
        write(source, [f"p{number}" for number in range(40)])
        stack.federation(lambda summary: summary.get("sync_events_total") == summary.get("total_peers") == 40)
        stack.memory(lambda summary: summary["source"] == "simulated" and "dedup_rate" in summary)
        yield stack, source


def scrape(port: int) -> list[Metric]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def series(families: list[Metric]) -> Series:
    return {(each.name, frozenset(each.labels.items())): each.value for found in families for each in found.samples}


def total(found: Series, name: str) -> float:
    return sum(value for (each, _), value in found.items() if each == f"ark_pulse_{name}")


def write(source: Server, names: list[str]) -> None:
    """A peer of each name, and a sync from it to the next one."""
    now = int(time.time())
    peer = {"hostname": "h", "trust_tier": "core", "status": "online", "latency": "15", "last_seen": str(now)}
    with redis.Redis(port=source.port) as client, client.pipeline(transaction=False) as pipe:
        for number, name in enumerate(names):
            target = names[(number + 1) % len(names)]
            event = {"timestamp": now * 1_000, "source": name, "target": target, "bytes": 10, "success": True}
            pipe.hset(f"peer:{name}", mapping=peer)
            pipe.lpush("sync_events", json.dumps(event | {"event_type": "memory_sync"}))
        pipe.execute()


@pytest.mark.usefixtures("system")
def test_each_process_of_up_tells_its_own(port: int) -> None:
    names = set()
    for stage, own in zip(STAGES, range(port, port + len(STAGES)), strict=True):
        families = scrape(own)
        assert ("ark_pulse_build_info", frozenset({("stage", stage), ("version", "0.1.0")})) in series(families)
        names |= {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert {name for name in names if name.startswith("ark_pulse")} == {family.name for family in FAMILIES}
    assert {name for name in names if not name.startswith("ark_pulse")} > {"process_cpu_seconds_total", "python_info"}


@pytest.mark.usefixtures("system")
def test_the_counts_are_exact_all_along_the_way(port: int) -> None:
    def settled() -> Series | None:
        # The simulator goes on meanwhile.
        found = [series(scrape(each)) for each in (port, port + 2, port + 3)]
        published, folded, shown = (dict(each) for each in found)
        same = total(published, "collector_published_events_total") == total(folded, "aggregator_events_total")
        return {**published, **folded, **shown} if same else None

    found = wait_for("what is published is folded", settled)
    labels = {name: frozenset({("collector", name)}) for name in ("peers", "sync_events")}
    assert found["ark_pulse_collector_published_events_total", labels["peers"]] == 40
    # One for the sender's partition, one for the target's.
    assert found["ark_pulse_collector_published_events_total", labels["sync_events"]] == 80
    live = frozenset({("world", "live")})
    assert found["ark_pulse_federation_syncs_total", live] == 40
    assert found["ark_pulse_federation_sync_bytes_total", live] == 400
    assert found["ark_pulse_federation_heartbeats_total", live] == 40
    assert found["ark_pulse_federation_peers", live | {("status", "online")}] == 40
    assert found["ark_pulse_federation_sync_success_ratio", live] == 1
    assert sum(value for (name, _), value in found.items() if name == "ark_pulse_aggregator_peers") == 40
    assert found["ark_pulse_aggregator_partitions", frozenset()] == total(found, "partition_owned") == 17
    assert found["ark_pulse_bus_up", frozenset()] == 1


def test_hostile_ids_make_no_series_in_any_process(system: tuple[Stack, Server], port: int) -> None:
    stack, source = system
    ports = range(port, port + len(STAGES))
    before = [series(scrape(each)).keys() for each in ports]
    write(source, [f'evil{number}"}} 1\n# x\\' for number in range(100)])
    stack.federation(lambda summary: summary.get("sync_events_total") == 140 and summary.get("total_peers") == 140)
    assert [series(scrape(each)).keys() for each in ports] == before


def test_a_port_that_is_in_use_ends_up_before_anything_starts(tmp_path: Path) -> None:
    first = free_ports(len(STAGES))
    with socket.create_server(("127.0.0.1", first + 1)):
        stack = Stack(tmp_path, "redis://127.0.0.1:1/0", {"ARK_METRICS_PORT": str(first)})
        command = [str(Path(sys.executable).parent / "ark-pulse"), "up"]
        done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 3
    assert done.stderr == f"ark-pulse: ARK_METRICS_PORT: 127.0.0.1:{first + 1} is already in use\n"
