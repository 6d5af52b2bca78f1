import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.values import instant_ms, number

MOMENT = 1_700_000_000_123


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12.5", 12.5), (" 7 ", 7.0), ("-1", -1.0), ("1e3", 1000.0), (".5", 0.5), ("1e400", float("inf"))],
)
def test_a_number_in_text_is_read(text: str, expected: float) -> None:
    assert number(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "nan", "inf", "1_000", "0x10", "١٢", "1" * 65, "12ms", "1 2"])
def test_text_without_a_number_gives_none(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        str(MOMENT),
        MOMENT / 1000,
        "1700000000.123",
        "2023-11-14T22:13:20.123",
        "2023-11-14 22:13:20.123Z",
        "2023-11-15T00:13:20.123+02:00",
    ],
)
def test_every_spelling_of_a_moment_gives_the_same_milliseconds(value: object) -> None:
    assert instant_ms(value) == MOMENT


@pytest.mark.parametrize(
    "value",
    [0, "0", -5, "-5", "abc", "", None, True, [], float("nan"), float("inf"), "1e400", 10**15, "9999-01-01", "x" * 99],
)
def test_what_is_no_usable_moment_gives_none(value: object) -> None:
    assert instant_ms(value) is None


@given(st.integers(10**11, 7 * 10**12))
def test_iso_text_and_milliseconds_agree(ms: int) -> None:
    moment = dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)
    assert instant_ms(moment.isoformat()) == ms


@given(st.text(max_size=80))
def test_any_text_gives_a_time_in_bounds_or_none(text: str) -> None:
    found = instant_ms(text)
    assert found is None or 0 < found <= 10**14
