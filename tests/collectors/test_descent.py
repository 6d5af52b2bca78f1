import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.descent import Descent
from processors.collectors.overlap import HEADS, ListPosition, item_digest, position_at
from processors.collectors.sync_events import MAX_ITEM_BYTES, read_item
from schemas.events import Rejected

NOW = 1_700_000_000_000


def sync(number: int, padding: int = 0) -> bytes:
    return json.dumps({"source": "a", "target": "b", "bytes": number, "x": "x" * padding}).encode()


def read_piece(descent: Descent, items: list[bytes]) -> bool:
    first, last = descent.next_piece()
    return descent.add(items[first : last + 1], len(items), NOW)


def read_all(descent: Descent, items: list[bytes], meanwhile: Callable[[], None] = lambda: None) -> int:
    """Read to the end of the list. Returns in how many pieces."""
    pieces = 0
    while not descent.whole:
        assert read_piece(descent, items)
        meanwhile()
        pieces += 1
    return pieces


def digests(items: list[bytes]) -> list[bytes]:
    return [item_digest(item) for item in items]


def test_all_pieces_together_are_the_list() -> None:
    items = [sync(number) for number in range(1_000)]
    descent = Descent()
    read_all(descent, items)
    assert (descent.seen, descent.length, descent.first) == (digests(items), 1_000, 0)
    assert list(descent.units(1_000, 0)) == [read_item(item, NOW) for item in reversed(items)]


def test_the_events_between_two_items_are_the_oldest_first() -> None:
    items = [sync(number) for number in range(100)]
    descent = Descent()
    read_all(descent, items)
    assert list(descent.units(7, 5)) == [read_item(items[6], NOW), read_item(items[5], NOW)]


def test_a_reading_may_begin_further_down() -> None:
    items = [sync(number) for number in range(100)]
    descent = Descent(60)
    read_all(descent, items)
    assert (descent.seen, descent.length) == (digests(items[60:]), 40)


def test_a_familiar_list_needs_one_piece_for_a_few_new_items() -> None:
    items = [sync(number) for number in range(100)]
    descent = Descent(familiar=True)
    assert read_piece(descent, items)
    assert descent.align(position_at(16, 0, digests(items), 100)).new == 16


def test_an_empty_list_ends_at_once() -> None:
    descent = Descent()
    assert read_piece(descent, [])
    assert (descent.whole, descent.seen, descent.length) == (True, [], 0)


@pytest.mark.parametrize("familiar", [True, False])
@pytest.mark.parametrize("small", [0, 1, 40, 300])
def test_few_large_items_are_asked_for_at_once(familiar: bool, small: int) -> None:
    large = b"x" * (10 << 20)
    items = [sync(number) for number in range(small)] + [large] * 60
    descent, most = Descent(familiar=familiar), 0
    while not descent.whole:
        first, last = descent.next_piece()
        most = max(most, sum(len(item) for item in items[first : last + 1]))
        assert descent.add(items[first : last + 1], len(items), NOW)
    assert descent.large
    assert most <= (48 if familiar else 8) * len(large)
    assert len(descent.seen) == len(items)


def test_a_large_item_is_reduced_at_once() -> None:
    descent = Descent()
    assert read_piece(descent, [b"x" * (MAX_ITEM_BYTES + 1)])
    [[letter]] = descent.units(1, 0)
    assert isinstance(letter, Rejected)
    assert len(letter.excerpt) == 1_024


def test_of_too_many_items_the_older_are_held() -> None:
    items = [sync(number, 8_000) for number in range(10_000)]
    descent = Descent()
    read_all(descent, items)
    assert 0 < descent.first < 5_000
    [unit] = descent.units(descent.first + 1, descent.first)
    assert unit == read_item(items[descent.first], NOW)


def test_a_list_that_is_another_by_now_does_not_join() -> None:
    items = [sync(number) for number in range(100)]
    descent = Descent()
    assert read_piece(descent, items)
    assert not read_piece(descent, [sync(number) for number in range(100, 200)])


def test_a_list_that_grew_by_more_than_a_piece_is_followed() -> None:
    items = [sync(number) for number in range(100)]
    whole = digests(items)
    descent = Descent()
    assert read_piece(descent, items)
    items[:0] = [sync(number) for number in range(100, 1_000)]
    read_all(descent, items)
    assert descent.seen == whole


def test_a_list_that_is_gone_by_now_ends_with_what_was_read() -> None:
    descent = Descent()
    assert read_piece(descent, [sync(number) for number in range(100)])
    assert read_piece(descent, [])
    assert descent.whole


def test_items_taken_away_at_the_head_only_shift_the_pieces() -> None:
    items = [sync(number) for number in range(100)]
    whole = digests(items)
    descent = Descent(familiar=True)

    def take_newest() -> None:
        del items[0]

    read_all(descent, items, take_newest)
    assert descent.seen == whole


def test_equal_items_in_a_list_that_only_grows_are_sure() -> None:
    items = [sync(0)] * 500
    descent = Descent()
    read_all(descent, items, lambda: items.insert(0, sync(0)))
    assert (len(descent.seen), descent.unsure) == (500, False)


def test_equal_items_in_a_list_that_is_trimmed_meanwhile_are_unsure() -> None:
    items = [sync(0)] * 500 + [sync(number) for number in range(1, 100)]

    def push_and_trim() -> None:
        items[:] = [sync(0), *items[:-1]]

    descent = Descent()
    read_all(descent, items, push_and_trim)
    assert descent.unsure


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 30)), max_size=60), st.booleans(), st.integers(0, 400))
def test_pushes_and_trims_between_two_pieces_only_shift_them(
    changes: list[tuple[int, int]], familiar: bool, size: int
) -> None:
    """What is seen is the list at the first piece, less what was trimmed away before it was read."""
    items = [sync(number) for number in range(size)]
    whole = digests(items)
    numbers = iter(range(size, 1_000_000))
    pending = iter(changes)

    def meanwhile() -> None:
        pushed, trimmed = next(pending, (0, 0))
        for _ in range(pushed):
            items.insert(0, sync(next(numbers)))
        del items[max(0, len(items) - trimmed) :]

    descent = Descent(familiar=familiar)
    while not descent.whole:
        if not read_piece(descent, items):
            return  # too much happened at once: it is to begin again
        meanwhile()
    assert descent.seen == whole[: len(descent.seen)]
    assert descent.length == size
    assert not descent.unsure


def test_a_place_is_found_among_what_was_seen() -> None:
    items = [sync(number) for number in range(300)]
    descent = Descent()
    read_all(descent, items)
    place = ListPosition(0, 100, tuple(digests(items[200 : 200 + HEADS])))
    assert descent.align(place).new == 200
