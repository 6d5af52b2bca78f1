"""What a channel is: it says where it stands, and which frames lead from one standing to a later one.

A cursor is one standing of one channel. As long as nothing has changed it is the same object, so that groups of clients
that stand at the same cursors share what is encoded between them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from msgspec import UNSET, UnsetType

from schemas.frames import Delta, Event, Reset, Skipped, Snapshot
from schemas.metrics import Origin
from schemas.positions import Position, RosterPosition, encode_position

__all__ = ["Channel", "Cursor", "Lost", "Part", "Shape", "Want", "in_pieces"]

T = TypeVar("T")

Part: TypeAlias = Snapshot | Delta | Event | Reset | Skipped
"""A frame of a channel."""


@dataclass(frozen=True, eq=False)
class Cursor:
    """One standing of a channel. Compared by identity."""

    # When it was made, ms of the bus's clock.
    ts: int
    # None while there is nothing to go on from, and in channels that are never gone on with.
    position: Position | RosterPosition | None = None
    # Of a state: all of it, or what its channel needs to tell what has changed since.
    value: Any = None
    source: Origin | UnsetType = UNSET
    as_of: int | UnsetType | None = UNSET

    @cached_property
    def pos(self) -> str | UnsetType:
        """The position as clients get it."""
        return UNSET if self.position is None else encode_position(self.position)


class Lost(NamedTuple):
    """A position that cannot be gone on from. `reason`: as in `Reset`."""

    reason: Any


class Shape(NamedTuple):
    """What of a channel is wanted."""

    # None: all.
    fields: frozenset[str] | None = None
    # Whether every change is told, or the newest stands for those before it.
    every: bool = False


class Want(NamedTuple):
    """A client's wish for one channel."""

    channel: str
    # Frames a second; 0: every change.
    rate: float
    fields: frozenset[str] | None = None

    @property
    def shape(self) -> Shape:
        """What of it is wanted, whatever the rate."""
        return Shape(self.fields, self.rate == 0)


def in_pieces(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """`items` in pieces of at most `size`; one empty piece of none."""
    return [items[start : start + size] for start in range(0, len(items), size)] or [items]


class Channel(ABC):
    """One channel. Times are ms of the bus's clock."""

    fields: frozenset[str] = frozenset()
    """What may be chosen of it."""

    conflates: bool = True
    """Whether the newest frame stands for those before it, so that a client who was slow hears how many it missed."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @abstractmethod
    def cursor(self, now: int) -> Cursor:
        """Where it stands at `now`: the same object as long as nothing has changed."""

    def base(self, at: Cursor) -> Cursor:
        """Where a new client of a group that stands at `at` may begin: there, or not long before."""
        return at

    @abstractmethod
    def whole(self, at: Cursor, shape: Shape) -> Iterator[Part | bytes]:
        """The snapshot at one of its cursors, in pieces if it is large; bytes are the JSON of a drop-in frame."""

    @abstractmethod
    def changes(self, since: Cursor, until: Cursor, shape: Shape) -> Iterator[Part | bytes]:
        """The frames from one of its cursors to another; nothing if no client would see a difference."""

    def locate(self, position: Position | RosterPosition) -> Cursor | Lost:
        """The cursor of a client that comes back. By default a channel cannot be gone on with."""
        return Lost("gone")

    def is_quiet(self, since: Cursor, until: Cursor, shape: Shape) -> bool:
        """Whether only moments differ: that may wait, nobody looks for it."""
        return False

    def next_deadline(self, at: Cursor) -> int | None:
        """When time alone changes what was right at a cursor; None if only news can."""
        return None
