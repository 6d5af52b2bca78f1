from pathlib import Path

import pytest

from processors.runtime.keyspace import Noted, classes, forget, missing_flags, note_flags, noted_flags


@pytest.mark.parametrize(
    ("current", "missing"),
    [("", "Kghxl"), ("AK", ""), ("KA", ""), ("A", "K"), ("Ex", "Kghl"), ("Kghxl", ""), ("KEg$lshzxe", "")],
)
def test_only_flags_that_are_missing_are_added(current: str, missing: str) -> None:
    assert missing_flags(current) == missing


def test_what_was_noted_is_of_the_server_whatever_its_database_and_user(tmp_path: Path) -> None:
    note_flags(tmp_path / "state", "redis://user:pw@h/0", Noted("Ex", "ExKghl"))
    note_flags(tmp_path / "state", "redis://h:6380/0", Noted("", "Kghxl"))
    assert noted_flags(tmp_path / "state", "redis://h:6379/3") == Noted("Ex", "ExKghl")
    assert noted_flags(tmp_path / "state", "redis://other/0") is None
    forget(tmp_path / "state", "redis://h")
    assert noted_flags(tmp_path / "state", "redis://h") is None
    assert noted_flags(tmp_path / "state", "redis://h:6380") == Noted("", "Kghxl")
    forget(tmp_path / "state", "redis://h:6380")
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("first", "then", "before"),
    [
        (("", "Kghxl"), "ghK", ""),  # what is left of it is ours
        (("gE", "gEKhxl"), "ghE", "Eg"),
        (("gE", "gEKhxl"), "h", ""),  # and theirs was taken away, too
        (("", "Kghxl"), "Egh", "Egh"),  # somebody set it anew, and knows it so
    ],
)
def test_what_we_added_is_not_taken_for_what_was_before_us(
    first: tuple[str, str], then: str, before: str, tmp_path: Path
) -> None:
    note_flags(tmp_path, "redis://h", Noted(*first))
    after = then + missing_flags(then)
    note_flags(tmp_path, "redis://h", Noted(then, after))
    assert noted_flags(tmp_path, "redis://h") == Noted(before, after)


@pytest.mark.parametrize("content", ["", "no JSON", '{"h:6379":1}', '{"h:6379":["a"]}'])
def test_a_note_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "notify-keyspace-events.json").write_text(content)
    assert noted_flags(tmp_path, "redis://h") is None
    forget(tmp_path, "redis://h")


def test_flags_are_the_same_in_any_order_and_by_any_name() -> None:
    assert classes("KEA") == classes("AEK") == classes("g$lshzxetdEK")
    assert classes("Ex") != classes("KEx")
