"""The states of sources, from ARK's Redis and databases to the API, the log, `ark:sources` and `ark-pulse status`."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from tests.databases import make_ark, make_reasoning
from tests.servers import Server
from tests.stack import Stack, running_stack, wait_for

ARK_PULSE = Path(sys.executable).parent / "ark-pulse"


@pytest.fixture(scope="module", autouse=True)
def falling_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Server]]:
    """A stack with ARK_SIMULATE=fallback whose Redis has gone: half a minute passes while the other tests run."""
    with running_stack(tmp_path_factory.mktemp("fallback"), ARK_SIMULATE="fallback") as (stack, source):
        until(stack, {"peers": "live", "sync_events": "live"})
        source.stop()
        yield stack, source


@pytest.fixture(scope="module")
def auto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Server]]:
    """A stack with the settings' defaults and ARK's Redis, but no databases."""
    with running_stack(tmp_path_factory.mktemp("auto")) as (stack, source):
        yield stack, source


def said(stack: Stack) -> dict[str, dict[str, Any]]:
    """What /api/v1/sources says, by collector."""
    answer = stack.get("/api/v1/sources") or {"sources": []}
    return {source["collector"]: source for source in answer["sources"]}


def until(stack: Stack, states: dict[str, str], within_s: float = 20) -> dict[str, dict[str, Any]]:
    """What is said of all sources, once those of `states` have these."""

    def ask() -> dict[str, dict[str, Any]] | None:
        now = said(stack)
        return now if all(name in now and now[name]["state"] == state for name, state in states.items()) else None

    return wait_for(f"sources are {states}", ask, within_s)


def changes(stack: Stack, collector: str) -> list[tuple[str, str]]:
    """The states and reasons that `ark:sources` has of a collector, without the heartbeats between."""
    with stack.bus() as bus:
        entries = [json.loads(fields[b"d"]) for _, fields in bus.xrange("ark:sources")]
    own = [(each["state"], each.get("reason", "")) for each in entries if each["collector"] == collector]
    return [change for change, _ in groupby(own)]


def logged(stack: Stack, collector: str) -> list[tuple[str, str]]:
    """The states and reasons that the log has of a collector, one of each line."""
    line = rf"ark_pulse\.collectors\[\d+\]: {collector} is (\w+)(?:: (.*))?$"
    found = re.findall(line, stack.log.read_text(), re.MULTILINE)
    return [(state, reason) for state, reason in found]


def status(stack: Stack) -> tuple[int, str]:
    """Exit code and text of `ark-pulse status`."""
    done = subprocess.run([ARK_PULSE, "status"], env=stack.environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize("collector", ["peers", "sync_events"])
def test_a_redis_that_vanishes_and_returns_is_told_once_each_time(auto: tuple[Stack, Server], collector: str) -> None:
    stack, source = auto
    before = until(stack, {collector: "live"})[collector]
    told = len(changes(stack, collector))
    source.stop()
    away = until(stack, {collector: "stale"})[collector]
    assert away["reason"]
    assert away["as_of"] is not None
    assert away["since"] > before["since"]
    assert status(stack)[0] == 4
    source.start()
    after = until(stack, {collector: "live"})[collector]
    assert (after["reason"], after["since"] > away["since"]) == ("", True)
    assert _states(changes(stack, collector)[told:]) == ["stale", "live"]


@pytest.mark.parametrize("collector", ["peers", "sync_events"])
def test_each_change_is_one_line_of_the_log_and_an_entry(auto: tuple[Stack, Server], collector: str) -> None:
    stack, _ = auto
    until(stack, {collector: "live"})
    lines, entries = logged(stack, collector), changes(stack, collector)
    assert [line for line, _ in groupby(lines)] == lines, "nothing is told again at every retry"
    assert _states(lines) == _states(entries)


def _states(told: list[tuple[str, str]]) -> list[str]:
    return [state for state, _ in groupby(state for state, _ in told)]


def test_auto_simulates_a_half_until_it_is_live_for_the_first_time(auto: tuple[Stack, Server]) -> None:
    stack, _ = auto
    now = until(
        stack, {"reasoning": "down", "code_memory": "down", "memory_simulator": "simulated", "simulator": "down"}
    )
    assert now["reasoning"]["reason"] == now["code_memory"]["reason"] == "file does not exist"
    assert stack.memory(lambda s: s["source"] == "simulated")
    make_reasoning(stack.directory / "data" / "reasoning_logs.db").close()
    make_ark(stack.directory / "data" / "ark.db").close()
    now = until(stack, {"reasoning": "live", "code_memory": "live", "memory_simulator": "down"})
    assert now["memory_simulator"]["reason"] == "the memory half has been live"
    assert stack.memory(lambda s: s["source"] == "live", 20)["sessions_total"] == 0
    assert logged(stack, "reasoning") == [("down", "file does not exist"), ("live", "")]
    wait_for("no trouble", lambda: status(stack)[0] == 0)
    text = status(stack)[1]
    assert "no trouble" in text
    assert "clients: 0 on /ws, 0 on /ws/federation, 0 on /ws/memory, 0 on /sse" in text


def test_always_simulating_leaves_a_redis_that_answers_alone(tmp_path: Path) -> None:
    with running_stack(tmp_path, ARK_SIMULATE="always") as (stack, _):
        now = until(stack, {"peers": "down", "sync_events": "down", "reasoning": "down", "simulator": "simulated"})
        assert now["peers"]["reason"] == "ARK_SIMULATE is always"
        assert stack.federation(lambda s: s["source"] == "simulated" and s.get("total_peers", 0) > 0)
        assert stack.memory(lambda s: s["source"] == "simulated")
        assert wait_for("no trouble", lambda: status(stack)[0] == 0)


def test_never_simulating_makes_nothing_up(tmp_path: Path) -> None:
    with running_stack(tmp_path, with_redis=False, ARK_SIMULATE="never") as (stack, _):
        now = until(stack, {"peers": "down", "sync_events": "down", "simulator": "down", "memory_simulator": "down"})
        assert now["simulator"]["reason"] == "ARK_SIMULATE is never"
        summary = stack.federation(lambda s: s["source"] == "stale")
        assert ("total_peers" in summary, "as_of" in summary) == (False, False)
        assert stack.memory(lambda s: s["source"] == "stale").get("ingestion_rate") is None


def test_fallback_simulates_a_half_that_has_been_away_for_thirty_seconds(falling_back: tuple[Stack, Server]) -> None:
    stack, source = falling_back
    now = until(stack, {"peers": "stale", "sync_events": "stale", "simulator": "simulated"}, 60)
    assert now["simulator"]["since"] - now["peers"]["since"] >= 30_000
    assert stack.federation(lambda s: s["source"] == "simulated" and s.get("total_peers", 0) > 0)
    source.start()
    until(stack, {"peers": "live", "sync_events": "live", "simulator": "down"})
    assert stack.federation(lambda s: s["source"] == "live")["total_peers"] == 0
