from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.dirty import DirtyKeys, Expiries


def test_keys_are_taken_once_and_in_order() -> None:
    dirty = DirtyKeys()
    for key in (b"b", b"a", b"b", b"c"):
        dirty.add(key)
    assert dirty.take(2) == [b"b", b"a"]
    assert dirty.take(2) == [b"c"]


def test_too_many_keys_are_dropped_and_ask_for_a_scan() -> None:
    dirty = DirtyKeys(max_keys=2)
    for key in (b"a", b"b", b"c", b"d"):
        dirty.add(key)
    assert (len(dirty), dirty.overflowed) == (0, True)


def test_too_long_keys_are_dropped_and_ask_for_a_scan() -> None:
    dirty = DirtyKeys(max_bytes=10)
    dirty.add(b"x" * 11)
    assert (len(dirty), dirty.overflowed) == (0, True)


def test_taken_keys_leave_room_again() -> None:
    dirty = DirtyKeys(max_bytes=10)
    for _ in range(5):
        dirty.add(b"x" * 9)
        dirty.take(1)
    assert not dirty.overflowed


def test_clearing_ends_an_overflow() -> None:
    dirty = DirtyKeys(max_keys=0)
    dirty.add(b"a")
    dirty.clear()
    assert not dirty.overflowed


def test_a_key_is_due_at_its_time_and_once() -> None:
    expiries = Expiries()
    expiries.put(b"a", 100)
    assert expiries.pop_due(99) == []
    assert expiries.pop_due(100) == [b"a"]
    assert expiries.pop_due(200) == []


def test_a_refreshed_key_is_due_at_its_new_time_only() -> None:
    expiries = Expiries()
    expiries.put(b"a", 100)
    expiries.put(b"a", 300)
    assert expiries.next_deadline() == 300
    assert expiries.pop_due(200) == []
    assert expiries.pop_due(300) == [b"a"]


def test_a_key_that_never_ends_is_never_due() -> None:
    expiries = Expiries()
    expiries.put(b"a", 100)
    expiries.put(b"a", None)
    assert expiries.next_deadline() is None


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 1000)), max_size=400))
def test_the_deadline_is_that_of_the_first_key_and_memory_is_bounded(puts: list[tuple[bytes, int | None]]) -> None:
    expiries = Expiries()
    model: dict[bytes, int] = {}
    for key, due in puts:
        expiries.put(key, due)
        if due is None:
            model.pop(key, None)
        else:
            model[key] = due
    assert len(expiries._heap) <= 2 * 3 + 64 + 1
    assert expiries.next_deadline() == min(model.values(), default=None)
    assert set(expiries.pop_due(1000)) == set(model)
