"""What one collector has done since its start, and how its source is: counted, and told to a Prometheus."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from processors.runtime.metrics import Histogram, Sample, counter, gauge, histogram

__all__ = ["Tally"]

_STATE: Final = gauge("collector_state", "1 of the state that a source is in, else 0", "collector", "state")
_PUBLISHED: Final = counter("collector_published_events_total", "events that were published", "collector")
_TOOK: Final = histogram("collector_publish_seconds", "how long a batch takes until the bus has it", "collector")
_REFUSED: Final = counter("collector_publish_refusals_total", "tries to publish that failed", "collector", "reason")
_REJECTED: Final = counter("collector_rejected_items_total", "items of the source that could not be used", "collector")

_STATES: Final = ("live", "stale", "simulated", "down", "standing_by")


class Tally:
    """Of one collector."""

    def __init__(self) -> None:
        # How long each batch took that the bus took.
        self.took = Histogram()
        # Why others were not taken: the bus is full, another collector was there, or the bus fails.
        self.refusals: Counter[str] = Counter({"full": 0, "conflict": 0, "bus": 0})

    def read(self, collector: str, state: str | None, published: int, rejected: int) -> Iterator[Sample]:
        """All of it, and how many events were published and inputs rejected; `state` None: there is none yet."""
        yield from (_STATE.of(each == state, collector, each) for each in _STATES)
        yield _PUBLISHED.of(published, collector)
        yield _REJECTED.of(rejected, collector)
        yield _TOOK.of(self.took, collector)
        yield from (_REFUSED.of(count, collector, reason) for reason, count in self.refusals.items())
