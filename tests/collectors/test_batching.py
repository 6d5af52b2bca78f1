from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.batching import MAX_BATCH_BYTES, cut
from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, Event, PeerGone, Rejected


@given(st.lists(st.integers(0, 4), max_size=600))
def test_batches_hold_every_unit_whole_and_in_order(sizes: list[int]) -> None:
    units: list[tuple[Event, ...]] = [
        tuple(PeerGone(peer=f"{index}.{part}", ts=1) for part in range(size)) for index, size in enumerate(sizes)
    ]
    batches = list(cut(units))
    assert [event for _, events in batches for event in events] == [event for unit in units for event in unit]
    assert sum(count for count, _ in batches) == len(units)
    assert all(len(events) <= MAX_BATCH_EVENTS for _, events in batches)


def test_large_events_make_small_batches() -> None:
    letter = Rejected(ts=1, collector="c", reason="\u0001" * 256, excerpt="\u0001" * 1024)
    batches = list(cut([(letter,)] * 200))
    assert len(batches) > 1
    assert all(len(codec.encode(events)) <= MAX_BATCH_BYTES + 2 for _, events in batches)
