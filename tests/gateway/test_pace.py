import pytest

from processors.gateway.pace import QUIET_MS, Pacer


def test_nothing_is_due_without_a_change() -> None:
    assert Pacer(10.0, 0).next_deadline() is None


def test_the_first_change_is_due_after_a_moment_of_gathering() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    assert pacer.next_deadline() == 1_005


def test_further_changes_do_not_put_the_tick_off() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    pacer.note_change(1_004)
    assert pacer.take(1_005)


def test_a_tick_is_taken_once() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    pacer.take(1_005)
    assert not pacer.take(1_006)


def test_a_tick_is_not_taken_before_it_is_due() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    assert not pacer.take(1_004)


def test_the_last_change_of_a_rush_is_told_a_tenth_of_a_second_after_the_tick_before() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    pacer.take(1_005)
    pacer.note_change(1_006)
    assert pacer.next_deadline() == 1_105


def test_a_steady_rush_makes_ten_ticks_a_second() -> None:
    pacer, ticks = Pacer(10.0, 0), 0
    for now in range(10_000):
        pacer.note_change(now)
        ticks += pacer.take(now)
    assert ticks == 100


def test_without_a_rate_every_change_is_due_at_once() -> None:
    pacer = Pacer(0.0, 0)
    ticks = 0
    for now in range(100):
        pacer.note_change(now)
        ticks += pacer.take(now)
    assert ticks == 100


def test_a_quiet_change_waits_until_five_seconds_after_the_last_that_was_told() -> None:
    pacer = Pacer(10.0, 1_000)
    pacer.note_change(1_100)
    assert pacer.take(1_105)
    assert pacer.put_off(1_105)
    assert pacer.next_deadline() == 1_000 + QUIET_MS


def test_a_quiet_change_is_told_when_nothing_else_was_for_five_seconds() -> None:
    assert not Pacer(10.0, 1_000).put_off(1_000 + QUIET_MS)


def test_a_change_that_is_not_quiet_does_not_wait_for_one_that_was_put_off() -> None:
    pacer = Pacer(10.0, 1_000)
    pacer.note_change(1_100)
    pacer.take(1_105)
    pacer.put_off(1_105)
    pacer.note_change(1_300)
    assert pacer.next_deadline() == 1_305


def test_nothing_is_put_off_for_who_wants_every_change() -> None:
    assert not Pacer(0.0, 1_000).put_off(1_001)


@pytest.mark.parametrize("rate", [5e-324, 1e-306, 1e-9])
def test_the_smallest_rate_is_a_tick_a_day(rate: float) -> None:
    pacer = Pacer(rate, 0)
    pacer.note_change(0)
    pacer.take(5)
    pacer.note_change(6)
    assert pacer.next_deadline() == 86_400_005


def test_what_is_put_off_is_not_prompt_until_something_changes_again() -> None:
    pacer = Pacer(10.0, 0)
    pacer.note_change(1_000)
    seen = [pacer.is_prompt]
    assert pacer.put_off(1_005)
    seen.append(pacer.is_prompt)
    pacer.note_change(2_000)
    assert [*seen, pacer.is_prompt] == [True, False, True]


@pytest.mark.parametrize(("rate", "prompt"), [(0.0, True), (10.0, True), (9.0, False), (0.001, False)])
def test_only_who_asks_for_ten_frames_a_second_or_more_is_told_promptly(rate: float, prompt: bool) -> None:
    assert Pacer(rate, 0).is_prompt is prompt
