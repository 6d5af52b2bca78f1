"""What a client holds of one channel: its state, its position, and what is still incomplete."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from msgspec import UNSET

from processors.client.errors import Lost
from processors.client.updates import Records, Reset, State
from schemas import frames

__all__ = ["MAX_PIECES", "Held", "Part", "merge"]

MAX_PIECES: Final = 1_000
"""Most pieces of one snapshot; one of more is refused."""

Part: TypeAlias = frames.Snapshot | frames.Delta | frames.Event | frames.Reset | frames.Skipped
"""A frame of a channel."""


def merge(target: Any, patch: Any) -> Any:
    """`target` after a JSON merge patch (RFC 7396). Both stay as they are; what has not changed is shared."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


class Held:
    """What is held of one channel."""

    def __init__(self, channel: str, position: str | None = None) -> None:
        self._channel = channel
        # To go on from; None: with a snapshot.
        self.position = position
        # The newest; None before the first, and of records.
        self._state: State | None = None
        # Data of a snapshot that is not complete yet; `MAX_PIECES` at most.
        self._pieces: list[Any] = []
        # Left out before what comes next.
        self._skipped = 0

    def take(self, frame: Part) -> State | Records | Reset | None:
        """Take a frame of this channel. Returns what it tells, None if nothing yet.

        Raises Lost: if it does not fit what is held.
        """
        match frame:
            case frames.Reset():
                self.forget()
                return Reset(self._channel, frame.reason)
            case frames.Skipped():
                self._skipped += frame.count
                return None
            case frames.Snapshot(more=True):
                if len(self._pieces) == MAX_PIECES:
                    raise Lost(f"a snapshot of {self._channel} has more than {MAX_PIECES} pieces")
                self._pieces.append(frame.data)
                return None
            case frames.Snapshot():
                data = _put_together([*self._pieces, frame.data])
                self._pieces.clear()
                self.position = None
            case _:
                data = frame.data
        self.position = self.position if frame.pos is UNSET else frame.pos
        update = self._records(frame, data) if self._channel in frames.RECORDS else self._next_state(frame, data)
        self._skipped = 0
        return update

    def grown_stale(self) -> State | None:
        """The state again, marked: the gateway has been silent for too long."""
        return self._state and self._state._replace(changed={}, stale=True, skipped=0)

    def forget(self) -> None:
        """Begin anew: what is held cannot be gone on with."""
        self.position = self._state = None
        self.drop_pieces()

    def drop_pieces(self) -> None:
        """Forget an incomplete snapshot: its connection is lost."""
        self._pieces.clear()

    def _records(self, frame: Part, data: Any) -> Records | None:
        if not isinstance(frame, frames.Snapshot | frames.Event) or not isinstance(data, list):
            raise Lost(f"what came of {self._channel} is no list of records")
        is_snapshot = isinstance(frame, frames.Snapshot)
        if not (data or is_snapshot or self._skipped):
            return None  # it only told the position
        return Records(self._channel, data, frame.ts, self.position, is_snapshot, self._skipped)

    def _next_state(self, frame: Part, data: Any) -> State:
        if not isinstance(frame, frames.Snapshot | frames.Delta) or not isinstance(data, dict | None):
            raise Lost(f"what came of {self._channel} is no state")
        before = self._state
        if isinstance(frame, frames.Snapshot):
            before = State(self._channel, data, None, None, None, 0)
        elif before is None:
            raise Lost(f"a delta of {self._channel} came before its snapshot")
        else:
            before = before._replace(value=merge(before.value, data), changed=data)
        self._state = before._replace(
            source=before.source if frame.source is UNSET else frame.source,
            as_of=before.as_of if frame.as_of is UNSET else frame.as_of,
            ts=frame.ts,
            stale=False,
            skipped=self._skipped,
        )
        return self._state


def _put_together(pieces: Sequence[Any]) -> Any:
    """One value of the pieces of a snapshot: objects by key, lists in order. Raises Lost: if they do not fit."""
    first, *others = pieces
    if not others:
        return first
    if all(isinstance(piece, list) for piece in pieces):
        return [record for piece in pieces for record in piece]
    if not all(isinstance(piece, dict) for piece in pieces):
        raise Lost("the pieces of a snapshot do not fit together")
    whole: dict[str, Any] = {}
    for piece in pieces:
        whole |= piece
    return whole
