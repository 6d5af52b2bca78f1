import pytest

from processors.runtime.keyspace import missing_flags


@pytest.mark.parametrize(
    ("current", "missing"),
    [("", "Kghxl"), ("AK", ""), ("KA", ""), ("A", "K"), ("Ex", "Kghl"), ("Kghxl", ""), ("KEg$lshzxe", "")],
)
def test_only_flags_that_are_missing_are_added(current: str, missing: str) -> None:
    assert missing_flags(current) == missing
