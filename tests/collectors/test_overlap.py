from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.overlap import (
    CHANGED,
    GONE,
    HEADS,
    MAX_SEEN,
    REPEATED,
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


def gone(items: list[bytes]) -> ListPosition:
    """The list was seen with these items, and then seen to be gone."""
    return position_at(0, 0, [], 0, whole(items).heads)


def settle(position: ListPosition, items: list[bytes], count: int = 4) -> Alignment:
    """Ask with ever more items seen, as the reader does."""
    while True:
        found = align(position, items[:count], len(items), whole=count >= len(items))
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


def test_a_list_trimmed_to_a_constant_length_is_aligned_by_its_items() -> None:
    old = digests(*range(100))
    assert settle(whole(old), (digests("x", "y", "z") + old)[:100]) == Alignment(3)


def test_the_newest_item_pushed_again_to_a_list_of_constant_length_is_new() -> None:
    old = digests(*range(100))
    assert settle(whole(old), [old[0], *old[:99]]) == Alignment(1)


def test_the_newest_items_pushed_again_as_a_batch_are_new() -> None:
    old = digests(*range(100))
    assert settle(whole(old), [*old[:20], *old[:80]]) == Alignment(20)


def test_one_remembered_item_at_the_tail_is_enough() -> None:
    old = digests(*range(10))
    assert settle(whole(old), [*digests(*"abcd"), old[0]]) == Alignment(4)


def test_equal_items_without_end_are_counted_by_the_length_and_unsure() -> None:
    old = digests(*["same"] * 40)
    assert settle(whole(old), digests(*["same"] * 43)) == Alignment(3, REPEATED)


def test_remembered_items_that_repeat_themselves_are_looked_for_once_more() -> None:
    old = digests(*"ab" * 16, *range(10))
    new = digests(*"ab" * 8)
    assert settle(whole(old), new + old[:26]) == Alignment(0, REPEATED)
    assert settle(whole(old), new + old) == Alignment(16)


def test_a_list_that_was_deleted_and_begun_again_is_all_new_and_unsure() -> None:
    assert settle(whole(digests(*range(10))), digests("x", "y")) == Alignment(2, GONE)


def test_a_list_that_was_seen_to_be_gone_and_begun_again_is_all_new() -> None:
    assert settle(gone(digests(*range(10))), digests("x", "y")) == Alignment(2)


@pytest.mark.parametrize("size", [1, 10, 100])
def test_a_list_that_was_seen_to_be_gone_and_came_back_has_its_new_items_only(size: int) -> None:
    old = digests(*range(size))
    assert settle(gone(old), old) == Alignment(0)
    assert settle(gone(old), digests("x", "y") + old) == Alignment(2)


def test_what_was_remembered_before_a_short_list_is_still_known() -> None:
    old = digests(*range(40))
    short = position_at(0, 41, digests("x"), 1, whole(old).heads)
    assert short.heads == (*digests("x"), *old[: HEADS - 1])
    assert settle(short, digests("y", "x")) == Alignment(1)
    assert settle(short, old) == Alignment(0, CHANGED)


def test_of_a_list_that_was_emptied_nobody_knows_what_was_pushed_before() -> None:
    old = digests(*range(10))
    assert settle(whole(old), []) == Alignment(0, GONE)
    assert settle(gone(old), []) == Alignment(0)


def test_an_item_removed_from_the_midst_does_not_make_the_rest_new() -> None:
    old = digests(*range(1_000))
    assert settle(whole(old), [*digests("x"), *old[:3], *old[4:]]) == Alignment(1, CHANGED)


def test_of_two_runs_of_remembered_items_the_longest_is_taken() -> None:
    old = digests(*range(20))
    # The first new item equals a remembered one, and the newest two remembered ones were taken away.
    assert settle(whole(old), [old[5], *digests("x"), *old[2:]]) == Alignment(2, CHANGED)


def test_items_added_at_the_tail_are_not_new() -> None:
    old = digests(*range(50))
    assert settle(whole(old), old + digests("t")) == Alignment(0, CHANGED)


def test_a_change_far_from_the_end_of_a_long_list_is_found_without_reading_all_of_it() -> None:
    old = digests(*range(1_000))
    seen = [*old[:3], *old[4:100]]
    assert align(whole(old), seen, 999, whole=False) == Alignment(0, CHANGED)


def test_what_no_longer_can_be_seen_is_told_as_unsure() -> None:
    seen = digests(*range(100))
    assert align(EMPTY, seen, 105, whole=True) == Alignment(100, GONE)
    assert align(whole(digests("old")), seen, 105, whole=True) == Alignment(100, GONE)


def test_the_search_for_the_place_takes_few_steps() -> None:
    seen = digests(*range(MAX_SEEN))
    steps, count = 0, 48
    while need := align(whole(digests("old")), seen[:count], 1, whole=count >= MAX_SEEN).need:
        steps, count = steps + 1, need
    assert steps < 60


def test_of_a_large_item_the_length_and_both_ends_count() -> None:
    large = b"a" * 1_000_000
    others = [b"b" + large[1:], large[1:] + b"b", large + b"a"]
    assert item_digest(large) not in map(item_digest, others)
    assert item_digest(large) == item_digest(large[:500_000] + b"b" + large[500_001:])


def test_a_position_survives_its_text() -> None:
    position = ListPosition(7, 40, tuple(digests(*range(HEADS))))
    assert decode_cursor(encode_cursor(position, "me-1")) == position


def test_a_cursor_of_an_earlier_release_is_read() -> None:
    text = '{"n":2,"len":2,"heads":["AAAAAAAAAAA=","AQEBAQEBAQE="],"by":"0badcafe-1"}'
    assert decode_cursor(text) == ListPosition(2, 2, (bytes(8), b"\1" * 8))


def test_two_writers_have_different_texts() -> None:
    assert encode_cursor(EMPTY, "me-1") != encode_cursor(EMPTY, "me-2")


@given(st.text(max_size=60) | st.sampled_from(['{"n":1,"len":2,"heads":["?"]}', "[]", "5"]))
def test_a_foreign_text_is_no_position(text: str) -> None:
    assert decode_cursor(text) is None


class Model:
    """A list as ARK has it, a reader of it that may die at any item, and what each item truly is.

    An item is the number of its push; `letters` says what its text is, and equal texts make equal items.
    """

    def __init__(self) -> None:
        self.items: list[int] = []
        self.letters: list[object] = []
        self.published: list[int] = []
        # Items that left the list before they were published.
        self.lost: set[int] = set()
        # The list while it is renamed, and how many items were pushed since.
        self.away: list[int] | None = None
        self.since = 0
        self.position = EMPTY

    def push(self, count: int, letter: object = None) -> None:
        for _ in range(count):
            number = len(self.letters)
            self.letters.append(number if letter is None else letter)
            self.items.insert(0, number)
        self.since += count

    def trim(self, length: int) -> None:
        self.lost.update(set(self.items[length:]) - set(self.published))
        del self.items[length:]

    def delete(self, _: int) -> None:
        self.trim(0)

    def rename(self, _: int) -> None:
        """Rename the list away; or back over what is there, while its items are still remembered."""
        if self.away is None:
            self.away, self.items, self.since = self.items, [], 0
        elif self.since < HEADS // 2:
            self.trim(0)
            self.items, self.away = self.away, None

    def read(self, stop_after: int) -> Alignment:
        """Publish what is new, at most `stop_after` items of it. Returns what was found."""
        seen = digests(*(self.letters[number] for number in self.items))
        found = settle(self.position, seen)
        count = min(found.new, stop_after)
        self.published += reversed(self.items[found.new - count : found.new])
        self.position = position_at(found.new - count, self.position.n + count, seen, len(seen), self.position.heads)
        return found


def step(*names: str, most: int = 60) -> st.SearchStrategy[tuple[str, int]]:
    return st.tuples(st.sampled_from(names), st.integers(0, most))


def play(model: Model, steps: list[tuple[str, int]]) -> None:
    actions: dict[str, Callable[[int], object]] = {
        "push": model.push,
        "trim": model.trim,
        "delete": model.delete,
        "rename": model.rename,
        "kill": model.read,
        "read": lambda _: model.read(10_000),
    }
    for action, argument in steps:
        actions[action](argument)


@given(st.lists(step("push", "push", "trim", "kill", "read"), max_size=40))
def test_every_item_that_is_still_there_is_published_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    model = Model()
    play(model, [*steps, ("read", 0)])
    assert model.published == sorted(set(model.published)), "in order, none twice"
    assert set(range(len(model.letters))) - set(model.published) == model.lost
    assert model.position.n == len(model.published)


@given(st.lists(step("push", "push", "trim", "delete", "rename", "kill", "read"), max_size=40))
def test_a_list_that_goes_and_comes_back_is_published_once(steps: list[tuple[str, int]]) -> None:
    model = Model()
    play(model, [*steps, ("rename", 0), ("read", 0)])
    unread = {*(model.away or ()), *model.lost} - set(model.published)
    assert len(model.published) == len(set(model.published)), "none twice"
    assert set(range(len(model.letters))) - set(model.published) == unread


@given(st.lists(step("push", "push", "trim", "read"), max_size=30))
def test_whatever_was_lost_unread_is_told_as_unsure(steps: list[tuple[str, int]]) -> None:
    model = Model()
    for action in steps:
        known, lost = model.position.length, len(model.lost)
        play(model, [("push", 1), action])
        found = model.read(10_000)
        # Nobody can know what was in a list that is empty now, or was when it was last read.
        assert len(model.lost) == lost or found.doubt or not known or not model.items


letters = st.lists(st.tuples(st.sampled_from(["push", "trim", "read"]), st.integers(0, 40), st.sampled_from("aab")))


@given(letters)
def test_equal_items_are_counted_exactly_or_the_count_is_unsure(steps: list[tuple[str, int, str]]) -> None:
    model = Model()
    for action, argument, letter in [("push", 5, "a"), *steps, ("read", 0, "a")]:
        if action == "push":
            model.push(argument, letter)
        elif action == "trim":
            model.trim(argument)
        else:
            newest = model.published[-1] if model.published else None
            true = model.items.index(newest) if newest in model.items else None
            seen = digests(*(model.letters[number] for number in model.items))
            heads = list(model.position.heads)
            places = [index for index in range(len(seen)) if seen[index : index + HEADS] == heads]
            found = model.read(10_000)
            if true is not None and len(places) < 2 and not found.doubt:
                assert found.new == true
            # What is truly published goes on from here, whatever was counted.
            model.published = model.items[:1]
            model.position = model.position._replace(heads=tuple(seen[:HEADS]), length=len(seen))
