"""The same processes on a Redis Cluster, and under Sentinel: what is counted is the same."""

import os
import signal
from pathlib import Path

import redis

from tests.clusters import running_cluster, running_pair
from tests.stack import Stack, running_stack


def _push(ark: redis.Redis, first: int, count: int) -> None:
    """Peers and syncs; of the syncs, each with a number of its own as its size."""
    with ark.pipeline(transaction=False) as pipe:
        for number in range(first, first + count):
            pipe.hset(f"peer:n-{number % 20}", "latency", str(number))
            pipe.lpush(
                "sync_events",
                f'{{"source":"n-{number % 20}","target":"n-{number % 7}","bytes":{number},"success":true}}',
            )
        pipe.execute()


def _counted(stack: Stack, syncs: int) -> None:
    stack.federation(
        lambda s: (
            s["source"] == "live"
            and (s["sync_events_total"], s["sync_bytes_total"]) == (syncs, syncs * (syncs - 1) // 2)
            and s["total_peers"] == 20
        ),
        30,
    )


def test_on_a_cluster_everything_is_counted_once_whoever_is_killed(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with (
        running_cluster(tmp_path / "cluster") as url,
        running_stack(tmp_path, ARK_BUS_URL=url) as (stack, source),
        redis.Redis.from_url(source.url) as ark,
    ):
        _push(ark, 0, 200)
        _counted(stack, 200)
        for number, victim in enumerate(("aggregators", "collectors", "gateway")):
            os.kill(stack.pid_of(victim), signal.SIGKILL)
            _push(ark, 200 + 100 * number, 100)
            _counted(stack, 300 + 100 * number)


def test_after_a_failover_of_sentinel_everything_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "pair").mkdir()
    with (
        running_pair(tmp_path / "pair") as pair,
        running_stack(tmp_path, ARK_BUS_URL=pair.url) as (stack, source),
        redis.Redis.from_url(source.url) as ark,
    ):
        _push(ark, 0, 200)
        _counted(stack, 200)
        pair.servers[0].kill()
        _push(ark, 200, 200)
        _counted(stack, 400)
