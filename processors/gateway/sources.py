"""What the collectors of all nodes said last, when the bus got it, and which of them operators have silenced."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from schemas.answers import SourceReport
from schemas.metrics import MAX_SOURCES, SOURCE_TIMEOUT_MS, Silence, SourceState

__all__ = ["HeardSource", "NodeGroup", "Sources"]

NodeGroup: TypeAlias = tuple[str | None, str]
"""A node and one of its groups; without a node the group of all of them."""


@dataclass(frozen=True, slots=True)
class HeardSource:
    """A collector's last word, and when the bus got it (ms)."""

    state: SourceState
    heard_at: int

    @property
    def name(self) -> str:
        """How clients and silences call it."""
        return f"{self.state.node}/{self.state.collector}"

    def is_silent(self, now: int) -> bool:
        """Whether it was not heard of for too long, at `now`."""
        return now - self.heard_at >= SOURCE_TIMEOUT_MS


class Sources:
    """The last word of each collector."""

    def __init__(self) -> None:
        # By node and collector; over `MAX_SOURCES` the one that was silent longest is forgotten.
        self._heard: dict[tuple[str, str], HeardSource] = {}
        # By `<node>/<collector>`, also of those that were never heard of; some may have ended.
        self._silences: dict[str, Silence] = {}
        # Grows with every change.
        self.version = 0

    def hear(self, heard_at: int, state: SourceState) -> None:
        """Take a collector's word, which the bus got at `heard_at`. An older one than the last is left out."""
        self.version += 1
        key = (state.node, state.collector)
        known = self._heard.get(key)
        if known is None or known.heard_at <= heard_at:
            self._heard[key] = HeardSource(state, heard_at)
        if len(self._heard) > MAX_SOURCES:
            del self._heard[min(self._heard, key=lambda each: self._heard[each].heard_at)]

    def forget(self) -> None:
        """Forget all of them: they have to be heard again."""
        self.version += 1
        self._heard.clear()

    def by_name(self) -> list[HeardSource]:
        """All of them, by node and collector."""
        return [self._heard[key] for key in sorted(self._heard)]

    def newest(self) -> dict[NodeGroup, int]:
        """When each group was last heard of, ms: of each node, and of any."""
        newest: dict[NodeGroup, int] = {}
        for each in self._heard.values():
            for node in (each.state.node, None):
                key = (node, each.state.group)
                newest[key] = max(each.heard_at, newest.get(key, 0))
        return newest

    def silence(self, silences: dict[str, Silence]) -> bool:
        """Take `silences` in the place of all before. Returns whether anything has changed."""
        if silences == self._silences:
            return False
        self.version += 1
        self._silences = silences
        return True

    def silences(self, now: int) -> dict[str, Silence]:
        """Those that have not ended at `now`, by `<node>/<collector>`."""
        return {name: each for name, each in sorted(self._silences.items()) if now < each.until}

    def are_silenced(self, groups: Collection[str], now: int) -> bool:
        """Whether of the collectors that feed `groups` some are not live at `now`, and all of those are silenced."""
        feeding = [each for each in self._heard.values() if each.state.group in groups]
        failing = {each.name for each in feeding if each.state.state != "live" or each.is_silent(now)}
        return bool(failing) and failing <= self.silences(now).keys()

    def reports(self, now: int) -> list[SourceReport]:
        """What is told of each collector at `now`, by node and collector."""
        silences = self.silences(now)
        return [_report(each, silences.get(each.name), now) for each in self.by_name()]

    def deadlines(self) -> Iterator[int]:
        """When time alone changes what is told: a collector was silent for too long, or a silence ends."""
        yield from (each.heard_at + SOURCE_TIMEOUT_MS for each in self._heard.values())
        yield from (each.until for each in self._silences.values())


def _report(heard: HeardSource, silence: Silence | None, now: int) -> SourceReport:
    return SourceReport(
        **msgspec.structs.asdict(heard.state),
        heard_at=heard.heard_at,
        silent=heard.is_silent(now),
        silenced_until=None if silence is None else silence.until,
        silence_reason=None if silence is None else silence.reason,
    )
