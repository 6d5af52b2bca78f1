"""A large partition is taken over: it is restored in slices, under a lease that is renewed all the while."""

import asyncio
import gc
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest

from processors.aggregators.ownership import LEASE_MS, RENEW_MS
from processors.aggregators.partition import Partition
from processors.runtime.bus import Bus
from processors.runtime.tasks import end_tasks
from schemas import streams
from schemas.events import MAX_BATCH_EVENTS, Heartbeat
from tests.aggregators.support import commit, entry
from tests.integration.aggregation import aggregating, summary_when

PEERS = 20_000
META = streams.meta_key("0")


def large_state(now: int) -> dict[str, bytes]:
    """What a partition of many peers has committed."""
    partition = Partition("0", now, 16)
    state: dict[str, bytes] = {}
    ids = islice((name for n in count() if streams.partition_of(name := f"p{n}", 16) == "0"), PEERS)
    while beats := [Heartbeat(peer=peer, ts=now, latency_ms=1.0) for peer in islice(ids, MAX_BATCH_EVENTS)]:
        partition.fold(f"{now}-0", entry(*beats), now)
        commit(partition, state, {}, now)
    return state


async def watch(bus: Bus, stretches_s: list[float], tokens: set[object]) -> None:
    """Note how long the event loop worked without a pause, in CPU time, and each token that there was."""
    while True:
        before = time.thread_time()
        await asyncio.sleep(0.005)
        stretches_s.append(time.thread_time() - before)
        tokens.add(await bus.client.hget(META, "token"))


@pytest.fixture
def _own_garbage_only() -> Iterator[None]:
    """What other tests of this process have left is not collected meanwhile."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_own_garbage_only")
async def test_a_restore_of_many_peers_never_stops_the_renewal(bus: Bus, server_url: str) -> None:
    state = large_state(bus.clock.now_ms())
    for names in (list(state)[start : start + 1_000] for start in range(0, len(state), 1_000)):
        await bus.client.hset(streams.state_key("0"), mapping={name: state[name] for name in names})
    stretches_s, tokens = list[float](), set[object]()
    async with aggregating(server_url):
        watching = asyncio.create_task(watch(bus, stretches_s, tokens))
        await summary_when(bus, lambda s: s.heartbeats_total == PEERS)
        await end_tasks([watching])
    # The renewal would come too late after a stretch of as long as a lease lasts beyond it.
    assert max(stretches_s) < (LEASE_MS - RENEW_MS) / 1000
    assert len(tokens - {None}) == 1
