import asyncio
import logging
import os
from pathlib import Path

import pytest

from processors.runtime.errors import SettingsError
from processors.runtime.watched_file import MAX_BYTES, WatchedFile

LOGGER = logging.getLogger("ark_pulse.test")


def parse(text: str) -> list[int]:
    """Numbers, which are small."""
    if any(int(word) > 9 for word in text.split()):
        raise ValueError("must have small numbers")
    return [int(word) for word in text.split()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers"
    path.write_text("1 2")
    return path


async def opened(path: Path | None) -> WatchedFile[list[int]]:
    file = WatchedFile("ARK_NUMBERS_FILE", path, parse, LOGGER)
    await file.open()
    return file


def replace(path: Path, content: bytes) -> None:
    """As an editor does: the file's inode is another one afterwards."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


async def test_no_file_is_as_an_empty_one() -> None:
    file = await opened(None)
    await file.look()
    assert file.content == []


async def test_a_file_is_read_at_the_start(path: Path) -> None:
    assert (await opened(path)).content == [1, 2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"10", "must have small numbers"),
        (b"\x00\xff\xfe", "must be UTF-8"),
        (b" " * (MAX_BYTES + 1), "must have at most 4194304 bytes"),
    ],
)
async def test_a_bad_file_is_an_error_at_the_start_that_names_the_setting(
    path: Path, content: bytes, problem: str
) -> None:
    replace(path, content)
    with pytest.raises(SettingsError) as error:
        await opened(path)
    assert str(error.value) == f"ARK_NUMBERS_FILE {problem}"


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ARK_NUMBERS_FILE cannot be read: is a directory$"):
        await opened(tmp_path)


async def test_a_replaced_file_is_read_again(path: Path) -> None:
    file = await opened(path)
    replace(path, b"3")
    await file.look()
    assert file.content == [3]


async def test_a_file_that_is_changed_in_place_is_read_again(path: Path) -> None:
    file = await opened(path)
    with path.open("r+b") as handle:
        handle.write(b"3 4")
        os.utime(handle.fileno(), ns=(0, 1))
    await file.look()
    assert file.content == [3, 4]


@pytest.mark.parametrize("content", [b"10", b"\xff", b" " * (MAX_BYTES + 1)])
async def test_a_bad_change_keeps_what_was_said_before_with_one_line(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file = await opened(path)
    replace(path, content)
    for _ in range(3):
        await file.look()
    assert file.content == [1, 2]
    assert [record.getMessage().partition(";")[2] for record in caplog.records] == [" what it said before still holds"]


async def test_a_file_that_vanishes_and_comes_back_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file = await opened(path)
    await asyncio.to_thread(path.unlink)
    for _ in range(3):
        await file.look()
    assert file.content == [1, 2]
    replace(path, b"5")
    await file.look()
    assert file.content == [5]
    assert [record.getMessage() for record in caplog.records] == [
        "ARK_NUMBERS_FILE cannot be read: no such file or directory; what it said before still holds",
        "ARK_NUMBERS_FILE was read again",
    ]
