from collections import Counter
from collections.abc import Callable

import pytest
from redis.crc import key_slot

from schemas import streams


def slot(key: str) -> int:
    return int(key_slot(key.encode()))


KEYS: list[Callable[[str], str]] = [
    streams.events_key,
    streams.cursors_key,
    streams.meta_key,
    streams.state_key,
    streams.peers_key,
    streams.changes_key,
    streams.partials_key,
    streams.feed_key,
    streams.dead_key,
    streams.parked_key,
    lambda partition: streams.published_key(partition, "peers"),
]


@pytest.mark.parametrize("partition", [*streams.live_partitions(16), streams.SIMULATED])
def test_all_keys_of_a_partition_are_one_cluster_slot(partition: str) -> None:
    assert len({slot(make(partition)) for make in KEYS}) == 1


@pytest.mark.parametrize("stream", [streams.METRICS_FEDERATION, streams.FEED_SYNC, streams.DEAD])
def test_a_merged_stream_and_its_writer_are_one_cluster_slot(stream: str) -> None:
    assert slot(stream) == slot(streams.writer_key(stream))


def test_a_key_keeps_its_partition_for_ever() -> None:
    assert [streams.partition_of(key, 16) for key in ("ark-node-1", "ark-node-2", "ü", "a:b\n*")] == [
        "6",
        "12",
        "5",
        "7",
    ]


def test_keys_spread_over_all_partitions() -> None:
    counts = Counter(streams.partition_of(f"node-{number}", 16) for number in range(16_000))
    assert set(counts) == set(streams.live_partitions(16))
    assert max(counts.values()) < 1_300
