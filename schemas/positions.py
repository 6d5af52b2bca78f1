"""Positions in streams, and their opaque text form.

A writer's commits have an epoch and a number n that grows by one with each; a commit's stream entry has the id
`<ms>-<n>`. So a position is gap-free within its epoch, and found by its id. The text form is opaque to clients: they
give back what they got.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

import msgspec

from schemas.errors import BadPosition

__all__ = [
    "ZERO",
    "EntryId",
    "Position",
    "RosterPosition",
    "decode_position",
    "encode_position",
    "end_of",
    "entry_id",
    "entry_text",
    "roster_position",
]

_MAX_TEXT: Final = 24_576
_MOST: Final = 2**63 - 1


class EntryId(NamedTuple):
    """A stream entry's id."""

    # Milliseconds since the epoch, by the server.
    ms: int
    # The commit's number in streams that commits write, else what tells entries of one millisecond apart.
    n: int


ZERO: Final = EntryId(0, 0)
"""Before every entry."""


class Position(NamedTuple):
    """In one stream: up to and with an entry. The epoch is empty where a stream has none."""

    epoch: str
    entry: EntryId


class RosterPosition(NamedTuple):
    """In the roster changes of all partitions of one world."""

    # CRC-32 of the partitions' names and epochs: when one of them begins anew, none of it can be continued.
    epochs: int
    # Up to and with which change, in the order of the partitions.
    entries: tuple[EntryId, ...]


_Packed: TypeAlias = tuple[str | int, int, list[int]]
"""Epoch or epochs, the least time, and of each entry the time since then and its n."""

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Packed)


def roster_position(parts: Mapping[str, str | None], entries: Iterable[EntryId]) -> RosterPosition:
    """The position up to `entries`; `parts` has the epoch of each partition, None where it has none."""
    return RosterPosition(zlib.crc32(repr(list(parts.items())).encode()), tuple(entries))


def encode_position(position: Position | RosterPosition) -> str:
    """The opaque text of a position."""
    if isinstance(position, Position):
        head: str | int = position.epoch
        entries: tuple[EntryId, ...] = (position.entry,)
    else:
        head, entries = position
    # A partition without changes has no time; it would make all the others' large.
    base = min((entry.ms for entry in entries if entry.ms), default=0)
    numbers = [number for ms, n in entries for number in (ms - base if ms else -1, n)]
    return base64.urlsafe_b64encode(_encoder.encode((head, base, numbers))).decode("ascii").rstrip("=")


def decode_position(text: str) -> Position | RosterPosition:
    """The position in an opaque text. Raises BadPosition: if it is not one that `encode_position` made."""
    if len(text) > _MAX_TEXT:
        raise BadPosition(f"position must have at most {_MAX_TEXT} characters")
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        head, base, numbers = _decoder.decode(body)
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise BadPosition("position is not one of ours") from error
    if not (0 <= base <= _MOST and all(-1 <= since <= _MOST and 0 <= n <= _MOST for since, n in pairs)):
        raise BadPosition("position is not one of ours")
    entries = tuple(EntryId(0 if since < 0 else base + since, n) for since, n in pairs)
    if isinstance(head, int):
        return RosterPosition(head, entries)
    if len(entries) != 1:
        raise BadPosition("position is not one of ours")
    return Position(head, entries[0])


def entry_id(text: bytes | str) -> EntryId:
    """The id in `<ms>-<n>`, comparable. Raises BadPosition: if it is none."""
    name = text if isinstance(text, str) else text.decode("ascii", "replace")
    ms, _, n = name.partition("-")
    if not (name.isascii() and ms.isdigit() and n.isdigit() and len(name) <= 41):
        raise BadPosition("an entry id is not <ms>-<n>")
    return EntryId(int(ms), int(n))


def end_of(ms: int) -> EntryId:
    """After every entry of a millisecond."""
    return EntryId(ms, _MOST)


def entry_text(entry: EntryId) -> str:
    """The text of an id, as Redis takes it."""
    return f"{entry.ms}-{entry.n}"
