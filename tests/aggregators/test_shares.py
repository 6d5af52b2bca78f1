from hypothesis import given
from hypothesis import strategies as st

from processors.aggregators.shares import quota, surplus

MEMBERS = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=12)


@given(st.integers(0, 40), MEMBERS)
def test_the_quotas_of_all_members_are_all_duties_and_differ_by_one_at_most(duties: int, members: set[str]) -> None:
    quotas = [quota(duties, member, members) for member in members]
    assert sum(quotas) == duties
    assert max(quotas) - min(quotas) <= 1


def test_one_that_was_not_heard_of_yet_counts_itself() -> None:
    assert quota(16, "b", ["a"]) == 8


def test_what_was_taken_up_last_is_given_back() -> None:
    assert surplus(["a", "b", "c"], 1) == ["b", "c"]
    assert surplus(["a"], 2) == []
