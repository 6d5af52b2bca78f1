"""How far a table was read, through late rows and replaced files."""

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from processors.collectors.row_log import MAX_HOLES, RowLog, Seen, advance, begin, relate

MANY = 5_000


def rows(*ids: int, digest: int = 7) -> list[Seen]:
    return [Seen(each, digest) for each in ids]


def test_ids_that_were_left_out_are_holes() -> None:
    log = advance(RowLog(), rows(2, 3, 7))
    assert log.top == 7
    assert log.holes == ((1, 1), (4, 6))


def test_a_row_that_comes_late_leaves_the_rest_of_its_hole() -> None:
    log = advance(RowLog(), rows(10))
    assert advance(log, rows(4)).holes == ((1, 3), (5, 9))
    assert advance(advance(log, rows(4)), rows(1, 9)).holes == ((2, 3), (5, 8))


def test_the_lowest_holes_are_forgotten_first() -> None:
    log = advance(RowLog(), rows(*range(2, 4 * MAX_HOLES, 2)))
    assert len(log.holes) == MAX_HOLES
    assert log.holes[-1] == (4 * MAX_HOLES - 3, 4 * MAX_HOLES - 3)


def test_what_is_remembered_of_a_long_table_is_short_and_reaches_far_back() -> None:
    log = RowLog()
    for start in range(1, MANY, 100):
        log = advance(log, [Seen(each, crc32(b"%d" % each)) for each in range(start, start + 100)])
    assert len(log.marks) < 40
    assert log.marks[0].id == MANY
    assert log.marks[-1].id < MANY - 1_000


@given(st.lists(st.integers(1, 60), unique=True, min_size=1), st.data())
def test_every_id_is_above_the_top_or_in_a_hole_until_it_was_read(ids: list[int], data: st.DataObject) -> None:
    log = RowLog()
    for size in (len(ids) // 2, len(ids)):
        log = advance(log, rows(*sorted(set(ids[:size]) - covered(log))))
        assert covered(log) == set(ids[:size])


def covered(log: RowLog) -> set[int]:
    return {each for each in range(1, log.top + 1) if not any(first <= each <= last for first, last in log.holes)}


def test_the_same_file_is_gone_on_with_although_its_newest_rows_were_deleted() -> None:
    log = advance(RowLog(), rows(1, 2, 3))
    assert relate(log, 3, {1: 7}, same_file=True).log == log


def test_a_copy_of_the_file_is_gone_on_with() -> None:
    log = advance(RowLog(), rows(1, 2, 3))
    assert relate(log, 5, {1: 7, 2: 7, 3: 7}, same_file=False) == (log, False)


def test_an_older_copy_is_gone_on_with_where_it_ends() -> None:
    log = advance(RowLog(), rows(1, 2, 3, 5))
    older, ambiguous = relate(log, 2, {1: 7, 2: 7}, same_file=False)
    assert older == RowLog(2, 0, (), tuple(rows(2, 1)))
    assert not ambiguous


def test_an_older_copy_that_was_written_to_since_is_ambiguous() -> None:
    log = advance(RowLog(), rows(1, 2, 3))
    older, ambiguous = relate(log, 4, {1: 7, 2: 7, 3: 8}, same_file=False)
    assert older is not None
    assert older.top == 2
    assert ambiguous


def test_another_database_is_read_from_its_beginning() -> None:
    log = advance(RowLog(), rows(1, 2, 3))
    assert relate(log, 9, {1: 8, 2: 8, 3: 8}, same_file=False).log is None
    assert relate(log, 0, {}, same_file=True).log is None


def test_a_new_file_with_the_number_of_the_removed_one_is_read_from_its_beginning() -> None:
    log = advance(RowLog(), rows(1, 2, 3))
    assert relate(log, 9, {1: 8, 2: 8, 3: 8}, same_file=True).log is None
    assert relate(log, 9, {}, same_file=True).log == log


def test_a_table_of_which_nothing_was_read_is_gone_on_with() -> None:
    assert relate(RowLog(), 9, {}, same_file=False).log == RowLog()


def test_a_beginning_remembers_what_was_before_it() -> None:
    log = begin(2, rows(2, 1), old=9)
    assert log == RowLog(2, 9, (), tuple(rows(2, 1)))
