import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.gateway.tokens import MAX_LINES, MAX_NAME, Tokens, Visitor, parse_tokens

NOW = 1_700_000_000_000
TOKEN = "a-token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()


def tokens(expiry: str = "never", role: str = "viewer") -> Tokens:
    return parse_tokens(f"{role} {DIGEST} {expiry} anna\n")


def test_a_listed_token_is_that_of_its_line() -> None:
    assert tokens().find(TOKEN, NOW) == Visitor("anna", "viewer", None, DIGEST)


@pytest.mark.parametrize("shown", ["", "another", TOKEN.upper(), DIGEST, "\ud800", "\x00", "a" * 100_000])
def test_whatever_else_is_shown_is_nobodys(shown: str) -> None:
    assert tokens().find(shown, NOW) is None


def test_comments_and_empty_lines_mean_nothing() -> None:
    text = f"# viewers\n\n   \n  # viewer {DIGEST} never bob\nviewer\t{DIGEST.upper()}   never\tanna  \n"
    assert [visitor.name for visitor in parse_tokens(text)] == ["anna"]


@pytest.mark.parametrize(
    ("expiry", "moment_ms"),
    [
        ("2023-11-15", 1_700_006_400_000),
        ("2023-11-14T22:13:21", 1_700_000_001_000),
        ("2023-11-14T23:13:21+01:00", 1_700_000_001_000),
        ("2023-11-14T22:13:21Z", 1_700_000_001_000),
    ],
)
def test_a_token_is_valid_until_its_expiry(expiry: str, moment_ms: int) -> None:
    listed = tokens(expiry)
    assert listed.find(TOKEN, moment_ms - 1) is not None
    assert listed.find(TOKEN, moment_ms) is None


def test_a_visitor_is_held_until_its_token_expires() -> None:
    listed = tokens("2023-11-15")
    visitor = listed.find(TOKEN, NOW)
    assert visitor is not None
    assert [listed.holds(visitor, now) for now in (NOW, 1_700_006_400_000)] == [True, False]


@pytest.mark.parametrize(
    ("changed", "held"),
    [
        (parse_tokens(""), False),
        (tokens("2023-01-01"), False),
        (tokens(role="operator"), False),
        (tokens("2024-01-01"), True),
        (parse_tokens(f"viewer {DIGEST} never another-name"), True),
    ],
)
def test_a_visitor_loses_access_with_its_token_or_its_role(changed: Tokens, held: bool) -> None:
    visitor = tokens().find(TOKEN, NOW)
    assert visitor is not None
    assert changed.holds(visitor, NOW) is held


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("viewer", "must be a role, a SHA-256 in hex, an expiry and a name without spaces"),
        (f"viewer {DIGEST} never", "must be a role, a SHA-256 in hex, an expiry and a name without spaces"),
        (f"viewer {DIGEST} never anna smith", "must be a role, a SHA-256 in hex, an expiry and a name without spaces"),
        (f"admin {DIGEST} never anna", "role must be viewer or operator"),
        (f"Viewer {DIGEST} never anna", "role must be viewer or operator"),
        (f"viewer {TOKEN} never anna", "token must be given as its SHA-256, 64 digits in hex"),
        (f"viewer {'g' * 64} never anna", "token must be given as its SHA-256, 64 digits in hex"),
        (f"viewer {DIGEST} tomorrow anna", "expiry must be an ISO 8601 date, or never"),
        (f"viewer {DIGEST} 2026-02-30 anna", "expiry must be an ISO 8601 date, or never"),
        (f"viewer {DIGEST} 0001-01-01T00:00+23:59 anna", "expiry must be an ISO 8601 date, or never"),
        (f"viewer {DIGEST} 9999-12-31T23:59-23:59 anna", "expiry must be an ISO 8601 date, or never"),
        (f"viewer {DIGEST} never {'n' * 65}", f"name must have at most {MAX_NAME} printable characters"),
        (f"viewer {DIGEST} never a\x1b[2J", f"name must have at most {MAX_NAME} printable characters"),
        (f"viewer {'0' * 64} never bob", "name bob is listed already"),
        (f"viewer {'1' * 64} never anna", "token of anna is listed already"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_without_its_secret(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match="line 3") as error:
        parse_tokens(f"# tokens\nviewer {'1' * 64} never bob\n{line}\n")
    assert str(error.value) == f"line 3: {problem}"


def test_a_file_of_too_many_lines_is_refused() -> None:
    assert list(parse_tokens("\n" * MAX_LINES)) == []
    with pytest.raises(ValueError, match=r"^must have at most 10000 lines$"):
        parse_tokens("\n" * (MAX_LINES + 1))


@given(
    st.text() | st.lists(st.sampled_from(["viewer", DIGEST, "never", "2026-01-01", " ", "\n", "#", "a"])).map("".join)
)
def test_any_text_is_read_or_refused_by_its_line(text: str) -> None:
    try:
        parse_tokens(text)
    except ValueError as error:
        assert str(error).startswith("line ")  # noqa: PT017  - both ends are right
