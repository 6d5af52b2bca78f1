import json

import pytest
from redis import Redis

from processors.tools import mesh
from processors.tools.errors import TargetFailed
from processors.tools.mesh import DemoMesh

OURS = [json.dumps({"source": "demo-a", "target": "demo-b", "bytes": n}) for n in range(5)]
OTHERS = ['{"source": "a", "target": "demo-b"}', "not JSON", "[]"]


def test_syncs_are_pushed_newest_first(ark: Redis, ark_url: str) -> None:
    DemoMesh(ark_url).write([], [item.encode() for item in OURS])
    assert ark.lrange("sync_events", 0, -1) == OURS[::-1]


def test_peers_are_hashes(ark: Redis, ark_url: str) -> None:
    DemoMesh(ark_url).write([("demo-a", {"latency": "5"})], [])
    assert ark.hgetall("peer:demo-a") == {"latency": "5"}


def test_only_what_was_not_made_here_is_foreign(ark: Redis, ark_url: str) -> None:
    ark.rpush("sync_events", *OURS, *OTHERS)
    for key in ("peer:demo-a", "peer:a", "peer:demonstration", "other:a"):
        ark.hset(key, "latency", 1)
    assert DemoMesh(ark_url).foreign() == {"peers": 2, "sync events": 3}


def test_removing_leaves_all_others_in_their_order(ark: Redis, ark_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "_CHUNK", 2)
    first, second, third = OTHERS
    ark.rpush("sync_events", OURS[0], first, OURS[1], OURS[1], second, second, OURS[2], OURS[3], third, OURS[4])
    ark.hset("peer:demo-a", "latency", 1)
    ark.hset("peer:a", "latency", 1)
    assert DemoMesh(ark_url).remove() == 7
    assert ark.lrange("sync_events", 0, -1) == [first, second, second, third]
    assert ark.keys("*") == ["sync_events", "peer:a"] or ark.keys("*") == ["peer:a", "sync_events"]


def test_removing_twice_is_harmless(ark: Redis, ark_url: str) -> None:
    DemoMesh(ark_url).write([("demo-a", {"latency": "5"})], [OURS[0].encode()])
    assert [DemoMesh(ark_url).remove(), DemoMesh(ark_url).remove()] == [2, 0]
    assert ark.keys("*") == []


def test_of_too_many_live_syncs_the_oldest_of_ours_goes(
    ark: Redis, ark_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "MAX_SYNCS", 3)
    ark.rpush("sync_events", *OTHERS)
    demo = DemoMesh(ark_url)
    for item in OURS:
        demo.write([], [item.encode()])
    assert ark.lrange("sync_events", 0, -1) == [*OURS[:1:-1], *OTHERS]


def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    with pytest.raises(TargetFailed, match=r"^REDIS_URL redis://127\.0\.0\.1:1/0: .*[Rr]efused"):
        DemoMesh("redis://:secret@127.0.0.1:1/0").foreign()


def test_a_key_of_another_type_is_named(ark: Redis, ark_url: str) -> None:
    ark.set("sync_events", "x")
    with pytest.raises(TargetFailed, match="WRONGTYPE"):
        DemoMesh(ark_url).foreign()
