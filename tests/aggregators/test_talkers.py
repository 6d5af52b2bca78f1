from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.aggregators.talkers import MAX_TALKERS, TopTalkers, top_of

names = st.sampled_from([f"peer-{number}" for number in range(120)])


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 50))
def test_the_list_is_always_that_of_all_values_sorted(seed: int, every: int) -> None:
    random, talkers, values = Random(seed), TopTalkers(), dict[str, int]()
    for number in range(600):
        # More than are kept, that grow first, and then fall until too few are left of them.
        name = f"peer-{random.randrange(120)}"
        values[name] = sent = random.randrange(1, 7) if number < 300 else random.randrange(2)
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
