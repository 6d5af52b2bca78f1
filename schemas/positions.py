"""Positions in streams, and their opaque text form.

A position is (epoch, n): n grows by one with every commit of its writer, without gaps within an epoch. A commit's
stream entry has the id `<ms>-<n>`, so a position is also found by time. The text form of one or of several positions
is opaque to clients: they give back what they got.
"""

import base64
import binascii
from typing import NamedTuple

import msgspec

from schemas.errors import BadPosition

__all__ = ["Position", "decode_position", "encode_position", "entry_n"]

_MAX_TEXT = 16_384
_decoder = msgspec.json.Decoder(dict[str, tuple[str, int]])


class Position(NamedTuple):
    """Commit `n` of a writer in `epoch`."""

    epoch: str
    n: int


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


def entry_n(entry_id: bytes) -> int:
    """The commit number in an entry id `<ms>-<n>`."""
    return int(entry_id.partition(b"-")[2])
