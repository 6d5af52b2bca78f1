from processors.collectors.sweep import FIRST_ROWID, LAST_ROWID, Sweep


def round_of(sweep: Sweep) -> None:
    sweep.begin(1.0)
    sweep.advance(10, 2.0)
    sweep.advance(LAST_ROWID, 4.0)


def test_a_table_is_known_after_its_first_round() -> None:
    sweep = Sweep()
    sweep.begin(1.0)
    sweep.advance(10, 2.0)
    assert (sweep.complete, sweep.pending, sweep.next_rowid) == (False, True, 11)
    sweep.advance(LAST_ROWID, 4.0)
    assert (sweep.complete, sweep.pending, sweep.next_rowid) == (True, False, FIRST_ROWID)
    assert sweep.took_s == 3


def test_a_change_before_a_round_is_known_when_it_ends() -> None:
    sweep = Sweep()
    round_of(sweep)
    sweep.note_change()
    assert sweep.pending
    round_of(sweep)
    assert not sweep.pending


def test_a_change_during_a_round_needs_another_one() -> None:
    sweep = Sweep()
    sweep.begin(1.0)
    sweep.advance(10, 2.0)
    sweep.note_change()
    sweep.advance(LAST_ROWID, 4.0)
    assert sweep.pending
    round_of(sweep)
    assert not sweep.pending
