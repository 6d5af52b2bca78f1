"""What `ark-pulse status` tells: the state of everything at one moment, and what of it is trouble.

Times are milliseconds. Unknown is None.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

from schemas.answers import MANY_ENTRIES, PartitionSeen
from schemas.metrics import SourceState

__all__ = [
    "BusSeen",
    "GatewaySeen",
    "HalfSeen",
    "OfBus",
    "Overview",
    "SourceSeen",
    "conspicuous",
    "troubles",
]

_LATE_MS: Final = 1_000


class HalfSeen(Struct, frozen=True, kw_only=True):
    """One half, as its newest summary has it."""

    name: str
    # Live, stale or simulated; stale too if no summary came for too long. None: there is no summary.
    source: str | None = None
    # How old the newest data is; None if nothing is known yet.
    age_ms: int | None = None


class SourceSeen(SourceState, frozen=True, kw_only=True, omit_defaults=False):
    """The last word of a collector. `state` is stale too if it was live and was not heard of for 15 s."""

    level: Literal["ok", "warning", "trouble"]
    # How long ago the source answered; None if it never did.
    answered_ms: int | None = None


class BusSeen(Struct, frozen=True, kw_only=True):
    """The server of the bus. `problem` is empty if it answers; else the rest is not known."""

    # Without user and password; None if there is no bus to look at.
    address: str | None = None
    problem: str = ""
    server: str = ""
    used_bytes: int = 0
    # 0: no limit.
    most_bytes: int = 0
    persistence: str = ""
    # How far its clock is ahead of this machine's.
    skew_ms: int = 0


class GatewaySeen(Struct, frozen=True, kw_only=True):
    """The gateway. `problem` is empty if it answers."""

    address: str
    problem: str = ""
    status: str = ""
    # WebSocket clients of each path, by its half.
    clients: dict[str, int] = {}


class OfBus(Struct, frozen=True, kw_only=True):
    """What is read of the bus. Empty if it does not answer."""

    bus: BusSeen
    halves: tuple[HalfSeen, ...] = ()
    sources: tuple[SourceSeen, ...] = ()
    partitions: tuple[PartitionSeen, ...] = ()


class Overview(OfBus, frozen=True, kw_only=True):
    """Everything at one moment."""

    now: int
    gateway: GatewaySeen


def troubles(overview: Overview) -> list[str]:
    """What was live and is not, or is not there: a short clause each."""
    of_bus = ["no bus"] if overview.bus.problem else [*_troubles_of_bus(overview)]
    return of_bus + ["no gateway"] * bool(overview.gateway.problem)


def _troubles_of_bus(overview: Overview) -> Iterator[str]:
    if not overview.sources:
        yield "no collectors"
    for source in overview.sources:
        if source.level == "trouble":
            yield f"{source.collector} is stale"
    idle = [partition for partition in overview.partitions if partition.owner is None]
    if not overview.partitions or len(idle) == len(overview.partitions):
        yield "no aggregators"
    elif idle:
        yield f"{len(idle)} partition{'' if len(idle) == 1 else 's'} without an owner"
    for half in overview.halves:
        # A half of which nothing was ever known may be one that nobody has here.
        if half.source == "stale" and half.age_ms is not None:
            yield f"the {half.name} half is stale"


def conspicuous(partitions: Sequence[PartitionSeen]) -> list[PartitionSeen]:
    """Those that nobody owns, or that are behind."""
    return [
        each for each in partitions if each.owner is None or each.lag_ms >= _LATE_MS or each.lag_entries >= MANY_ENTRIES
    ]
