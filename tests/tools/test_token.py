import hashlib
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from processors.cli import FAILURE, OK, main
from processors.gateway.tokens import parse_tokens
from processors.runtime.errors import SETTING_REFUSED

NOW = 1_700_000_000
Output = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of tokens is to be."""
    path = tmp_path / "tokens"
    monkeypatch.setenv("ARK_TOKENS_FILE", str(path))
    return path


def run(*arguments: str) -> int:
    return main(["token", *arguments])


def make(name: str, *more: str, role: str = "viewer") -> int:
    return run("new", "--role", role, "--name", name, *more)


def test_a_new_token_is_printed_and_its_hash_kept(path: Path, capsys: Output) -> None:
    assert make("anna") == OK
    token = capsys.readouterr().out.removesuffix("\n")
    assert len(token) == 43
    assert path.read_text() == f"viewer   {hashlib.sha256(token.encode()).hexdigest()} never anna\n"
    found = parse_tokens(path.read_text()).find(token, NOW * 1_000)
    assert found is not None
    assert (found.name, found.role) == ("anna", "viewer")


def test_the_file_is_readable_by_its_user_only(path: Path) -> None:
    make("anna")
    path.chmod(0o644)
    make("bob")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_token_leaves_what_stands_in_the_file(path: Path, capsys: Output) -> None:
    before = f"# ours\n\nviewer {'0' * 64} 2026-01-31 a.b@example.org"
    path.write_text(before)
    assert make("bob", role="operator") == OK
    token = capsys.readouterr().out.strip()
    assert path.read_text() == f"{before}\noperator {hashlib.sha256(token.encode()).hexdigest()} never bob\n"


def test_a_token_expires_when_it_was_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.tools.token.time.time", lambda: NOW)
    make("anna", "--expires", "90s")
    assert [visitor.expires_at for visitor in parse_tokens(path.read_text())] == [(NOW + 90) * 1_000]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("anna", "line 2: name anna is listed already"),
        ("a b", "line 2: must be a role, a SHA-256 in hex, an expiry and a name without spaces"),
        ("", "line 2: must be a role, a SHA-256 in hex, an expiry and a name without spaces"),
        ("n" * 65, "line 2: name must have at most 64 printable characters"),
    ],
)
def test_a_name_that_cannot_be_used_changes_nothing(path: Path, name: str, problem: str, capsys: Output) -> None:
    make("anna")
    before = path.read_bytes()
    capsys.readouterr()
    assert make(name) == FAILURE
    assert capsys.readouterr() == ("", f"ark-pulse: {path} {problem}\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "problem"), [(b"admin x\n", "line 1: must be a role, a SHA-256"), (b"\xff\x00", "must be UTF-8")]
)
@pytest.mark.parametrize("action", [["new", "--role", "viewer", "--name", "bob"], ["list"], ["revoke", "bob"]])
def test_a_broken_file_is_named_and_stays_as_it_is(
    path: Path, content: bytes, problem: str, action: list[str], capsys: Output
) -> None:
    path.write_bytes(content)
    assert run(*action) == FAILURE
    assert capsys.readouterr().err.startswith(f"ark-pulse: {path} {problem}")
    assert path.read_bytes() == content


def test_a_list_says_whose_until_when_and_no_hash(path: Path, capsys: Output) -> None:
    path.write_text(f"operator {'0' * 64} never bob\nviewer {'1' * 64} 2020-01-31 anna\n")
    assert run("list") == OK
    assert capsys.readouterr().out.splitlines() == [
        "operator  never                      bob",
        "viewer    2020-01-31T00:00:00+00:00  anna  (expired)",
    ]


def test_a_list_is_given_as_json(path: Path, capsys: Output) -> None:
    path.write_text(f"operator {'0' * 64} never bob\nviewer {'1' * 64} 2020-01-31 anna\n")
    assert run("list", "--json") == OK
    assert json.loads(capsys.readouterr().out) == [
        {"name": "bob", "role": "operator", "expires_at": None},
        {"name": "anna", "role": "viewer", "expires_at": 1_580_428_800_000},
    ]


def test_a_revoked_token_is_gone_and_nothing_else(path: Path, capsys: Output) -> None:
    path.write_text(f"# of anna: never anna\nviewer {'0' * 64} never anna\nviewer {'1' * 64} never anna2\n")
    assert run("revoke", "anna") == OK
    assert capsys.readouterr().out == "revoked anna\n"
    assert path.read_text() == f"# of anna: never anna\nviewer {'1' * 64} never anna2\n"


def test_a_name_that_has_no_token_is_a_failure(path: Path, capsys: Output) -> None:
    make("anna")
    assert run("revoke", "bob") == FAILURE
    assert capsys.readouterr().err == "ark-pulse: no token of bob\n"


@pytest.mark.parametrize("action", [["list"], ["revoke", "bob"]])
def test_a_file_that_is_not_there_lists_nobody(path: Path, action: list[str], capsys: Output) -> None:
    assert run(*action) == FAILURE
    assert capsys.readouterr().err == f"ark-pulse: {path} cannot be read: no such file or directory\n"


def test_a_folder_that_is_not_there_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("ARK_TOKENS_FILE", str(tmp_path / "none" / "tokens"))
    assert make("anna") == FAILURE
    assert capsys.readouterr().err.endswith("cannot be written: no such file or directory\n")


def test_without_the_setting_there_is_no_file(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.delenv("ARK_TOKENS_FILE", raising=False)
    assert make("anna") == SETTING_REFUSED
    assert capsys.readouterr().err == "ark-pulse: ARK_TOKENS_FILE is not set: it names the file of tokens\n"


def test_the_file_of_another_user_is_not_taken_from_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    path.write_text("# theirs\n")
    monkeypatch.setattr("processors.tools.token.os.geteuid", lambda: path.stat().st_uid + 1)
    assert make("anna") == FAILURE
    assert capsys.readouterr() == ("", f"ark-pulse: {path} belongs to another user: run this as that user\n")
    assert path.read_text() == "# theirs\n"


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    make("anna")
    assert path.is_symlink()
    assert "anna" in (tmp_path / "elsewhere").read_text()


def test_tokens_that_are_made_at_once_are_all_kept(path: Path) -> None:
    names = [f"n{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, names)) == {OK}
    assert sorted(visitor.name for visitor in parse_tokens(path.read_text())) == sorted(names)
