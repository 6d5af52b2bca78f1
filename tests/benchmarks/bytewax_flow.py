"""Bytewax's 60 s / 1 s sliding window over the events, timed. Runs in an environment of its own; see `bytewax`.

One worker; windows by the events' own times, for each peer a count of events and a sum of bytes. No event is late, so
that each is folded into sixty windows. What comes out is counted, and dropped.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# It is not a dependency of the project: only the environment of its own has it.
import bytewax.operators as op  # type: ignore[import-not-found]
from bytewax.dataflow import Dataflow  # type: ignore[import-not-found]
from bytewax.operators.windowing import EventClock, SlidingWindower, fold_window  # type: ignore[import-not-found]
from bytewax.outputs import DynamicSink, StatelessSinkPartition  # type: ignore[import-not-found]
from bytewax.testing import TestingSource, run_main  # type: ignore[import-not-found]

from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, Event, SyncOut, subject
from tests.benchmarks.events import make_events

_LENGTH: Final = timedelta(seconds=60)
_OFFSET: Final = timedelta(seconds=1)
_ALIGN_TO: Final = datetime(2026, 1, 1, tzinfo=UTC)

Item = tuple[str, tuple[datetime, int]]
Sums = list[int]


class _Counted(StatelessSinkPartition):  # type: ignore[misc]  # its base is unknown here
    """Counts what comes."""

    count = 0

    def write_batch(self, items: list[Any]) -> None:
        type(self).count += len(items)


class _Late(_Counted):
    count = 0


class _Sink(DynamicSink):  # type: ignore[misc]  # its base is unknown here
    def __init__(self, partition: Callable[[], _Counted]) -> None:
        self._partition = partition

    def build(self, *_: object) -> _Counted:
        return self._partition()


def _item(event: Event) -> Item:
    size = event.bytes if isinstance(event, SyncOut) else 0
    return subject(event), (datetime.fromtimestamp(event.ts / 1_000, UTC), size)


def _items(body: bytes) -> list[Item]:
    return [_item(event) for event in codec.decode_events({b"v": b"1", b"d": body}).events]


def _fold(sums: Sums, value: tuple[datetime, int]) -> Sums:
    sums[0] += 1
    sums[1] += value[1]
    return sums


def _merge(one: Sums, other: Sums) -> Sums:
    return [one[0] + other[0], one[1] + other[1]]


def _flow(events: list[Event], *, decoded: bool) -> Dataflow:
    """The flow over decoded events, or over the JSON of full batches."""
    flow = Dataflow("peers")
    if decoded:
        up = op.input("events", flow, TestingSource([_item(event) for event in events], batch_size=1_000))
    else:
        starts = range(0, len(events), MAX_BATCH_EVENTS)
        bodies = [codec.encode(events[start : start + MAX_BATCH_EVENTS]) for start in starts]
        up = op.flat_map("decode", op.input("bodies", flow, TestingSource(bodies, batch_size=4)), _items)
    # Its watermark would go with the wall clock too: a slow run would leave out what is late, and be fast.
    clock = EventClock(lambda value: value[0], timedelta(0), lambda: _ALIGN_TO, lambda _: None)
    windower = SlidingWindower(length=_LENGTH, offset=_OFFSET, align_to=_ALIGN_TO)
    # Sums need no order, and without it nothing is put in a queue first.
    windows = fold_window("sums", up, clock, windower, lambda: [0, 0], _fold, _merge, ordered=False)
    op.output("windows", windows.down, _Sink(_Counted))
    op.output("late", windows.late, _Sink(_Late))
    return flow


def main() -> None:
    """Print seconds of one run: `python -m tests.benchmarks.bytewax_flow decoded|json <peers> <all> <first>`."""
    form, peers, count, first = sys.argv[1], *map(int, sys.argv[2:])
    events = make_events(peers, count, int(time.time() * 1_000))[:first]
    flow = _flow(events, decoded=form == "decoded")
    began = time.perf_counter()
    run_main(flow)
    took_s = time.perf_counter() - began
    assert _Counted.count > 0, "no window came out"
    assert _Late.count == 0, f"{_Late.count} events were late"
    print(took_s)


if __name__ == "__main__":
    main()
