"""How many items of a newest-first list are new, found by what its head looked like at the last reading.

The list has no sequence numbers, others trim it at its tail, and it may be deleted and begin again. So a position in
it is made of the digests of the newest items, the length, and how many items were published in all.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

__all__ = [
    "HEADS",
    "MAX_SLICE",
    "Alignment",
    "ListPosition",
    "align",
    "decode_cursor",
    "encode_cursor",
    "item_digest",
    "position_at",
]

HEADS: Final = 32
"""How many of the newest items are remembered."""

MAX_SLICE: Final = 131_072
"""Most items that are read to find the place; what was pushed beyond them while nobody read is lost."""


class ListPosition(NamedTuple):
    """A place in the list: `n` items published up to here, and what the list looked like from here downwards."""

    n: int
    length: int
    heads: tuple[bytes, ...]


class Alignment(NamedTuple):
    """How many items of the slice are new. `need`: unknown, read that many items first."""

    new: int
    # The remembered items are not there any more: there may have been more new ones, or some may be counted twice.
    ambiguous: bool = False
    need: int = 0


class _Stored(msgspec.Struct, frozen=True):
    n: int
    len: int
    heads: tuple[str, ...]
    # Who wrote it, and its how-manieth: no two batches have the same text, or one could be taken for the other.
    by: str = ""


_decoder = msgspec.json.Decoder(_Stored)


def item_digest(item: bytes) -> bytes:
    """Eight bytes that stand for an item."""
    return hashlib.blake2b(item, digest_size=8).digest()


def encode_cursor(position: ListPosition, by: str) -> str:
    """The cursor text of a position, written by `by`."""
    heads = tuple(base64.b64encode(head).decode("ascii") for head in position.heads)
    return msgspec.json.encode(_Stored(position.n, position.length, heads, by)).decode()


def decode_cursor(text: str) -> ListPosition | None:
    """The position in a cursor text; None if there is none, or it is not one of ours."""
    try:
        stored = _decoder.decode(text)
        heads = tuple(base64.b64decode(head, validate=True) for head in stored.heads)
    except (msgspec.DecodeError, binascii.Error):
        return None
    return ListPosition(stored.n, stored.len, heads)


def position_at(index: int, n: int, seen: Sequence[bytes], length: int) -> ListPosition:
    """The position at which `seen[index]` is the newest published item, being the `n`-th one.

    `seen` holds the digests of the newest items of a list of `length` items.
    """
    return ListPosition(n, length - index, tuple(seen[index : index + HEADS]))


def align(position: ListPosition, seen: Sequence[bytes], length: int) -> Alignment:
    """How many of the newest items came after `position`, in a list of `length` items that begins with `seen`.

    A shift fits if every remembered item that still falls into the list is where it would be. The smallest that the
    growth of the list allows is taken: a list that is pushed to and trimmed never shrinks by less than was trimmed.
    """
    whole = len(seen) >= min(length, MAX_SLICE)
    heads = position.heads
    if heads:
        least = max(0, length - position.length)
        for shift in _places(heads[0], seen, least):
            if shift + len(heads) > len(seen) and not whole:
                return Alignment(0, need=shift + HEADS)
            if list(seen[shift : shift + len(heads)]) == list(heads[: len(seen) - shift]):
                return Alignment(shift)
        if not whole:
            return Alignment(0, need=max(2 * len(seen), least + HEADS))
        return _lost(heads, seen)
    if not whole:
        return Alignment(0, need=length)
    return Alignment(len(seen), ambiguous=length > len(seen))


def _places(wanted: bytes, seen: Sequence[bytes], start: int) -> Sequence[int]:
    return [index for index in range(start, len(seen)) if seen[index] == wanted]


def _lost(heads: Sequence[bytes], seen: Sequence[bytes]) -> Alignment:
    """No shift fits: items were removed from the middle, or the list was replaced.

    What stands above the first item that is remembered is new; if none is, everything is.
    """
    known = set(heads)
    for index, digest in enumerate(seen):
        if digest in known:
            return Alignment(index, ambiguous=True)
    return Alignment(len(seen), ambiguous=bool(seen))
