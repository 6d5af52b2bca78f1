"""Cutting what a source gave into batches that fit into one stream entry."""

from collections.abc import Iterable, Iterator
from typing import Final

from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, Event

__all__ = ["MAX_BATCH_BYTES", "Batches", "cut"]

MAX_BATCH_BYTES: Final = codec.MAX_BODY // 2
"""Most bytes of the events of one batch: a reader refuses a larger body than `MAX_BODY` as a whole."""

Batches = Iterator[tuple[int, list[Event]]]


def cut(units: Iterable[tuple[Event, ...]]) -> Batches:
    """Batches of whole units: how many units, and their events. A unit is small: what one key or one item gave."""
    count, size = 0, 0
    events: list[Event] = []
    for unit in units:
        weight = sum(len(codec.encode(event)) + 1 for event in unit)
        if count and (len(events) + len(unit) > MAX_BATCH_EVENTS or size + weight > MAX_BATCH_BYTES):
            yield count, events
            count, size, events = 0, 0, []
        count += 1
        size += weight
        events.extend(unit)
    if count:
        yield count, events
