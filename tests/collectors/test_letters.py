import pytest

from processors.collectors import letters as module
from processors.collectors.letters import Letters


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    monkeypatch.setattr(module, "_MOST_TOLD", 2)
    monkeypatch.setattr(module, "_MOST_NOTED", 9)
    return Letters("t")


def note(letters: Letters, count: int) -> None:
    for number in range(count):
        letters.note(f"row {number}")


def test_a_letter_is_told_once(letters: Letters) -> None:
    letters.note("row 1")
    assert letters.take(counted=True) == ["row 1"]
    letters.note("row 1")
    assert letters.take(counted=True) == []


def test_the_last_letter_tells_how_many_more_there_are(letters: Letters) -> None:
    note(letters, 5)
    assert letters.take(counted=True) == ["row 0", "row 1", "3 more rows of t cannot be used"]
    assert letters.take(counted=True) == []


def test_how_many_more_there_are_is_told_when_all_rows_were_read(letters: Letters) -> None:
    note(letters, 4)
    assert letters.take(counted=False) == ["row 0", "row 1"]
    note(letters, 5)
    assert letters.take(counted=True) == ["3 more rows of t cannot be used"]


def test_it_is_told_again_when_they_have_more_than_doubled(letters: Letters) -> None:
    note(letters, 3)
    assert letters.take(counted=True)[2:] == ["1 more rows of t cannot be used"]
    note(letters, 4)
    assert letters.take(counted=True) == []
    note(letters, 5)
    assert letters.take(counted=True) == ["3 more rows of t cannot be used"]


def test_what_is_not_counted_any_more_is_told_as_at_least(letters: Letters) -> None:
    note(letters, 1_000)
    assert letters.take(counted=True)[2:] == ["at least 7 more rows of t cannot be used"]
