import asyncio
from pathlib import Path

import pytest

from processors.federation import trusted_file
from processors.federation.trusted_file import TrustedFile
from processors.runtime.errors import SettingsError
from tests.federation.support import Node, base64_of

KEY = Node().pubkey
LINE = f"core {base64_of(KEY)} a\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file, which is looked at whenever somebody asks."""
    monkeypatch.setattr(trusted_file, "LOOK_S", 0.0)
    path = tmp_path / "keys"
    path.write_text(LINE)
    return path


async def opened(path: Path | None) -> TrustedFile:
    file = TrustedFile(path)
    await file.open()
    return file


async def tier(file: TrustedFile) -> str:
    return (await file.keys()).highest("a", KEY)


def replace(path: Path, content: str | bytes) -> None:
    """As an editor does: the file's inode is another one afterwards."""
    new = path.with_suffix(".new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.replace(path)


async def test_without_a_file_no_key_is_trusted() -> None:
    assert await tier(await opened(None)) == "verified"


async def test_a_file_is_read_at_the_start(path: Path) -> None:
    assert await tier(await opened(path)) == "core"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"boss key a\n", "line 1: tier must be core, trusted or verified"),
        (b"\xff", "must be UTF-8"),
        (b"#" * (4 << 20) + b"#", "must have at most 4194304 bytes"),
    ],
)
async def test_a_bad_file_at_the_start_ends_it(path: Path, content: bytes, problem: str) -> None:
    replace(path, content)
    with pytest.raises(SettingsError) as error:
        await opened(path)
    assert str(error.value) == f"ARK_TRUSTED_KEYS_FILE {problem}"


async def test_a_missing_file_at_the_start_ends_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^ARK_TRUSTED_KEYS_FILE cannot be read: no such file or directory$"):
        await opened(tmp_path / "nothing")


async def test_a_change_is_noticed(path: Path) -> None:
    file = await opened(path)
    replace(path, LINE.replace("core", "trusted"))
    assert await tier(file) == "trusted"


async def test_a_bad_change_keeps_what_was_said_before_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = await opened(path)
    replace(path, "boss\n")
    assert [await tier(file) for _ in range(3)] == ["core"] * 3
    assert [record.getMessage() for record in caplog.records] == [
        "ARK_TRUSTED_KEYS_FILE line 1: must be a tier, a key and a node id; what it said before still holds"
    ]


async def test_a_file_that_vanishes_and_comes_back_is_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = await opened(path)
    await asyncio.to_thread(path.rename, path.with_suffix(".away"))
    assert [await tier(file) for _ in range(3)] == ["core"] * 3
    replace(path, LINE.replace("core", "trusted"))
    assert await tier(file) == "trusted"
    assert len(caplog.records) == 1


async def test_a_file_is_not_looked_at_again_within_a_second(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted_file, "LOOK_S", 3_600.0)
    file = await opened(path)
    await file.keys()
    replace(path, "boss\n")
    assert set(await asyncio.gather(*(tier(file) for _ in range(10)))) == {"core"}
