from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.talkers import MAX_TALKERS, TopTalkers, top_of

names = st.sampled_from([f"peer-{number}" for number in range(120)])
changes = st.lists(st.tuples(names, st.integers(0, 6)), max_size=400)


@given(changes, st.integers(1, 9))
def test_the_list_is_always_that_of_all_values_sorted(told: list[tuple[str, int]], every: int) -> None:
    talkers, values = TopTalkers(), dict[str, int]()
    for number, (name, sent) in enumerate(told):
        values[name] = sent
        talkers.note(name, sent)
        if number % every == 0:
            expected = sorted(((n, v) for n, v in values.items() if v), key=lambda each: (-each[1], each[0]))
            assert talkers.list(values.items) == tuple(expected[:MAX_TALKERS])


@given(st.dictionaries(names, st.integers(0, 6)), st.integers(1, 5))
def test_the_largest_of_the_largest_of_any_parts_are_the_largest_of_all(values: dict[str, int], parts: int) -> None:
    shares = [top_of(list(values.items())[part::parts]) for part in range(parts)]
    assert top_of(talker for share in shares for talker in share) == top_of(values.items())


def test_who_sent_nothing_is_not_listed() -> None:
    talkers = TopTalkers()
    talkers.note("silent", 0)
    assert talkers.list(dict[str, int]().items) == ()
