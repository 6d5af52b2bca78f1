from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.overlap import (
    HEADS,
    MAX_SLICE,
    Alignment,
    ListPosition,
    align,
    decode_cursor,
    encode_cursor,
    item_digest,
    position_at,
)

EMPTY = ListPosition(0, 0, ())


def digests(*names: object) -> list[bytes]:
    return [item_digest(str(name).encode()) for name in names]


def whole(items: list[bytes], n: int = 0) -> ListPosition:
    return position_at(0, n, items, len(items))


def settle(position: ListPosition, items: list[bytes], count: int = 4) -> Alignment:
    """Ask with ever longer slices, as the reader does."""
    while True:
        found = align(position, items[:count], len(items))
        if not found.need:
            return found
        assert found.need > count
        count = found.need


def test_growth_of_the_list_is_what_is_new() -> None:
    old = digests(*range(5))
    assert settle(whole(old), digests("x", "y") + old) == Alignment(2)


def test_nothing_new_is_found_as_nothing() -> None:
    old = digests(*range(50))
    assert settle(whole(old), old) == Alignment(0)


def test_all_of_a_list_that_was_empty_is_new() -> None:
    assert settle(EMPTY, digests(*range(100))) == Alignment(100)


def test_the_same_item_again_is_told_by_the_length() -> None:
    old = digests(*["same"] * 40)
    assert settle(whole(old), digests(*["same"] * 43)) == Alignment(3)


def test_a_list_trimmed_to_a_constant_length_is_aligned_by_its_items() -> None:
    old = digests(*range(100))
    assert settle(whole(old), (digests("x", "y", "z") + old)[:100]) == Alignment(3)


def test_one_remembered_item_at_the_tail_is_enough() -> None:
    old = digests(*range(10))
    assert settle(whole(old), [*digests(*"abcd"), old[0]]) == Alignment(4)


def test_a_list_that_was_deleted_and_begun_again_is_all_new_and_unsure() -> None:
    assert settle(whole(digests(*range(10))), digests("x", "y")) == Alignment(2, ambiguous=True)


def test_a_list_that_was_emptied_has_nothing_new() -> None:
    assert settle(whole(digests(*range(10))), []) == Alignment(0)


def test_an_item_removed_from_the_middle_does_not_make_the_rest_new() -> None:
    old = digests(*range(1_000))
    assert settle(whole(old), [*digests("x"), *old[:3], *old[4:]]) == Alignment(1, ambiguous=True)


def test_items_added_at_the_tail_are_not_new() -> None:
    old = digests(*range(50))
    assert settle(whole(old), old + digests("t")) == Alignment(0, ambiguous=True)


def test_no_more_than_the_largest_slice_is_read_and_the_rest_is_told_as_unsure() -> None:
    seen = digests(*range(MAX_SLICE))
    assert align(EMPTY, seen, MAX_SLICE + 5) == Alignment(MAX_SLICE, ambiguous=True)
    assert align(whole(digests("old")), seen, MAX_SLICE + 5) == Alignment(MAX_SLICE, ambiguous=True)


def test_a_position_survives_its_text() -> None:
    position = ListPosition(7, 40, tuple(digests(*range(HEADS))))
    assert decode_cursor(encode_cursor(position, "me-1")) == position


def test_two_writers_have_different_texts() -> None:
    assert encode_cursor(EMPTY, "me-1") != encode_cursor(EMPTY, "me-2")


@given(st.text(max_size=60) | st.sampled_from(['{"n":1,"len":2,"heads":["?"]}', "[]", "5"]))
def test_a_foreign_text_is_no_position(text: str) -> None:
    assert decode_cursor(text) is None


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 60)),
        st.tuples(st.just("trim"), st.integers(1, 80)),
        st.tuples(st.just("read"), st.just(0)),
        st.tuples(st.just("kill"), st.integers(0, 60)),
    ),
    max_size=40,
)


@given(steps)
def test_every_item_that_is_still_there_is_published_once_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """A reader that may die after any number of items, against a list that is pushed to and trimmed."""
    items: list[bytes] = []
    names: dict[bytes, int] = {}
    published: list[int] = []
    position = EMPTY

    def read(stop_after: int | None) -> ListPosition:
        new = settle(position, items).new
        count = new if stop_after is None else min(new, stop_after)
        published.extend(names[items[new - 1 - index]] for index in range(count))
        return position_at(new - count, position.n + count, items[: new + HEADS], len(items))

    lost: set[int] = set()
    actions: dict[str, Callable[[int], None]] = {}

    def push(count: int) -> None:
        for _ in range(count):
            [item] = digests(len(names))
            names[item] = len(names)
            items.insert(0, item)

    def trim(length: int) -> None:
        lost.update(names[item] for item in items[length:])
        del items[length:]

    actions = {"push": push, "trim": trim}
    for action, argument in [*steps, ("read", 0)]:
        if action in actions:
            actions[action](argument)
        else:
            position = read(None if action == "read" else argument)
    assert published == sorted(set(published)), "in order, none twice"
    assert set(names.values()) - set(published) <= lost, "only what was trimmed before it was read is missing"
    assert position.n == len(published)
