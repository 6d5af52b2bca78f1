"""Ed25519 keys and signatures, without the keys that prove nothing."""

import base64
import binascii
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["KEY_BYTES", "SIGNATURE_BYTES", "BadKey", "is_signed", "is_weak", "read_bytes", "read_key", "write_key"]

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_Y_OF_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
# RFC 8032, section 5.1: y of the eight points whose order divides the cofactor. A signature of one message by such a
# "key" is one of other messages too; that of the neutral point needs no secret at all.
_Y_OF_SMALL_ORDER: Final = frozenset({0, 1, _P - 1, _Y_OF_ORDER_8, _P - _Y_OF_ORDER_8})


class BadKey(ValueError):
    """A text is no public key that can be used; the clause says why, and goes after the key's name."""


def read_bytes(text: str, length: int) -> bytes | None:
    """The `length` bytes that `text` is the standard base64 of; None if it is not."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == length else None


def read_key(text: str) -> bytes:
    """The public key in base64. Raises BadKey: if it is none, or one for which anybody can sign."""
    key = read_bytes(text, KEY_BYTES)
    if key is None:
        raise BadKey(f"must be base64 of {KEY_BYTES} bytes")
    if is_weak(key):
        raise BadKey("must not be a point of small order, nor one in another spelling")
    return key


def write_key(key: bytes) -> str:
    """A public key in base64: the one spelling under which it is kept and compared."""
    return base64.b64encode(key).decode()


def is_weak(key: bytes) -> bool:
    """Whether a key is of small order, or y is written with a multiple of the prime added.

    The library checks neither: it would take signatures that nobody made.
    """
    y = int.from_bytes(key, "little") & (2**255 - 1)
    return y >= _P or y in _Y_OF_SMALL_ORDER


def is_signed(message: bytes, signature: bytes, key: bytes) -> bool:
    """Whether `signature` is one of `message` by the holder of `key`."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
