"""Bodies of the gateway's HTTP answers that are no result of the aggregators themselves."""

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from schemas.frames import Role
from schemas.metrics import DeadLetter, Origin, PeerRow, Silence, SourceState

__all__ = [
    "MANY_ENTRIES",
    "Access",
    "BusState",
    "HalfHealth",
    "Health",
    "History",
    "LetterReport",
    "LettersAnswer",
    "PartitionSeen",
    "PeersAnswer",
    "PipelineAnswer",
    "SilencesAnswer",
    "SourceReport",
    "SourcesAnswer",
]

MANY_ENTRIES: Final = 100
"""Most waiting entries of a partition that are counted."""

Access: TypeAlias = Role | Literal["open"]
"""What who asks may do; "open": everything, because no tokens are asked for."""

BusState: TypeAlias = Literal["up", "lost"]
"""Whether the gateway hears the bus."""


class PeersAnswer(Struct, frozen=True, kw_only=True):
    """The roster, or a part of it, by id."""

    peers: list[PeerRow]
    # How many there are, those that were left out too.
    total: int
    source: Origin
    # The moment for which it is right, ms; null if that is not known.
    as_of: int | None


class SourceReport(SourceState, frozen=True, kw_only=True, omit_defaults=False):
    """What one collector said last, each field always there."""

    # When it was last heard of, ms.
    heard_at: int
    # Whether that is 15 s ago: what was live is then stale.
    silent: bool
    # Until when (exclusive, ms) an operator has silenced it, and why; None if nobody has.
    silenced_until: int | None = None
    silence_reason: str | None = None


class SourcesAnswer(Struct, frozen=True, kw_only=True):
    """What the collectors said last, by node and collector."""

    # When it was made, ms.
    timestamp: int
    bus: BusState
    # Empty while the bus is lost.
    sources: list[SourceReport]


class SilencesAnswer(Struct, frozen=True, kw_only=True):
    """The sources that are silenced."""

    # By `<node>/<collector>`, in the order of these.
    silences: dict[str, Silence]


class LetterReport(DeadLetter, frozen=True, kw_only=True, omit_defaults=False):
    """One letter of `ark:dead`, each field always there."""

    id: str


class LettersAnswer(Struct, frozen=True, kw_only=True):
    """Dead letters."""

    # The newest first.
    letters: list[LetterReport]


class History(Struct, frozen=True, kw_only=True, rename={"begin": "from", "end": "to"}):
    """How a summary was at moments of a stretch of the past."""

    # The half.
    channel: str
    # The stretch, ms.
    begin: int
    end: int
    # When the oldest entry came that the stream holds, ms; null if it holds none.
    begins: int | None
    # What was in force at each moment, oldest first, without what did not change; `ts` is when it was made. Of the
    # summary's fields those that are numbers or texts.
    samples: list[dict[str, Any]]


class HalfHealth(Struct, frozen=True, kw_only=True):
    """Where the values of a half come from."""

    # Stale while nothing of it is known.
    source: Origin
    # The moment for which it is right, ms; null if there is none.
    as_of: int | None


class Health(Struct, frozen=True, kw_only=True):
    """How the gateway does."""

    # degraded: the bus is lost, or a half that is shown is stale, and not for silenced sources alone; down: nothing is
    # known.
    status: Literal["ok", "degraded", "down"]
    # Why it is not ok, and of which half; empty if it is.
    reason: str
    # Of the federation.
    source: Origin
    as_of: int | None
    # Both halves, by name.
    halves: dict[str, HalfHealth]
    bus: BusState
    # Those that stay, by path: of WebSockets, and of `/sse`.
    clients: dict[str, int]
    access: Access
    # Of these those that have not read yet what was sent to them, who comes new among them; and how many were closed
    # for that since the gateway was started.
    behind: int
    closed_slow: int


class PartitionSeen(Struct, frozen=True, kw_only=True):
    """One partition."""

    name: str
    # Whose lease holds; None if nobody's.
    owner: str | None = None
    # Entries that wait, counted up to 100, and how long the oldest of them does, ms.
    lag_entries: int = 0
    lag_ms: int = 0
    # Epoch, number and position of its newest commit; empty and 0 before the first.
    epoch: str = ""
    n: int = 0
    position: str = "0-0"
    # How many commits of old tokens were refused.
    fenced: int = 0


class PipelineAnswer(Struct, frozen=True, kw_only=True):
    """Who works what, and what waits."""

    # When it was read, ms.
    timestamp: int
    bus: BusState
    # Kind and version of its servers, and the bytes that they use and may use together; 0: no limit.
    server: str
    used_bytes: int
    most_bytes: int
    # How full the fullest of its servers is, 0 to 1; None if none has a limit.
    fullest: float | None
    partitions: list[PartitionSeen]
    # The aggregators that run, by name: those that own nothing, too.
    aggregators: list[str]
    # How many letters `ark:dead` holds.
    dead: int
    # Of this gateway, as in its health.
    clients: dict[str, int]
