from processors.gateway.pace import Pacer


def test_nothing_is_due_without_a_change() -> None:
    assert Pacer().next_deadline() is None


def test_the_first_change_is_due_after_a_moment_of_gathering() -> None:
    pacer = Pacer()
    pacer.note_change(1_000)
    assert pacer.next_deadline() == 1_005


def test_further_changes_do_not_put_the_tick_off() -> None:
    pacer = Pacer()
    pacer.note_change(1_000)
    pacer.note_change(1_004)
    assert pacer.take(1_005)


def test_a_tick_is_taken_once() -> None:
    pacer = Pacer()
    pacer.note_change(1_000)
    pacer.take(1_005)
    assert not pacer.take(1_006)


def test_a_tick_is_not_taken_before_it_is_due() -> None:
    pacer = Pacer()
    pacer.note_change(1_000)
    assert not pacer.take(1_004)


def test_the_last_change_of_a_rush_is_told_a_tenth_of_a_second_after_the_tick_before() -> None:
    pacer = Pacer()
    pacer.note_change(1_000)
    pacer.take(1_005)
    pacer.note_change(1_006)
    assert pacer.next_deadline() == 1_105


def test_a_steady_rush_makes_ten_ticks_a_second() -> None:
    pacer, ticks = Pacer(), 0
    for now in range(10_000):
        pacer.note_change(now)
        ticks += pacer.take(now)
    assert ticks == 100
