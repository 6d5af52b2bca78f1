"""What a gateway tells a Prometheus: the values of both halves, the partitions and the bus, its clients.

Bound: the bus is asked by one at a time, for three seconds at most, and not again for five once it has answered.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from redis.exceptions import ResponseError

from processors.gateway.conversation import Services
from processors.gateway.pipeline import Pipeline
from processors.gateway.state import State
from processors.gateway.values import read_values
from processors.runtime.connection import BUS_FAILURES
from processors.runtime.logging import get_logger
from processors.runtime.metrics import Sample, counter, gauge, histogram
from schemas.answers import PipelineAnswer

__all__ = ["KEPT_S", "WITHIN_S", "GatewayMetrics"]

KEPT_S: Final = 5.0
"""How old what the bus said may be, seconds."""

WITHIN_S: Final = 3.0
"""How long it may take to say it, seconds: a scrape has ten by default."""

_BUS_UP: Final = gauge("bus_up", "1 if the bus answers, else 0")
_BUS_MEMORY: Final = gauge("bus_memory_bytes", "memory that the bus's servers use")
_BUS_MAX_MEMORY: Final = gauge("bus_max_memory_bytes", "memory that they may use; absent without a limit")
_BUS_FULLEST: Final = gauge("bus_fullest_ratio", "how full the fullest server is; absent without a limit")
_DEAD_LETTERS: Final = gauge("dead_letters", "dead letters that are kept now")

_OWNED: Final = gauge("partition_owned", "1 if an aggregator works the partition, else 0", "partition")
_LAG: Final = gauge("partition_lag_seconds", "how long the oldest entry that waits has waited", "partition")
_WAITING: Final = gauge("partition_waiting_entries", "entries that wait, counted up to 100", "partition")
_FENCED: Final = counter("partition_fenced_commits_total", "commits of old owners that were refused", "partition")

_CLIENTS: Final = gauge("gateway_clients", "connections that stay and are open", "path")
_CONNECTIONS: Final = counter("gateway_connections_total", "connections that stay, those that have ended too", "path")
_FRAMES: Final = counter("gateway_frames_total", "writes to clients; frames that go together are one")
_SENT: Final = counter("gateway_sent_bytes_total", "bytes of what was written to clients")
_SKIPPED: Final = counter("gateway_skipped_total", "frames that slow clients did not get: a newer one stands for them")
_RESETS: Final = counter("gateway_resets_total", "clients that came back and had to begin a channel anew")
_BEHIND: Final = gauge("gateway_clients_behind", "clients that have not read yet what was sent to them")
_CLOSES: Final = counter("gateway_closes_total", "connections that the gateway closed, by close code", "code")
_REQUESTS: Final = counter("gateway_requests_total", "answers, by the class of their status", "status")
_REFUSALS: Final = counter("gateway_refusals_total", "requests that were refused, by why", "reason")
_DELAY: Final = histogram("gateway_frame_delay_seconds", "from a commit on the bus to its frame, if not held back")

_logger = get_logger("gateway")


class GatewayMetrics:
    """Reads them. `clients` tells those of each path, `behind` how many of them are."""

    def __init__(
        self,
        state: State,
        services: Services,
        pipeline: Pipeline,
        clients: Callable[[], Mapping[str, int]],
        behind: Callable[[], int],
    ) -> None:
        self._state = state
        self._services = services
        self._pipeline = pipeline
        self._clients = clients
        self._behind = behind
        # Whether the bus answered when it was asked last, and what it said; None if that cannot be read.
        self._answers = False
        self._seen: PipelineAnswer | None = None

    async def ask(self) -> None:
        """Ask the bus. Cancellation: safe."""
        try:
            self._seen, self._answers = await self._pipeline.newest(WITHIN_S, KEPT_S), True
        except BUS_FAILURES as error:
            # A server in which a foreign hand made one key unreadable answers all the same.
            self._seen, self._answers = None, isinstance(error, ResponseError)
            _logger.debug("the bus tells nothing of its partitions: %s", error)

    def read(self) -> Iterator[Sample]:
        """All of them."""
        yield from read_values(self._state, self._services.clock.now_ms())
        seen = self._seen if self._state.bus_answers else None
        yield _BUS_UP.of(self._answers and self._state.bus_answers)
        if seen is not None:
            yield from _bus(seen)
        traffic = self._services.hub.traffic
        for path, count in self._clients().items():
            yield _CLIENTS.of(count, path)
            yield _CONNECTIONS.of(traffic.connections[path], path)
        yield _FRAMES.of(traffic.frames)
        yield _SENT.of(traffic.sent_bytes)
        yield _SKIPPED.of(traffic.skipped)
        yield _RESETS.of(traffic.resets)
        yield _BEHIND.of(self._behind())
        yield from (_CLOSES.of(count, code) for code, count in traffic.closes.items())
        yield from (_REQUESTS.of(count, status) for status, count in traffic.requests.items())
        yield from (_REFUSALS.of(count, reason) for reason, count in self._services.gate.refusals.items())
        yield _DELAY.of(traffic.frame_delay)


def _bus(seen: PipelineAnswer) -> Iterator[Sample]:
    yield _BUS_MEMORY.of(seen.used_bytes)
    if seen.most_bytes:
        yield _BUS_MAX_MEMORY.of(seen.most_bytes)
    if seen.fullest is not None:
        yield _BUS_FULLEST.of(seen.fullest)
    yield _DEAD_LETTERS.of(seen.dead)
    for partition in seen.partitions:
        yield _OWNED.of(partition.owner is not None, partition.name)
        yield _LAG.of(partition.lag_ms / 1_000, partition.name)
        yield _WAITING.of(partition.lag_entries, partition.name)
        yield _FENCED.of(partition.fenced, partition.name)
