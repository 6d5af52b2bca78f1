"""What the collectors of all nodes said last, and when the bus got it."""

from dataclasses import dataclass
from typing import TypeAlias

from schemas.metrics import MAX_SOURCES, SourceState

__all__ = ["HeardSource", "NodeGroup", "Sources"]

NodeGroup: TypeAlias = tuple[str | None, str]
"""A node and one of its groups; without a node the group of all of them."""


@dataclass(frozen=True, slots=True)
class HeardSource:
    """A collector's last word, and when the bus got it (ms)."""

    state: SourceState
    heard_at: int


class Sources:
    """The last word of each collector."""

    def __init__(self) -> None:
        # By node and collector; over `MAX_SOURCES` the one that was silent longest is forgotten.
        self._heard: dict[tuple[str, str], HeardSource] = {}
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
