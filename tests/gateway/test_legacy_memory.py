import json
from typing import Any

import pytest

from processors.gateway.legacy_memory import MAX_LOG_TEXT, MemoryFrames
from processors.gateway.memory import Memory
from processors.gateway.sources import Sources
from tests.gateway.support import NOW, hold, log, memory_summary, source

# 2023-11-14T22:13:20Z
FULL: dict[str, Any] = {
    "ingestion_rate": 0.1,
    "consolidation_rate": 0.25,
    "dedup_rate": 62.5,
    "quarantine_count": 3,
    "trust_distribution": {"core": 4, "trusted": 3, "sandbox": 2, "external": 1, "other": 5},
    "confidence_deltas": (-0.25, 0.5),
    "logs": (log(),),
    "nodes_total": 2,
    "sessions_total": 100,
    "stages_total": 400,
    "consolidated_total": 250,
    "since": NOW - 60_000,
}
NAMED_UNKNOWN = set(FULL) - {"since"}


def memory_of(**values: Any) -> Memory:
    sources = Sources()
    for group in ("reasoning", "code"):
        sources.hear(NOW, source(group))
    memory = Memory(sources)
    hold(memory, memory_summary(**values))
    return memory


def whole(memory: Memory, now: int = NOW) -> dict[str, Any]:
    [body] = MemoryFrames(memory).whole(now)
    frame: dict[str, Any] = json.loads(body)
    return frame


def test_the_frame_is_the_whole_state() -> None:
    assert whole(memory_of(**FULL)) == {
        "type": "memory_update",
        "timestamp": NOW,
        "ingestion_rate": 0.1,
        "consolidation_rate": 0.25,
        "dedup_rate": 62.5,
        "quarantine_count": 3,
        "trust_distribution": {"core": 4, "sandbox": 2, "external": 1, "trusted": 3, "other": 5},
        "confidence_deltas": [-0.25, 0.5],
        "logs": [
            {
                "timestamp": "2023-11-14T22:13:20.000+00:00",
                "message": "agent a: confidence 0.91, a query",
                "severity": "consolidation",
                "node": "node-1",
            }
        ],
        "unknown": [],
        "source": "live",
        "as_of": NOW,
        "sources": {"reasoning": "live", "code": "live"},
        "nodes_total": 2,
        "sessions_total": 100,
        "stages_total": 400,
        "consolidated_total": 250,
        "since": NOW - 60_000,
    }


def test_before_the_first_summary_everything_is_unknown_and_stale() -> None:
    frame = whole(Memory(Sources()))
    assert set(frame["unknown"]) == NAMED_UNKNOWN
    assert (frame["source"], frame["as_of"], frame["since"]) == ("stale", None, None)
    assert frame["sources"] == {"reasoning": "stale", "code": "stale"}


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("ingestion_rate", 0),
        ("consolidation_rate", 0),
        ("dedup_rate", 0),
        ("quarantine_count", 0),
        ("trust_distribution", {"core": 0, "sandbox": 0, "external": 0, "trusted": 0, "other": 0}),
        ("confidence_deltas", []),
        ("logs", []),
        ("sessions_total", 0),
        ("stages_total", 0),
        ("consolidated_total", 0),
    ],
)
def test_an_unknown_value_is_sent_as_nothing_and_named(field: str, sent: object) -> None:
    frame = whole(memory_of(**FULL | {field: None}))
    assert (frame[field], frame["unknown"]) == (sent, [field])


def test_what_is_known_to_be_nothing_is_not_unknown() -> None:
    nothing = {"ingestion_rate": 0.0, "quarantine_count": 0, "trust_distribution": {}, "logs": ()}
    assert set(whole(memory_of(**nothing))["unknown"]).isdisjoint(nothing)


def test_a_tier_that_no_file_has_is_zero() -> None:
    frame = whole(memory_of(trust_distribution={"core": 2}))
    assert frame["trust_distribution"] == {"core": 2, "sandbox": 0, "external": 0, "trusted": 0, "other": 0}


@pytest.mark.parametrize("field", ["message", "node"])
def test_markup_in_a_log_is_escaped(field: str) -> None:
    evil = """<img src=x onerror='a("&")'>"""
    [shown] = whole(memory_of(logs=(log(evil, node=evil),)))["logs"]
    assert shown[field] == "&lt;img src=x onerror=&#x27;a(&quot;&amp;&quot;)&#x27;&gt;"


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (1_795_428_000_123, "2026-11-23T10:00:00.123+00:00"),
        (0, "1970-01-01T00:00:00.000+00:00"),
        (-1, "1970-01-01T00:00:00.000+00:00"),
        (10**30, "9999-12-31T23:59:59.999+00:00"),
    ],
)
def test_a_logs_moment_is_iso_8601_in_utc(ts: int, text: str) -> None:
    body = whole(memory_of(logs=(log(ts=ts),)))
    assert body["logs"][0]["timestamp"] == text


def test_the_frame_is_bounded_whatever_the_summary_holds() -> None:
    evil = "'" * 100_000
    memory = memory_of(logs=(log(evil, node=evil),) * 1_000, confidence_deltas=(0.1,) * 1_000)
    [body] = MemoryFrames(memory).whole(NOW)
    assert len(body) < 20 * 6 * (MAX_LOG_TEXT + 256) + 4_096
    frame = json.loads(body)
    assert (len(frame["logs"]), len(frame["confidence_deltas"])) == (20, 50)


def test_lists_keep_their_order_and_their_newest() -> None:
    memory = memory_of(logs=tuple(log(str(n)) for n in range(25)), confidence_deltas=tuple(map(float, range(60))))
    frame = whole(memory)
    assert [each["message"] for each in frame["logs"]] == [str(n) for n in range(5, 25)]
    assert frame["confidence_deltas"] == list(range(10, 60))


def test_silence_makes_the_frame_stale_and_keeps_its_values() -> None:
    frame = whole(memory_of(**FULL), NOW + 15_000)
    assert (frame["source"], frame["as_of"], frame["ingestion_rate"]) == ("stale", NOW, 0.1)
    assert frame["sources"] == {"reasoning": "stale", "code": "stale"}


def settled(memory: Memory) -> MemoryFrames:
    frames = MemoryFrames(memory)
    frames.changes(NOW)
    return frames


def test_a_tick_in_which_nothing_changed_sends_nothing() -> None:
    assert settled(memory_of(**FULL)).changes(NOW + 100) == []


def test_a_newer_moment_alone_sends_nothing() -> None:
    memory = memory_of(**FULL)
    frames = settled(memory)
    hold(memory, memory_summary(**FULL, ts=NOW + 5_000, n=2))
    assert frames.changes(NOW + 5_000) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ingestion_rate": 0.2},
        {"quarantine_count": None},
        {"confidence_deltas": (0.5,)},
        {"logs": (log(), log("another"))},
        {"trust_distribution": {"core": 5}},
        {"nodes_total": 3},
    ],
)
def test_a_changed_value_is_told_with_the_whole_state(change: dict[str, Any]) -> None:
    memory = memory_of(**FULL)
    frames = settled(memory)
    hold(memory, memory_summary(**FULL | change))
    [body] = frames.changes(NOW + 100)
    assert json.loads(body) == whole(memory, NOW + 100)


def test_a_change_of_the_world_is_told() -> None:
    memory = memory_of(**FULL)
    frames = settled(memory)
    hold(memory, memory_summary("simulated", "simulated", **FULL))
    [body] = frames.changes(NOW)
    assert json.loads(body)["source"] == "simulated"


def test_a_change_that_was_told_is_not_told_again() -> None:
    memory = memory_of(**FULL)
    frames = settled(memory)
    hold(memory, memory_summary(**FULL | {"ingestion_rate": 0.2}))
    assert (len(frames.changes(NOW)), frames.changes(NOW)) == (1, [])
