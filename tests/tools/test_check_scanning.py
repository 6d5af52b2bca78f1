import json
from typing import Any

import pytest
from redis.asyncio import Redis

from processors.tools import scanning
from processors.tools.comparison import Count, Span, exactly
from processors.tools.counting import Counts
from processors.tools.scanning import PeerCount, count_peers, count_syncs
from schemas import codec, streams
from schemas.metrics import PeerRow

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000
# Older than any window: what is behind it needs not be known.
OLD = {"timestamp": NOW - HOUR_MS, "source": "a", "target": "b"}


async def _clock() -> int:
    return NOW


async def _hash(client: Redis, peer: str, **fields: Any) -> None:
    said = {"hostname": "host", "trust_tier": "core", "latency": "12.5", "last_seen": str(NOW // 1_000)} | fields
    await client.hset(f"peer:{peer}", mapping=said)


async def _row(client: Redis, peer: str, **fields: Any) -> None:
    said: dict[str, Any] = {
        "status": "online",
        "last_seen": NOW,
        "hostname": "host",
        "tier": "core",
        "latency_ms": 12.5,
    } | fields
    row = PeerRow(id=peer, suspicion=0.0, data_shared=0, learnt_from="redis", **said)
    key = streams.peers_key(streams.partition_of(peer, 16))
    await client.hset(key, peer, codec.encode(row))


async def _count_peers(client: Redis, wait_s: float = 0.0) -> PeerCount:
    return await count_peers(client, client, 16, _clock, wait_s)


async def _count_syncs(client: Redis, *items: Any) -> Counts:
    """What is counted of `items`, newest first."""
    await client.rpush("sync_events", *(item if isinstance(item, bytes) else json.dumps(item) for item in items))
    return await count_syncs(client, _clock)


def _sync(ago_ms: int = 1_000, **fields: Any) -> dict[str, Any]:
    return {"timestamp": NOW - ago_ms, "source": "a", "target": "b", "bytes": 60, "success": True} | fields


async def test_peers_whose_rows_say_the_same_are_equal(redis_client: Redis) -> None:
    for peer in ("a", "b:c", "ü"):
        await _hash(redis_client, peer)
        await _row(redis_client, peer)
    assert await _count_peers(redis_client) == PeerCount(3, 3, 0, 3, {})


async def test_a_peer_that_is_missing_from_the_roster_is_a_problem(redis_client: Redis) -> None:
    await _hash(redis_client, "a")
    assert await _count_peers(redis_client) == PeerCount(1, 0, 0, 1, {"a": "is not in the roster"})


async def test_a_peer_that_changed_is_read_again_before_it_is_called_different(redis_client: Redis) -> None:
    await _hash(redis_client, "a", latency="13")
    await _row(redis_client, "a")
    asked = 0

    async def clock() -> int:
        # The roster follows after the first comparison.
        nonlocal asked
        asked += 1
        if asked == 2:
            await _row(redis_client, "a", latency_ms=13.0)
        return NOW

    found = await count_peers(redis_client, redis_client, 16, clock, 10)
    assert found == PeerCount(1, 1, 0, 1, {})


async def test_a_peer_whose_key_is_gone_is_kept(redis_client: Redis) -> None:
    await _hash(redis_client, "a")
    await _row(redis_client, "a")
    await _row(redis_client, "b", status="offline")
    assert await _count_peers(redis_client) == PeerCount(1, 1, 1, 2, {})


async def test_a_peer_that_was_silent_for_a_day_is_not_missed(redis_client: Redis) -> None:
    await _hash(redis_client, "a", last_seen=str(NOW - 25 * HOUR_MS))
    assert await _count_peers(redis_client) == PeerCount(1, 1, 0, 0, {})


@pytest.mark.parametrize("last_seen", ["2023-11-13T20:00:00Z", "2023-11-13T20:00:00", "1699800000", "1699800000000.5"])
async def test_a_time_in_every_form_tells_of_the_silence(last_seen: str, redis_client: Redis) -> None:
    await _hash(redis_client, "a", last_seen=last_seen)
    assert (await _count_peers(redis_client)).problems == {}


async def test_what_is_no_peer_is_left_out(redis_client: Redis) -> None:
    await redis_client.set("peer:text", "x")
    for key in (b"peer:", b"peer:\xff", b"peer:" + b"x" * 257):
        await redis_client.hset(key, "hostname", "x")
    assert await _count_peers(redis_client) == PeerCount(0, 0, 0, 0, {})


@pytest.mark.parametrize("latency", ["", "NaN", "-1", "1e308", "fast", "1_000"])
async def test_a_latency_that_is_none_is_unknown(latency: str, redis_client: Redis) -> None:
    await _hash(redis_client, "a", latency=latency)
    await _row(redis_client, "a", latency_ms=None)
    assert (await _count_peers(redis_client)).problems == {}


async def test_names_are_compared_without_blanks_and_unknown_if_they_are_unusable(redis_client: Redis) -> None:
    await _hash(redis_client, "a", hostname=b"\xff", trust_tier=" core ")
    await _row(redis_client, "a", hostname=None)
    assert (await _count_peers(redis_client)).problems == {}


async def test_the_syncs_of_the_last_minute_are_counted(redis_client: Redis) -> None:
    items = [_sync(), _sync(20_000, source="c"), _sync(59_000, success=False), _sync(61_000), OLD]
    assert await _count_syncs(redis_client, *items) == {
        "sync_rate": Count(exactly(3 / 60)),
        "sync_bytes_rate": Count(exactly(3.0)),
        "sync_success_rate": Count(exactly(200 / 3)),
        "active_syncs": Count(exactly(1)),
    }


@pytest.mark.parametrize(
    "timestamp",
    [NOW / 1_000, NOW // 1_000, str(NOW), str(NOW // 1_000), "2023-11-14T22:13:20Z", "2023-11-14T23:13:20.000+01:00"],
)
async def test_a_sync_of_every_form_of_a_time_counts(timestamp: Any, redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(timestamp=timestamp), OLD)
    assert counts["sync_rate"].value == exactly(1 / 60)


@pytest.mark.parametrize("timestamp", [None, "soon", -1, True, NOW + HOUR_MS, 10**400])
async def test_a_sync_without_a_usable_time_may_count(timestamp: Any, redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(timestamp=timestamp), OLD)
    assert (counts["sync_rate"].value, counts["active_syncs"].value) == (Span(0, 1 / 60), Span(0, 1))


async def test_a_sync_on_the_border_of_the_window_spans_the_values(redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(), _sync(10_500, source="c"), _sync(60_500, success=False), OLD)
    assert counts["sync_rate"].value == Span(2 / 60, 3 / 60)
    assert counts["sync_success_rate"].value == Span(200 / 3, 100)
    assert counts["active_syncs"].value == Span(1, 2)


@pytest.mark.parametrize(
    "item",
    [
        b"x",
        b"5",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 60_000,
        b'{"source": "a", "target": "b", "bytes": NaN}',
        {"source": "a"},
        {"source": "", "target": "b"},
        {"source": "a", "target": "b" * 257},
        {"source": "a", "target": "b", "event_type": "x" * 70_000},
    ],
    ids=lambda item: repr(item)[:30],
)
async def test_an_item_that_is_no_sync_does_not_count(item: Any, redis_client: Redis) -> None:
    assert (await _count_syncs(redis_client, item, OLD))["sync_rate"].value == exactly(0)


@pytest.mark.parametrize(("size", "counted"), [(6, 6), (6.0, 6), (6.5, 0), (-6, 0), ("6", 0), (True, 0), (2**63, 0)])
async def test_only_whole_sizes_count(size: Any, counted: int, redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(bytes=size), OLD)
    assert counts["sync_bytes_rate"].value == exactly(counted / 60)


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        (True, exactly(100)),
        ("TRUE", exactly(100)),
        (1, exactly(100)),
        ("false", exactly(0)),
        (0, exactly(0)),
        (None, None),
        ("perhaps", None),
    ],
)
async def test_the_outcome_of_every_form_counts(outcome: Any, value: Span | None, redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(success=outcome), OLD)
    assert counts["sync_success_rate"].value == value


async def test_of_a_list_that_may_have_been_trimmed_only_the_least_is_known(redis_client: Redis) -> None:
    counts = await _count_syncs(redis_client, _sync(5_000))
    note = "sync_events reaches back 5 s only, and may have been trimmed"
    assert counts["sync_rate"] == Count(Span(1 / 60, float("inf")), note)
    assert counts["sync_success_rate"] == Count(Span(0, 100, or_absent=True), note)


async def test_as_much_of_a_long_list_is_read_as_the_minute_needs(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_FIRST_ITEMS", 2)
    counts = await _count_syncs(redis_client, *[_sync()] * 10, *[OLD] * 30)
    assert counts["sync_rate"].value == exactly(10 / 60)
