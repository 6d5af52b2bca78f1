"""Access tokens: the file that lists them, and whose a shown one is.

A line is a role, the SHA-256 of the token in hex, until when it is valid, and a name:

    viewer    4be1...    2027-01-31    anna

A token is 32 random bytes: nobody can guess one, so that its hash needs neither salt nor stretching, as passwords do.
It is looked up by the hash, which whoever shows it cannot choose: how long that takes tells nothing.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple, get_args

from schemas.frames import Role

__all__ = ["ANYBODY", "MAX_LINES", "MAX_NAME", "Tokens", "Visitor", "parse_tokens"]

MAX_LINES: Final = 10_000
"""Most lines of the file."""

MAX_NAME: Final = 64
"""Longest name, in characters."""

# Beyond these a zone may lead out of what can be written.
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9999
_DIGEST: Final = hashlib.sha256().digest_size * 2


class Visitor(NamedTuple):
    """Whose a token is."""

    name: str
    role: Role
    # Until when the token is valid, ms since the epoch by this machine's clock; None: for ever.
    expires_at: int | None
    # SHA-256 of the token, in hex.
    digest: str


ANYBODY: Final = Visitor("", "operator", None, "")
"""Everybody, where no tokens are asked for."""


class Tokens:
    """What the file says."""

    def __init__(self, visitors: Iterable[Visitor]) -> None:
        self._visitors = {visitor.digest: visitor for visitor in visitors}

    def __iter__(self) -> Iterator[Visitor]:
        """Whose tokens are listed, in the order of the file; expired ones too."""
        return iter(self._visitors.values())

    def find(self, token: str, now: int) -> Visitor | None:
        """Whose `token` is at `now` (ms); None if it is not listed, or has expired."""
        # A lone surrogate stands for a byte that was no UTF-8: it is no token, and no error either.
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
        return self._valid(digest, now)

    def holds(self, visitor: Visitor, now: int) -> bool:
        """Whether the visitor's token is still listed at `now` (ms), in the same role, and has not expired."""
        found = self._valid(visitor.digest, now)
        return found is not None and found.role == visitor.role

    def _valid(self, digest: str, now: int) -> Visitor | None:
        found = self._visitors.get(digest)
        return None if found is None or (found.expires_at is not None and found.expires_at <= now) else found


def parse_tokens(text: str) -> Tokens:
    """The file's content. Empty lines, and those that begin with `#`, mean nothing.

    Raises ValueError: if a line cannot be used; the clause begins with its number, and repeats nothing of it but names.
    """
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise ValueError(f"must have at most {MAX_LINES} lines")
    visitors: dict[str, Visitor] = {}
    digests: set[str] = set()
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            visitor = _visitor(number, line)
            if visitor.name in visitors:
                raise ValueError(f"line {number}: name {visitor.name} is listed already")
            if visitor.digest in digests:
                raise ValueError(f"line {number}: token of {visitor.name} is listed already")
            visitors[visitor.name] = visitor
            digests.add(visitor.digest)
    return Tokens(visitors.values())


def _visitor(number: int, line: str) -> Visitor:
    parts = line.split()
    if len(parts) != 4:
        raise ValueError(f"line {number}: must be a role, a SHA-256 in hex, an expiry and a name without spaces")
    role, digest, expiry, name = parts
    if role not in get_args(Role):
        raise ValueError(f"line {number}: role must be viewer or operator")
    if len(digest) != _DIGEST or set(digest.lower()) - set("0123456789abcdef"):
        raise ValueError(f"line {number}: token must be given as its SHA-256, {_DIGEST} digits in hex")
    if len(name) > MAX_NAME or not name.isprintable():
        raise ValueError(f"line {number}: name must have at most {MAX_NAME} printable characters")
    return Visitor(name, "operator" if role == "operator" else "viewer", _expiry_ms(number, expiry), digest.lower())


def _expiry_ms(number: int, text: str) -> int | None:
    """A moment without a zone is UTC, a date alone its first moment."""
    if text == "never":
        return None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if _FIRST_YEAR <= moment.year < _LAST_YEAR:
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    raise ValueError(f"line {number}: expiry must be an ISO 8601 date, or never")
