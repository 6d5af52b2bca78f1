"""How many items of a newest-first list are new, found by what its head looked like at the last reading.

The list has no sequence numbers, others trim it at its tail, and it may be deleted, renamed away and begun again. So a
position in it is made of the digests of the newest items, the length, and how many items were published in all. What
was remembered is kept while the list is gone: the same items may come back.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from processors.collectors.sync_events import MAX_ITEM_BYTES

__all__ = [
    "CHANGED",
    "GONE",
    "HEADS",
    "MAX_SEEN",
    "REPEATED",
    "Alignment",
    "ListPosition",
    "align",
    "decode_cursor",
    "encode_cursor",
    "item_digest",
    "place_of",
    "position_at",
]

HEADS: Final = 32
"""How many of the newest items are remembered."""

MAX_SEEN: Final = 131_072
"""Most items that are read to find the place; what was pushed beyond them while nobody read is lost."""

GONE: Final = "the list was replaced, or cut below what was read"
"""None of the remembered items is left: some that nobody read may be lost."""

CHANGED: Final = "the list was changed other than at its ends"
"""Only some of the remembered items follow each other: the longest run of them was taken."""

REPEATED: Final = "the remembered items occur more than once"
"""The first place that the growth of the list allows was taken."""

_STEP: Final = 4_096
_END_BYTES: Final = 1_024


class ListPosition(NamedTuple):
    """A place in the list: `n` items published up to here, and what the list looked like from here downwards."""

    n: int
    # How many items the list had from here downwards; 0 if it was empty or gone.
    length: int
    # Digests of the newest of them, and then, where the list had fewer, of what was in it before.
    heads: tuple[bytes, ...]


class Alignment(NamedTuple):
    """How many items of those seen are new. `need`: unknown, see that many items first."""

    new: int
    # Why there may have been more new ones, or some may be counted twice; "" if it is sure.
    doubt: str = ""
    need: int = 0


class _Stored(msgspec.Struct, frozen=True):
    n: int
    len: int
    heads: tuple[str, ...]
    # Who wrote it, and its how-manieth: no two batches have the same text, or one could be taken for the other.
    by: str = ""


_decoder = msgspec.json.Decoder(_Stored)


def item_digest(item: bytes) -> bytes:
    """Eight bytes that stand for an item. Of one that is too large only the length and both ends count."""
    if len(item) > MAX_ITEM_BYTES:
        item = b"%d:%b%b" % (len(item), item[:_END_BYTES], item[-_END_BYTES:])
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


def place_of(text: str) -> object:
    """How far a cursor text is, whoever wrote it and however long the list was then."""
    position = decode_cursor(text)
    return text if position is None else (position.n, position.heads[:1])


def position_at(index: int, n: int, seen: Sequence[bytes], length: int, before: Sequence[bytes] = ()) -> ListPosition:
    """The position at which `seen[index]` is the newest published item, being the `n`-th one.

    `seen` holds the digests of the newest items of a list of `length` items. Where they are fewer than are remembered,
    the list ends there, and what was remembered `before` follows.
    """
    heads = list(seen[index : index + HEADS])
    if len(heads) < HEADS:
        left = set(heads)
        heads += [head for head in before if head not in left][: HEADS - len(heads)]
    return ListPosition(n, max(0, length - index), tuple(heads))


def align(position: ListPosition, seen: Sequence[bytes], length: int, *, whole: bool) -> Alignment:
    """How many of the newest items came after `position`, in a list of `length` items that begins with `seen`.

    `whole`: no more can be seen. A shift fits if every remembered item that still falls into the list is where it would
    be, and is no smaller than the list has grown: pushing and trimming moves nothing less. If one shift fits that is
    sure; if several do, the smallest is the longest overlap. A list that was gone may come back with any length.
    """
    heads = position.heads
    if not heads:
        return _everything(position, seen, length) if whole else Alignment(0, need=_further(seen))
    least = max(0, length - position.length) if position.length else 0
    fits: list[int] = []
    for shift in _fits(heads, seen, least):
        if shift + len(heads) > len(seen) and not whole:
            return Alignment(0, need=shift + len(heads))
        fits.append(shift)
        if len(fits) == 2:
            return Alignment(fits[0], REPEATED)
    if fits:
        return Alignment(fits[0])
    return _piecemeal(position, seen, length, least, whole=whole)


def _fits(heads: tuple[bytes, ...], seen: Sequence[bytes], least: int) -> Iterator[int]:
    """The shifts that what is seen does not contradict."""
    for shift in range(least, len(seen)):
        if seen[shift] == heads[0] and tuple(seen[shift : shift + len(heads)]) == heads[: len(seen) - shift]:
            yield shift


def _piecemeal(position: ListPosition, seen: Sequence[bytes], length: int, least: int, *, whole: bool) -> Alignment:
    """No shift fits: items were removed from the midst, or the list was replaced.

    A long run of remembered items ends the search; any run does at the end of the list.
    """
    heads = position.heads
    shift, offset, size = _longest_run(heads, seen)
    settled = 2 * size >= len(heads) and len(seen) >= max(shift, least) + len(heads)
    if not whole and not settled:
        return Alignment(0, need=max(_further(seen), least + len(heads)))
    if size:
        return Alignment(_above(heads, seen, shift, offset), CHANGED)
    return _everything(position, seen, length)


def _everything(position: ListPosition, seen: Sequence[bytes], length: int) -> Alignment:
    """Nothing that is remembered is there. It is sure if the list was seen to be gone, and all of it is seen.

    Of a list that is empty now nobody knows what was pushed before it was emptied.
    """
    return Alignment(len(seen), GONE if position.length > 0 or length > len(seen) else "")


def _further(seen: Sequence[bytes]) -> int:
    """How far to read before asking again: what was searched once is searched again only now and then."""
    return len(seen) + max(HEADS, min(_STEP, len(seen) // 4))


def _longest_run(heads: Sequence[bytes], seen: Sequence[bytes]) -> tuple[int, int, int]:
    """The first longest run of remembered items: where it begins in `seen` and in `heads`, and its size."""
    places: dict[bytes, list[int]] = {}
    for offset, head in enumerate(heads):
        places.setdefault(head, []).append(offset)
    best = (0, 0, 0)
    # Sizes of the runs that end at the item before, by their end in `heads`.
    runs: dict[int, int] = {}
    for index, digest in enumerate(seen):
        runs = {offset: runs.get(offset - 1, 0) + 1 for offset in places.get(digest, ())}
        for offset, size in runs.items():
            if size > best[2]:
                best = (index - size + 1, offset - size + 1, size)
    return best


def _above(heads: Sequence[bytes], seen: Sequence[bytes], shift: int, offset: int) -> int:
    """How many items are new above a run: those between it and the head that are remembered, in order, are not."""
    while shift > 0:
        left = [index for index in range(offset) if heads[index] == seen[shift - 1]]
        if not left:
            break
        shift, offset = shift - 1, left[-1]
    return shift
