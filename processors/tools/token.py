"""`ark-pulse token`: makes, lists and takes back access tokens, in the file that ARK_TOKENS_FILE names.

A token is shown when it is made and never again: the file holds its hash. What else stands in the file stays.
"""

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from processors.runtime.errors import PulseError, SettingsError
from processors.runtime.files import write_private
from processors.runtime.output import print_line, print_lines
from processors.runtime.settings import Settings

__all__ = ["list_tokens", "new", "revoke"]

_BYTES: Final = 32

_Parse: TypeAlias = Callable[[str], Iterable[tuple[str, str, int | None, str]]]
"""Reads the file: name, role, expiry (ms since the epoch; None: never) and hash of each token. Raises ValueError."""


def new(settings: Settings, parse: _Parse, role: str, name: str, expires_ms: int | None) -> None:
    """Make a token that is valid for `expires_ms` (None: for ever), and print it.

    Raises PulseError: if the name is taken or no name, or the file cannot be used; it then stays as it is.
    """
    token = secrets.token_urlsafe(_BYTES)
    until = None if expires_ms is None else int(time.time() * 1000) + expires_ms
    line = f"{role:<8} {hashlib.sha256(token.encode()).hexdigest()} {_moment(until)} {name}"
    path = _path(settings)
    _rewrite(path, parse, lambda lines: [*lines, line], or_new=True)
    print_line(token)


def list_tokens(settings: Settings, parse: _Parse, *, as_json: bool) -> None:
    """Print whose tokens there are. Raises PulseError: if the file cannot be used."""
    path, now = _path(settings), int(time.time() * 1000)
    found = list(_parsed(path, parse, _text(path)))
    if as_json:
        shown = [{"name": name, "role": role, "expires_at": until} for name, role, until, _ in found]
        print_line(json.dumps(shown))
        return
    print_lines(
        f"{role:<8}  {_moment(until):<25}  {name}{'  (expired)' if until is not None and until <= now else ''}"
        for name, role, until, _ in found
    )


def revoke(settings: Settings, parse: _Parse, name: str) -> None:
    """Take the token of `name` back: a gateway that runs ends its connections within a second or two.

    Raises PulseError: if there is none, or the file cannot be used; it then stays as it is.
    """

    def without(lines: list[str]) -> list[str]:
        kept = [line for line in lines if line.lstrip().startswith("#") or line.split()[3:] != [name]]
        if len(kept) == len(lines):
            raise PulseError(f"no token of {name}")
        return kept

    _rewrite(_path(settings), parse, without)
    print_line(f"revoked {name}")


def _path(settings: Settings) -> Path:
    if settings.ark_tokens_file is None:
        raise SettingsError("ARK_TOKENS_FILE", "is not set: it names the file of tokens")
    return settings.ark_tokens_file.resolve()


def _rewrite(path: Path, parse: _Parse, change: Callable[[list[str]], list[str]], *, or_new: bool = False) -> None:
    """Replace the file by what `change` makes of its lines; with `or_new` it need not be there."""
    try:
        # The file itself is replaced: its folder is what two commands can wait for each other by.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            text = "" if or_new and not path.exists() else _text(path)
            # A file that we put in its place would be ours: the gateway's user could not read that we revoked a token.
            if path.exists() and path.stat().st_uid != os.geteuid():
                raise PulseError(f"{path} belongs to another user: run this as that user")
            _parsed(path, parse, text)
            text = "".join(f"{line}\n" for line in change(text.splitlines()))
            _parsed(path, parse, text)
            write_private(path, text)
        finally:
            os.close(folder)
    except OSError as error:
        raise PulseError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PulseError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise PulseError(f"{path} must be UTF-8") from error


def _parsed(path: Path, parse: _Parse, text: str) -> Iterable[tuple[str, str, int | None, str]]:
    try:
        return parse(text)
    except ValueError as error:
        raise PulseError(f"{path} {error}") from error


def _moment(ms: int | None) -> str:
    return "never" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
