"""What a backup of the bus is made of: a header, then pieces of hashes and streams as plain values.

The server's own dumps are not used: that of a newer server cannot be read by an older one. A piece is small enough to
be written at once; the pieces of one key follow each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

__all__ = [
    "FORMAT",
    "Header",
    "LoggedEntry",
    "Piece",
    "PieceOfHash",
    "PieceOfStream",
    "decode_header",
    "decode_piece",
    "encode",
    "pieces_of_hash",
    "pieces_of_stream",
]

FORMAT: Final = 1
"""Of the backups that this release writes, and the newest that it reads."""

_MOST_FIELDS: Final = 500
_MOST_ENTRIES: Final = 100

LoggedEntry: TypeAlias = tuple[bytes, dict[bytes, bytes]]
"""Id and fields of an entry of a stream."""


class Header(Struct, frozen=True, kw_only=True):
    """What a backup begins with. New fields have defaults."""

    kind: Literal["ark-pulse bus"] = "ark-pulse bus"
    format: int = FORMAT
    # Who wrote it.
    release: str
    # How many live partitions the bus has.
    partitions: int
    # When it was begun, ms by the bus's server.
    taken: int


class PieceOfHash(Struct, frozen=True, array_like=True, tag="hash"):
    """Some fields of a hash."""

    key: bytes
    fields: dict[bytes, bytes]


class PieceOfStream(Struct, frozen=True, array_like=True, tag="stream"):
    """Some entries of a stream in their order; none in the only piece of a stream that has none left."""

    key: bytes
    # Newest id that the stream has given when it ends with this piece.
    top: bytes
    entries: list[LoggedEntry]


Piece: TypeAlias = PieceOfHash | PieceOfStream

encode: Final = msgspec.msgpack.Encoder().encode
"""The bytes of a header or a piece."""

decode_header: Final = msgspec.msgpack.Decoder(Header).decode
"""The header in some bytes. Raises msgspec.DecodeError."""

_decoder: Final = msgspec.msgpack.Decoder(Piece)


def decode_piece(encoded: bytes) -> Piece:
    """The piece in some bytes. Raises msgspec.DecodeError."""
    piece: Piece = _decoder.decode(encoded)
    return piece


def pieces_of_hash(key: bytes, fields: Mapping[bytes, bytes]) -> Iterator[PieceOfHash]:
    """A hash in pieces; none if it is empty, which is the same as not being there."""
    left = iter(fields.items())
    while some := dict(islice(left, _MOST_FIELDS)):
        yield PieceOfHash(key, some)


def pieces_of_stream(key: bytes, top: bytes, entries: Sequence[LoggedEntry]) -> Iterator[PieceOfStream]:
    """A stream, whose newest id ever given is `top`, in pieces."""
    for first in range(0, max(1, len(entries)), _MOST_ENTRIES):
        some = list(entries[first : first + _MOST_ENTRIES])
        last = first + _MOST_ENTRIES >= len(entries)
        yield PieceOfStream(key, top if last else some[-1][0], some)
