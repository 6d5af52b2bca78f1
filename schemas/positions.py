"""Positions in streams, and their opaque text form.

A position is (epoch, n): n grows by one with every commit of its writer, without gaps within an epoch. A commit's
stream entry has the id `<ms>-<n>`, so a position is also found by time. The text form of one or of several positions
is opaque to clients: they give back what they got.
"""

import base64
import binascii
from typing import Final, NamedTuple

import msgspec

from schemas.errors import BadPosition

__all__ = ["ZERO", "EntryId", "Position", "decode_position", "encode_position", "entry_id", "entry_text"]

_MAX_TEXT = 16_384
_decoder = msgspec.json.Decoder(dict[str, tuple[str, int]])


class Position(NamedTuple):
    """Commit `n` of a writer in `epoch`."""

    epoch: str
    n: int


class EntryId(NamedTuple):
    """A stream entry's id."""

    # Milliseconds since the epoch, by the server.
    ms: int
    # The commit's number in streams that commits write, else what tells entries of one millisecond apart.
    n: int


ZERO: Final = EntryId(0, 0)
"""Before every entry."""


def encode_position(positions: dict[str, Position]) -> str:
    """The opaque text of the positions of one or several streams, by stream name."""
    body = msgspec.json.encode(dict(sorted(positions.items())))
    return base64.urlsafe_b64encode(body).decode("ascii").rstrip("=")


def decode_position(text: str) -> dict[str, Position]:
    """The positions in an opaque text. Raises BadPosition: if it is not one that `encode_position` made."""
    if len(text) > _MAX_TEXT:
        raise BadPosition(f"position must have at most {_MAX_TEXT} characters")
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        pairs = _decoder.decode(body)
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise BadPosition("position is not one of ours") from error
    if any(n < 0 for _, n in pairs.values()):
        raise BadPosition("position has a negative commit number")
    return {stream: Position(epoch, n) for stream, (epoch, n) in pairs.items()}


def entry_id(text: bytes | str) -> EntryId:
    """The id in `<ms>-<n>`, comparable. Raises BadPosition: if it is none."""
    name = text if isinstance(text, str) else text.decode("ascii", "replace")
    ms, _, n = name.partition("-")
    if not (name.isascii() and ms.isdigit() and n.isdigit() and len(name) <= 41):
        raise BadPosition("an entry id is not <ms>-<n>")
    return EntryId(int(ms), int(n))


def entry_text(entry: EntryId) -> str:
    """The text of an id, as Redis takes it."""
    return f"{entry.ms}-{entry.n}"
