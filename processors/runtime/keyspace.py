"""Which keyspace notifications of ARK's Redis the collectors need, and a note of what was set before they came.

The note is one file in ARK_STATE_DIR: it outlives the bus, and restarts. It is written before the server is changed, so
that one of the two without the other can only be a note of what never happened.
"""

import contextlib
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from processors.runtime.files import write_private

__all__ = ["NOTIFY_OPTION", "UNNOTIFIED", "Noted", "classes", "forget", "missing_flags", "note_flags", "noted_flags"]

NOTIFY_OPTION: Final = "notify-keyspace-events"
"""The server's option that switches them on."""

UNNOTIFIED: Final = "no notifications"
"""How a collector's account of itself begins that is told of no changes."""

# Keyspace channels; generic commands (DEL, EXPIRE, RENAME), hashes, expiries, lists.
_NEEDED: Final = "Kghxl"
_IN_A: Final = frozenset("g$lshzxetd")
_FILE: Final = f"{NOTIFY_OPTION}.json"


class Noted(NamedTuple):
    """What the option was before us, and what we made of it."""

    before: str
    after: str


_decode: Final = msgspec.json.Decoder(dict[str, Noted]).decode


def classes(flags: str) -> frozenset[str]:
    """What `flags` stand for, whatever their order; A stands for all classes of events."""
    return (frozenset(flags) - {"A"}) | (_IN_A if "A" in flags else frozenset())


def missing_flags(current: str) -> str:
    """The flags that must be added to `current`."""
    present = classes(current)
    return "".join(flag for flag in _NEEDED if flag not in present)


def note_flags(state_dir: Path, url: str, noted: Noted) -> None:
    """Note what was set on the server of `url`. Blocks. Raises OSError: if the file cannot be written.

    Where somebody only took flags away since the last note, those of the rest that we added then are ours yet.
    """
    notes, server = _read(state_dir), _server(url)
    if (last := notes.get(server)) is not None and classes(noted.before) <= classes(last.after):
        noted = noted._replace(before="".join(sorted(classes(noted.before) & classes(last.before))))
    _write(state_dir, notes | {server: noted})


def noted_flags(state_dir: Path, url: str) -> Noted | None:
    """What was noted of the server of `url`; None if we changed nothing there, or the note is gone. Blocks."""
    return _read(state_dir).get(_server(url))


def forget(state_dir: Path, url: str) -> None:
    """The server of `url` is as it was before us. Blocks. Raises OSError: if the file cannot be written."""
    rest = _read(state_dir)
    if rest.pop(_server(url), None) is not None:
        _write(state_dir, rest)
    if not rest:
        (state_dir / _FILE).unlink(missing_ok=True)


def _server(url: str) -> str:
    """The option is the server's, whichever of its databases or users is ours."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


def _read(state_dir: Path) -> dict[str, Noted]:
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):  # there is none that can be used
        return _decode((state_dir / _FILE).read_bytes())
    return {}


def _write(state_dir: Path, notes: dict[str, Noted]) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    write_private(state_dir / _FILE, msgspec.json.encode(notes).decode())
