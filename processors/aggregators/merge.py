"""What the summaries of both halves share: which world they show, where its values come from, and what they begin with.

Pure functions of the newest partials, the states of the sources, and `now`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from schemas.metrics import SOURCE_TIMEOUT_MS, GroupState, Origin, Partial, SourceState, worst
from schemas.streams import SIMULATED

__all__ = ["Heard", "Partials", "group_state", "half_origin", "head", "newest_of", "world_of"]

Partials: TypeAlias = Mapping[str, Partial]
"""The newest partial of each partition, by its name."""

Heard: TypeAlias = Mapping[tuple[str, str], tuple[int, SourceState]]
"""By (node, collector): when a source was last heard of, ms, and what it said."""


def half_origin(heard: Heard, half: str, groups: Sequence[str], now: int) -> Origin:
    """Which world a half shows: a live source is believed before the simulation, the simulation before silence."""
    fresh = [state for moment, state in heard.values() if now - moment < SOURCE_TIMEOUT_MS]
    if any(state.group in groups and state.state == "live" for state in fresh):
        return "live"
    if any(state.group == half and state.state == "simulated" for state in fresh):
        return "simulated"
    return "stale"


def world_of(partials: Partials, origin: Origin) -> list[Partial]:
    """The partials of the world that is shown, by partition: simulated values are never mixed with live ones."""
    return [partial for name, partial in sorted(partials.items()) if (name == SIMULATED) == (origin == "simulated")]


def group_state(heard: Heard, group: str, origin: Origin, newest: int | None, now: int) -> GroupState:
    """Where a group's values come from: stale if none of its sources is live, or none was heard of for 15 s.

    `newest` is the time of the newest fact, ms. What a live source confirms, it confirms as of its last word.
    """
    if origin == "simulated":
        return GroupState(source="simulated", as_of=None if newest is None else min(newest, now))
    states = [(moment, state) for moment, state in heard.values() if state.group == group]
    live = [s for moment, s in states if s.state == "live" and now - moment < SOURCE_TIMEOUT_MS]
    moments = [state.as_of for _, state in states if state.as_of is not None]
    if newest is not None:
        # A producer's clock may be ahead; nothing is known to be right at a time that is still to come.
        moments.append(min(newest, now))
    return GroupState(source="live" if live else "stale", as_of=max(moments, default=None))


def newest_of(moments: Iterable[int | None]) -> int | None:
    """The newest of the moments that are known; None if none is."""
    return max((moment for moment in moments if moment is not None), default=None)


def head(world: Sequence[Partial], states: Mapping[str, GroupState], epoch: str, n: int, now: int) -> dict[str, Any]:
    """The fields that a summary begins with; `states` are those of its two groups, by name."""
    moments = [state.as_of for state in states.values() if state.as_of is not None]
    return {
        "ts": now,
        "epoch": epoch,
        "n": n,
        "source": worst(*(state.source for state in states.values())),
        "as_of": min(moments, default=None),
        "partials": {partial.partition: (partial.epoch, partial.n) for partial in world},
        **states,
    }
