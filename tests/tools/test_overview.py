from typing import Any

import pytest

from processors.tools.overview import BusSeen, GatewaySeen, HalfSeen, Overview, SourceSeen, conspicuous, troubles
from schemas.answers import PartitionSeen


def source(**values: Any) -> SourceSeen:
    fields: dict[str, Any] = {
        "node": "n", "collector": "peers", "group": "peers", "state": "live", "level": "ok", "since": 0, "reason": "",
        "detail": "", "published": 0, "rejected": 0,
    }  # fmt: skip
    return SourceSeen(**(fields | values))


def overview(**values: Any) -> Overview:
    fields: dict[str, Any] = {
        "now": 0,
        "bus": BusSeen(address="redis://h/0"),
        "gateway": GatewaySeen(address="h:1", status="ok"),
        "halves": (HalfSeen(name="memory", source="live", age_ms=1),),
        "sources": (source(),),
        "partitions": (PartitionSeen(name="0", owner="a"), PartitionSeen(name="sim", owner="a")),
    }
    return Overview(**(fields | values))


def test_a_system_that_works_has_no_trouble() -> None:
    assert troubles(overview()) == []


@pytest.mark.parametrize("level", ["ok", "warning"])
def test_a_source_that_never_was_live_is_no_trouble(level: str) -> None:
    assert troubles(overview(sources=(source(state="down", level=level),))) == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sources": (source(state="stale", level="trouble"),)}, "peers is stale"),
        ({"sources": ()}, "no collectors"),
        ({"partitions": ()}, "no aggregators"),
        ({"partitions": (PartitionSeen(name="0"), PartitionSeen(name="sim"))}, "no aggregators"),
        (
            {"partitions": (PartitionSeen(name="0"), PartitionSeen(name="sim", owner="a"))},
            "1 partition without an owner",
        ),
        ({"halves": (HalfSeen(name="memory", source="stale", age_ms=5),)}, "the memory half is stale"),
        ({"gateway": GatewaySeen(address="h:1", problem="no gateway at h:1")}, "no gateway"),
    ],
)
def test_what_was_live_and_is_not_or_is_not_there_is_trouble(values: dict[str, Any], expected: str) -> None:
    assert troubles(overview(**values)) == [expected]


def test_a_half_of_which_nothing_was_ever_known_is_no_trouble() -> None:
    assert troubles(overview(halves=(HalfSeen(name="memory", source="stale"), HalfSeen(name="federation")))) == []


def test_without_a_bus_that_alone_is_told_of_it() -> None:
    found = overview(bus=BusSeen(problem="redis://h/0 does not answer"), halves=(), sources=(), partitions=())
    assert troubles(found) == ["no bus"]


def test_partitions_without_an_owner_or_behind_are_conspicuous() -> None:
    partitions = [
        PartitionSeen(name="0", owner="a", lag_entries=99, lag_ms=999),
        PartitionSeen(name="1"),
        PartitionSeen(name="2", owner="a", lag_entries=1, lag_ms=1_000),
        PartitionSeen(name="3", owner="a", lag_entries=100, lag_ms=3),
    ]
    assert [partition.name for partition in conspicuous(partitions)] == ["1", "2", "3"]
