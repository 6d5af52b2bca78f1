"""What an aggregators' process has done since its start, and what it holds: counted, and told to a Prometheus."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from processors.aggregators.partition import Partition
from processors.runtime.metrics import Histogram, Sample, counter, gauge, histogram

__all__ = ["Tally"]

_PARTITIONS: Final = gauge("aggregator_partitions", "partitions that this process works")
_EVENTS: Final = counter("aggregator_events_total", "events that were folded and committed", "partition")
_COMMITS: Final = counter("aggregator_commits_total", "commits", "partition")
_COMMIT: Final = histogram("aggregator_commit_seconds", "how long a commit takes, with its way to the bus and back")
_DELAY: Final = histogram("aggregator_commit_delay_seconds", "from the id of a commit's newest entry to its end")
_LOSSES: Final = counter("aggregator_losses_total", "duties that were lost: to another owner, or with the bus")
_PEERS: Final = gauge("aggregator_peers", "peers that a partition of this process knows", "partition")


class Tally:
    """Of all partitions, those that were lost too."""

    def __init__(self) -> None:
        # The partitions that are worked now, by name.
        self.partitions: dict[str, Partition] = {}
        # By partition.
        self._events: Counter[str] = Counter()
        self._commits: Counter[str] = Counter()
        self._took = Histogram()
        self._delay = Histogram()
        # Duties that were lost.
        self.losses = 0

    def count(self, partition: str, events: int, took_s: float, delay_ms: int | None) -> None:
        """Count one commit. `delay_ms`: how old its newest entry is, None: time alone had it made."""
        self._events[partition] += events
        self._commits[partition] += 1
        self._took.observe(took_s)
        if delay_ms is not None:
            self._delay.observe(delay_ms / 1_000)

    def read(self) -> Iterator[Sample]:
        """All of it."""
        yield _PARTITIONS.of(len(self.partitions))
        for name, count in self._commits.items():
            yield _COMMITS.of(count, name)
            yield _EVENTS.of(self._events[name], name)
        for name, partition in self.partitions.items():
            yield _PEERS.of(partition.peers, name)
        yield _COMMIT.of(self._took)
        yield _DELAY.of(self._delay)
        yield _LOSSES.of(self.losses)
