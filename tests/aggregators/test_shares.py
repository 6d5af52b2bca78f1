from random import Random

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


@given(
    st.integers(0, 20), st.lists(st.tuples(st.sampled_from("abcde"), st.randoms(use_true_random=False)), max_size=12)
)
def test_whoever_comes_and_goes_two_rounds_of_all_make_the_shares_even(
    duties: int, steps: list[tuple[str, Random]]
) -> None:
    everything = [str(number) for number in range(duties)]
    held: dict[str, list[str]] = {}
    for name, chance in steps:
        # Comes if it is not there, else goes: what it held is free, in order or by the end of its leases.
        held = {each: keys for each, keys in held.items() if each != name} | ({} if name in held else {name: []})
        for _ in range(2):
            for member in chance.sample(sorted(held), len(held)):
                take_share(member, held, everything)
        if held:
            assert sorted(key for keys in held.values() for key in keys) == sorted(everything)
            assert max(map(len, held.values())) - min(map(len, held.values())) <= 1


def take_share(member: str, held: dict[str, list[str]], everything: list[str]) -> None:
    """What the owner does in a round: give back what is too much, take up what is free."""
    most = quota(len(everything), member, held)
    for key in surplus(held[member], most):
        held[member].remove(key)
    free = [key for key in everything if not any(key in keys for keys in held.values())]
    held[member] += free[: most - len(held[member])]
