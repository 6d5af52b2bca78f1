"""What an aggregators' process tells of its work in metrics."""

import asyncio

from processors.aggregators.owner import own
from processors.aggregators.ownership import Grant, acquire
from processors.aggregators.runner import PartitionRunner
from processors.aggregators.tally import Tally
from processors.aggregators.watch import Watch
from processors.runtime.bus import Bus
from processors.runtime.metrics import Histogram
from tests.aggregators.test_owner import KEYS, SmallDuty, Work
from tests.aggregators.test_runner import META, MINUTE, beats
from tests.collectors.helpers import until


def told(tally: Tally) -> dict[tuple[str, ...], float]:
    """Each value by the end of its name and its labels; durations as their number."""
    return {
        (sample.family.name.removeprefix("ark_pulse_aggregator_"), *sample.labels): sum(sample.value.counts)
        if isinstance(sample.value, Histogram)
        else sample.value
        for sample in tally.read()
    }


async def test_events_count_once_they_are_committed_and_peers_while_they_are_held(bus: Bus) -> None:
    tally, lost = Tally(), list[str]()
    [grant] = await acquire(bus, [META], "one")
    assert isinstance(grant, Grant)
    worker = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=tally)
    await worker.start(grant, lost.append)
    # The first commit tells of a new owner, and has no entry.
    assert {
        key: told(tally).get(key) for key in (("partitions",), ("commits_total", "0"), ("commit_delay_seconds",))
    } == {
        ("partitions",): 1,
        ("commits_total", "0"): 1,
        ("commit_delay_seconds",): 0,
    }
    now = bus.clock.now_ms()
    await beats(bus, "a", range(now - 500, now, 100))
    await beats(bus, "b", range(now + 1, now + 2))
    await until(lambda: told(tally)["events_total", "0"] == 6)
    found = told(tally)
    assert (found["peers", "0"], found["losses_total",]) == (2, 0)
    assert found["commit_seconds",] == found["commits_total", "0"] > found["commit_delay_seconds",] >= 1
    await worker.stop()
    assert (told(tally)["partitions",], ("peers", "0") in told(tally)) == (0, False)
    assert told(tally)["events_total", "0"] == 6
    assert lost == []


async def test_a_commit_that_failed_counts_nowhere(bus: Bus) -> None:
    tally, lost = Tally(), list[str]()
    [grant] = await acquire(bus, [META], "one")
    assert isinstance(grant, Grant)
    worker = PartitionRunner(bus, "0", 1, 60 * MINUTE, Watch(), tally=tally)
    await worker.start(grant, lost.append)
    await bus.client.hset(META, "token", "another")
    await bus.client.hset(META, "pos", "9-9")
    now = bus.clock.now_ms()
    await beats(bus, "a", range(now, now + 1))
    await until(lambda: lost)
    await worker.stop()
    assert (told(tally)["commits_total", "0"], told(tally)["events_total", "0"]) == (1, 0)


async def test_lost_duties_are_counted(bus: Bus) -> None:
    work, tally, stop = Work(), Tally(), asyncio.Event()
    bus.failure = asyncio.get_running_loop().create_future()
    makers = {key: lambda key=key: SmallDuty(work, key) for key in KEYS}
    task = asyncio.create_task(own(bus, [makers], stop, tally))
    await work.until(dict.fromkeys(KEYS, 1))
    work.lose[KEYS[0]]("first")
    await work.until({KEYS[0]: 2, KEYS[1]: 1, KEYS[2]: 1})
    stop.set()
    await task
    assert told(tally)["losses_total",] == 1
