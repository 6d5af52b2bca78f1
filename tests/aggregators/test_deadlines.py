from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.deadlines import Deadlines

steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 100)), max_size=200)


@given(steps)
def test_every_key_comes_up_at_its_earliest_deadline(sets: list[tuple[str, int]]) -> None:
    deadlines = Deadlines()
    earliest: dict[str, int] = {}
    for key, moment in sets:
        deadlines.set(key, moment)
        earliest[key] = min(moment, earliest.get(key, moment))
    for now in range(101):
        due = deadlines.pop_due(now, 1_000)
        assert sorted(due) == sorted(key for key, moment in earliest.items() if moment == now)


@given(steps)
def test_no_more_than_two_entries_a_key_are_kept(sets: list[tuple[str, int]]) -> None:
    deadlines = Deadlines()
    for key, moment in sets:
        deadlines.set(key, 1_000 - moment)
    assert len(deadlines._heap) <= 2 * 6 + 64


def test_a_key_that_was_discarded_does_not_come_up() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 5)
    deadlines.discard("a")
    assert deadlines.pop_due(10, 10) == []


def test_no_more_are_handed_out_than_asked_for_and_the_rest_stays_due() -> None:
    deadlines = Deadlines()
    for key in "abc":
        deadlines.set(key, 5)
    assert len(deadlines.pop_due(5, 2)) == 2
    assert deadlines.next_deadline() == 5
    assert len(deadlines.pop_due(5, 2)) == 1
    assert deadlines.next_deadline() is None
