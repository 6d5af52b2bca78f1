import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import BadPosition
from schemas.positions import EntryId, Position, decode_position, encode_position, entry_id, entry_text

epochs = st.text("0123456789abcdef", max_size=12)
streams = st.text(max_size=20).filter(str.isprintable)
vectors = st.dictionaries(streams, st.builds(Position, epochs, st.integers(0, 2**53)))


@given(vectors)
def test_a_position_comes_back_as_it_was_given_out(positions: dict[str, Position]) -> None:
    assert decode_position(encode_position(positions)) == positions


@given(vectors)
def test_the_text_is_fit_for_headers_and_query_strings(positions: dict[str, Position]) -> None:
    text = encode_position(positions)
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("text", ["", "!!", "AAAA", "bnVsbA", "eyJhIjpbMSwyXX0", "ü", "A" * 20_000])
def test_a_text_that_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(BadPosition):
        decode_position(text)


def test_a_negative_commit_number_is_refused() -> None:
    with pytest.raises(BadPosition, match="position has a negative commit number"):
        decode_position(encode_position({"a": Position("e", -1)}))


@given(st.text(max_size=100))
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
