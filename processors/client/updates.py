"""What a subscription of the gateway gives.

Values are as they travelled: objects, lists, numbers, texts; what is not known is absent. `to` makes typed ones of
them. They are shared with the client: not to be changed.
"""

from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from schemas.metrics import Origin

__all__ = ["Outage", "Records", "Reset", "State", "Update"]

T = TypeVar("T")

_SUMMARIES: Final = ("federation", "memory")
# What a summary has for the bus only.
_INNER: Final[dict[str, Any]] = {"epoch": "", "n": 0, "partials": {}}


class State(NamedTuple):
    """The whole state of a channel, after a change."""

    channel: str
    # An object; of a peer that is not there, None.
    value: Any
    # The merge patch that led to it (null: gone), empty if only what follows has changed; None: it begins anew.
    changed: Any
    # Where it comes from, as the gateway says, and the moment for which it is right, ms; None where it does not say.
    source: Origin | None
    as_of: int | None
    # When it was made, ms of the bus's clock; of the past that is played, when it was so.
    ts: int
    # Whether nothing was heard of the gateway for so long that it may be otherwise by now.
    stale: bool = False
    # How many frames were left out before it, because this client was too slow.
    skipped: int = 0

    def to(self, kind: type[T]) -> T:
        """The value as `kind`: FederationSummary, MemorySummary, dict[str, PeerRow], dict[str, SourceState], PeerRow.

        A summary's `epoch`, `n` and `partials` are empty. Raises msgspec.ValidationError: if `fields` left out what
        `kind` needs, or nothing is known yet.
        """
        return msgspec.convert(_INNER | self.value if self.channel in _SUMMARIES else self.value, kind)


class Records(NamedTuple):
    """New records of a channel, oldest first."""

    channel: str
    records: list[Any]
    # When they were sent, ms of the bus's clock.
    ts: int
    # Where they end: `since` of a later subscription goes on here; None if it cannot.
    position: str | None
    # Whether they are the newest there are, at a beginning or after a `Reset`, and not what followed the last ones.
    snapshot: bool = False
    # How many were left out before them.
    skipped: int = 0

    def to(self, kind: type[T]) -> list[T]:
        """The records as `kind`: SyncRecord or MemoryRecord.

        Raises msgspec.ValidationError: if `fields` left out what `kind` needs.
        """
        return [msgspec.convert(record, kind) for record in self.records]


class Reset(NamedTuple):
    """What was told of a channel cannot be continued: it begins anew with what comes next. `reason`: `frames.Reset`."""

    channel: str
    reason: str


class Outage(NamedTuple):
    """The connection was lost, or could not be made."""

    reason: str
    # When it is tried again, seconds from now.
    retry_in_s: float


Update: TypeAlias = State | Records | Reset | Outage
"""What a subscription gives."""
