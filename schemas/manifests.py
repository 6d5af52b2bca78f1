"""What nodes sign, and what is kept of their keys."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from schemas.errors import MalformedEntry
from schemas.events import Millis

__all__ = ["MAX_SEQ", "Pin", "decode_pin", "signed_form"]

MAX_SEQ: Final = 2**53 - 1
"""Largest number of a manifest: what a JavaScript number still holds exactly."""


def signed_form(manifest: Mapping[str, Any]) -> bytes:
    """The bytes that a node signs: its manifest as JSON with sorted keys, written as Python's json module does.

    Separators are `, ` and `: `, and what is not ASCII is escaped.
    """
    return json.dumps(manifest, sort_keys=True).encode()


class Pin(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The key that a node id belongs to, and the newest of the manifests that it signed."""

    # Ed25519 public key, base64.
    key: str
    # When the key was first seen, ms.
    first_seen: Millis
    # Number and time (ms) of the newest manifest; None as long as the node has not used them.
    seq: Annotated[int, Meta(ge=0, le=MAX_SEQ)] | None = None
    issued_at: Millis | None = None


_decoder = msgspec.json.Decoder(Pin)


def decode_pin(body: bytes) -> Pin:
    """A pin as the bus holds it. Raises MalformedEntry: if it is none."""
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedEntry("not a pin") from error
