import datetime as dt
import json
from typing import Any

import pytest

from processors.tools.overview import BusSeen, GatewaySeen, HalfSeen, Overview
from processors.tools.screen import MARKS, as_json, as_lines
from schemas.answers import PartitionSeen
from tests.tools.test_overview import overview, source

NOON = dt.datetime(2026, 11, 22, 12, 0, 0).astimezone()
NOW = int(NOON.timestamp() * 1_000)

BUS = BusSeen(
    address="redis://127.0.0.1:4000/0",
    server="Valkey 9.1.2",
    used_bytes=3 << 20,
    most_bytes=1 << 30,
    persistence="append-only file",
    skew_ms=-3,
)


def full(**values: Any) -> Overview:
    fields: dict[str, Any] = {
        "now": NOW,
        "bus": BUS,
        "halves": (HalfSeen(name="federation", source="live", age_ms=400), HalfSeen(name="memory")),
        "sources": (source(since=NOW - 65_000, answered_ms=2_500, published=1_234, rejected=5),),
        "gateway": GatewaySeen(address="127.0.0.1:8101", status="ok", clients={"/ws/federation": 3, "/ws/memory": 0}),
    }
    return overview(**(fields | values))


def test_the_screen_word_for_word() -> None:
    assert as_lines(full()) == [
        "12:00:00  no trouble",
        "federation       + live       newest data 400 ms old",
        "memory           no summary yet",
        "source           state        since     answered       published   rejected",
        "peers            + live       11:58:55  2 s ago            1,234          5",
        "bus              redis://127.0.0.1:4000/0, Valkey 9.1.2",
        "  memory 3.0 MiB of 1.0 GiB, append-only file, clock -3 ms",
        "partitions       2 of 2 owned by 1 aggregator, no lag",
        "gateway          http://127.0.0.1:8101/ is ok",
        "  clients: 3 on /ws/federation, 0 on /ws/memory",
    ]


def test_trouble_stands_in_the_first_line() -> None:
    lines = as_lines(full(sources=(source(state="stale", level="trouble"),)))
    assert lines[0] == "12:00:00  TROUBLE: peers is stale"


def test_a_source_tells_why_and_how_on_a_line_of_its_own() -> None:
    lines = as_lines(full(sources=(source(state="down", reason="no such file", detail="by polling"),)))
    assert "  no such file; by polling" in lines


def test_a_source_that_never_answered_says_so() -> None:
    assert any(" never " in line for line in as_lines(full(sources=(source(),))))


@pytest.mark.parametrize("state", sorted(MARKS))
def test_each_state_has_a_mark_that_needs_no_colour(state: str) -> None:
    assert any(MARKS[state] in line for line in as_lines(full(sources=(source(state=state),))))
    assert len({mark[0] for mark in MARKS.values()}) == len(MARKS)


def test_nodes_are_named_if_there_are_several() -> None:
    lines = as_lines(full(sources=(source(node="a"), source(node="b"))))
    assert ("node a" in lines, "node b" in lines) == (True, True)


def test_conspicuous_partitions_are_named() -> None:
    partitions = (
        PartitionSeen(name="0", owner="a"),
        PartitionSeen(name="1"),
        PartitionSeen(name="2", owner="b", lag_entries=100, lag_ms=61_000),
    )
    lines = as_lines(full(partitions=partitions))
    assert "partitions       2 of 3 owned by 2 aggregators, lag up to 100+ entries, 1 min" in lines
    assert "  1: no owner, 2: 100+ entries 1 min" in lines


def test_of_many_conspicuous_partitions_some_are_named() -> None:
    lines = as_lines(full(partitions=tuple(PartitionSeen(name=str(number)) for number in range(17))))
    assert "  0: no owner, 1: no owner, 2: no owner, 3: no owner, and 13 more" in lines


def test_what_is_missing_is_said() -> None:
    missing = full(
        bus=BusSeen(problem="redis://h/0 does not answer within 2 s"),
        gateway=GatewaySeen(address="127.0.0.1:8101", problem="no gateway at 127.0.0.1:8101"),
        halves=(),
        sources=(),
        partitions=(),
    )
    assert as_lines(missing) == [
        "12:00:00  TROUBLE: no bus, no gateway",
        "bus              redis://h/0 does not answer within 2 s",
        "gateway          no gateway at 127.0.0.1:8101",
    ]


def crowded() -> Overview:
    """Seven sources of one node, each with more to tell than there is room for."""
    sources = tuple(
        source(
            collector="x" * 200, state="simulated", since=NOW - 10**9, reason="y" * 200, published=2**53,
            rejected=2**53, answered_ms=10**11,
        )
        for _ in range(7)
    )  # fmt: skip
    partitions = tuple(PartitionSeen(name=str(n), lag_entries=100, lag_ms=10**9) for n in range(1_024))
    clients = {"federation": 2_000, "memory": 2_000}
    bus = BusSeen(address="redis://" + "h" * 200, server="Valkey 9.1.2", used_bytes=2**50, persistence="snapshots only")
    gateway = GatewaySeen(address="h" * 200, status="degraded", clients=clients)
    halves = (HalfSeen(name="federation", source="simulated", age_ms=10**12), HalfSeen(name="memory", source="stale"))
    return full(sources=sources, partitions=partitions, bus=bus, gateway=gateway, halves=halves)


def test_a_node_fits_a_screen_of_80_columns_and_24_lines() -> None:
    lines = as_lines(crowded())
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    table = [line for line in lines if line.startswith(("source ", "xxx"))]
    assert len({len(line) for line in table}) == 1, "the columns stand below their heads"


def test_what_is_long_ago_is_told_by_its_day() -> None:
    days = full(sources=(source(since=NOW - 3 * 86_400_000),))
    assert any(" 19 Nov " in line for line in as_lines(days))


def test_as_json_there_is_all_of_it_and_the_troubles() -> None:
    report = json.loads(as_json(full(sources=())))
    assert report["troubles"] == ["no collectors"]
    assert report["gateway"]["clients"] == {"/ws/federation": 3, "/ws/memory": 0}
    assert report["partitions"][1]["name"] == "sim"
