import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from processors.collectors.code_memory import TABLES, MirrorRow, Totals
from processors.collectors.code_mirror import Mirror
from processors.collectors.sweep import FIRST_ROWID, LAST_ROWID


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror(TABLES[0].weigh)
    made.replace_range(FIRST_ROWID, LAST_ROWID, [(1, 11, 5, 100), (2, 12, 6, 100), (4, 14, 7, 200), (5, None, 1, None)])
    made.index()
    yield made
    made.close()


def state(mirror: Mirror) -> tuple[object, ...]:
    return (mirror.totals["usage"], mirror.distinct, mirror.count, mirror.top)


def test_it_knows_the_sums_of_what_it_was_filled_with(mirror: Mirror) -> None:
    assert state(mirror) == (19, 2, 4, 5)


def test_what_is_as_before_is_no_news(mirror: Mirror) -> None:
    assert not mirror.replace_range(2, 4, [(2, 12, 6, 100), (4, 14, 7, 200)])
    assert state(mirror) == (19, 2, 4, 5)


def test_a_row_that_is_gone_takes_its_part_with_it_only_if_it_was_the_last(mirror: Mirror) -> None:
    assert mirror.replace_range(1, 1, [])
    assert state(mirror) == (14, 2, 3, 5)
    assert mirror.replace_range(2, 2, [])
    assert state(mirror) == (8, 1, 2, 5)


def test_a_row_that_changed_counts_for_what_it_is_now(mirror: Mirror) -> None:
    assert mirror.replace_rows([4, 3], [(4, 14, 8, 300)])
    assert state(mirror) == (20, 2, 4, 5)


def test_a_key_that_comes_again_was_replaced_where_it_was(mirror: Mirror) -> None:
    assert mirror.replace_range(6, LAST_ROWID, [(6, 12, 1, 400)])
    assert state(mirror) == (14, 3, 4, 6)


def test_rows_without_a_key_replace_none(mirror: Mirror) -> None:
    assert mirror.replace_range(6, LAST_ROWID, [(6, None, 1, None)])
    assert state(mirror) == (20, 2, 5, 6)


def test_rows_that_swap_their_keys_are_both_kept(mirror: Mirror) -> None:
    assert mirror.replace_range(1, 2, [(1, 12, 5, 100), (2, 11, 6, 100)])
    assert state(mirror) == (19, 2, 4, 5)


def test_an_emptied_table_leaves_nothing(mirror: Mirror) -> None:
    assert mirror.replace_range(FIRST_ROWID, LAST_ROWID, [])
    assert state(mirror) == (0, 0, 0, None)


def test_closing_waits_for_a_call_that_still_runs_and_later_ones_fail() -> None:
    working, closing = Event(), Event()

    def weigh(rows: Sequence[MirrorRow]) -> Totals:
        working.set()
        assert closing.wait(5)
        return {}

    mirror = Mirror(weigh)  # type: ignore[arg-type]  # it is given lists
    with ThreadPoolExecutor(2) as threads:
        call = threads.submit(mirror.replace_range, FIRST_ROWID, LAST_ROWID, [(1, 11, 5, 100)])
        assert working.wait(5)
        closed = threads.submit(mirror.close)
        assert not closed.done()
        closing.set()
        assert call.result(5)
        closed.result(5)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        mirror.replace_range(1, 1, [])
