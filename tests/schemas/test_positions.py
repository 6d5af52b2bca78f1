import base64
import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadPosition
from schemas.positions import (
    ZERO,
    EntryId,
    Position,
    RosterPosition,
    decode_position,
    encode_position,
    entry_id,
    entry_text,
    roster_position,
)

epochs = st.text("0123456789abcdef", max_size=12)
entries = st.one_of(st.just(ZERO), st.builds(EntryId, st.integers(0, 2**53), st.integers(0, 2**53)))
positions = st.one_of(
    st.builds(Position, epochs, entries),
    st.builds(RosterPosition, st.integers(0, 2**32 - 1), st.lists(entries, max_size=20).map(tuple)),
)
packed_texts = st.binary(max_size=100).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(positions)
def test_a_position_comes_back_as_it_was_given_out(position: Position | RosterPosition) -> None:
    assert decode_position(encode_position(position)) == position


@given(positions)
def test_the_text_is_fit_for_headers_and_query_strings(position: Position | RosterPosition) -> None:
    text = encode_position(position)
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_position_of_a_thousand_partitions_can_be_given_back() -> None:
    position = RosterPosition(1, tuple(EntryId(1_700_000_000_000 + 3_600_000 * n, 2**40) for n in range(1_000)))
    assert decode_position(encode_position(position)) == position


def test_positions_of_rosters_with_other_epochs_differ() -> None:
    parts: list[dict[str, str | None]] = [{"0": "a", "1": None}, {"0": None, "1": "a"}, {"0": "b", "1": None}]
    assert len({roster_position(each, (ZERO, ZERO)) for each in parts}) == 3


@pytest.mark.parametrize("text", ["", "!!", "AAAA", "bnVsbA", "eyJhIjpbMSwyXX0", "ü", "A" * 20_000])
def test_a_text_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(BadPosition):
        decode_position(text)


@pytest.mark.parametrize(
    "packed",
    [
        ("e", 0, [1, -1]),
        ("e", -1, [1, 1]),
        ("e", 0, [-2, 1]),
        ("e", 0, [1]),
        ("e", 0, []),
        ("e", 0, [1, 1, 1, 1]),
        ("e", 2**63, [0, 0]),
        (None, 0, [1, 1]),
        (1, 0, [0, 2**63]),
    ],
)
def test_a_position_with_impossible_numbers_is_refused(packed: tuple[Any, ...]) -> None:
    text = base64.urlsafe_b64encode(msgspec.msgpack.encode(packed)).decode().rstrip("=")
    with pytest.raises(BadPosition, match="position is not one of ours"):
        decode_position(text)


def test_a_position_that_is_too_long_is_refused() -> None:
    with pytest.raises(BadPosition, match="position must have at most 24576 characters"):
        decode_position("A" * 24_577)


@given(
    st.one_of(st.text(max_size=100), st.binary(max_size=100).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
)
def test_no_text_raises_anything_but_a_bad_position(text: str) -> None:
    with contextlib.suppress(BadPosition):
        decode_position(text)


def test_an_entry_id_is_time_and_number_and_compares_as_such() -> None:
    assert entry_id(b"1700000000000-42") == EntryId(1_700_000_000_000, 42)
    assert entry_id("9-1") < entry_id("10-0") < entry_id("10-2") < entry_id("10-10")
    assert entry_text(entry_id("7-3")) == "7-3"


@pytest.mark.parametrize("text", ["", "7", "-", "7-", "-7", "a-1", "7-1-1", "\u0661-1", "1" * 40 + "-1"])
def test_what_is_no_entry_id_is_refused(text: str) -> None:
    with pytest.raises(BadPosition, match="an entry id is not <ms>-<n>"):
        entry_id(text)
