from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.gateway.deltas import chosen, merge_patch
from tests.gateway.model import apply_patch

leaves = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 2.5]), st.text("ab", max_size=2))
values = st.recursive(
    leaves | st.lists(leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(documents, documents)
def test_a_patch_leads_from_the_one_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert apply_patch(before, merge_patch(before, after)) == after


@given(documents)
def test_what_is_equal_needs_no_patch(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) == {}


def test_a_whole_number_that_became_a_fraction_is_told() -> None:
    assert merge_patch({"a": 1, "b": True}, {"a": 1.0, "b": 1}) == {"a": 1.0, "b": 1}


def test_of_a_nested_object_only_what_changed_is_told() -> None:
    assert merge_patch({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"x": 1}, "b": [1]}) == {"a": {"y": None}}


def test_without_a_choice_of_fields_all_are_there() -> None:
    assert chosen({"a": 1, "b": 2}, None) == {"a": 1, "b": 2}
    assert chosen({"a": 1, "b": 2}, frozenset({"b", "c"})) == {"b": 2}
