"""One half of what the gateway shows: its newest summary, and whether what calls itself live may still be called so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from processors.gateway.backlog import Backlog, Kept
from processors.gateway.sources import NodeGroup, Sources
from schemas.metrics import SOURCE_TIMEOUT_MS, FederationSummary, GroupState, MemorySummary, NodeSummary, Origin, worst
from schemas.positions import Position
from schemas.topics import TOPICS

__all__ = ["Half", "Part", "View", "aged"]

_NEVER: Final = 1 << 62

Part: TypeAlias = FederationSummary | MemorySummary | NodeSummary
"""What says of each group where it comes from."""

S = TypeVar("S", bound=FederationSummary | MemorySummary)
P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class View(Generic[S]):
    """What is known of a half at one moment, with the gateway's own doubts applied."""

    # None until the first summary was read.
    summary: S | None
    # Groups that called themselves live and are shown as stale, because nothing more is heard.
    doubts: tuple[NodeGroup, ...] = ()

    @property
    def source(self) -> Origin:
        """Worst of the groups; stale while nothing is known."""
        return "stale" if self.summary is None else self.summary.source

    @property
    def as_of(self) -> int | None:
        """Oldest of the groups' moments, ms; None while nothing is known."""
        return None if self.summary is None else self.summary.as_of


class Half(Generic[S]):
    """One half. Times are ms of the bus's clock."""

    def __init__(
        self,
        name: str,
        kind: type[S],
        groups: tuple[str, ...],
        sources: Sources,
    ) -> None:
        self.name = name
        # Where its summaries come from, and what makes one of an entry's body.
        self.stream = TOPICS[name].stream
        self.decode: Final = msgspec.json.Decoder(kind).decode
        # Fields of a summary that say where a part of it comes from.
        self.groups = groups
        self._sources = sources
        # Newest summary as it was written; None until the first.
        self.summary: S | None = None
        # The newest summaries; its newest is that one.
        self.backlog = Backlog()
        # Whether it is the newest of a bus that answers; False once the bus is lost or was wiped.
        self._current = False
        # The last view, what it was made of, and until when (exclusive, ms) it holds.
        self._view: View[S] = View(None)
        self._made_of: tuple[Any, ...] = ()
        self._holds_until = 0

    @property
    def position(self) -> Position | None:
        """Where the newest summary stands; None until the first."""
        return self.backlog.top

    def hold(self, summary: S, kept: Kept) -> None:
        """Take the newest summary, and the entry that it came in."""
        self.summary = summary
        self.backlog.add(summary.epoch, kept)
        self._current = True

    def doubt(self) -> None:
        """The bus was lost, or does not hold our summary any more: what was live is stale from now on."""
        self._current = False

    def view(self, now: int) -> View[S]:
        """What is to be shown at `now`."""
        summary = self.summary
        if summary is None:
            return View(None)
        made_of = (summary, self._current, self._sources.version)
        if self._made_of[1:] != made_of[1:] or self._made_of[0] is not summary or now >= self._holds_until:
            deadlines = list(self._deadlines(summary))
            doubts = tuple(group for group, deadline in deadlines if not self._current or deadline <= now)
            self._view = View(self._shown(summary, doubts) if doubts else summary, doubts)
            self._made_of = made_of
            self._holds_until = min((deadline for _, deadline in deadlines if deadline > now), default=_NEVER)
        return self._view

    def group(self, name: str, now: int) -> GroupState:
        """Where one group comes from, at `now`."""
        summary = self.view(now).summary
        return GroupState(source="stale") if summary is None else _state(summary, name)

    def origins(self, view: View[S]) -> dict[str, str]:
        """Where each group of a view comes from; stale while nothing is known."""
        summary = view.summary
        return {group: "stale" if summary is None else _state(summary, group).source for group in self.groups}

    def next_deadline(self, told_at: int, group: str | None = None) -> int | None:
        """When time alone changes the view that was right at `told_at`, or only what it says of one group of it.

        None if only news can change it.
        """
        if self.summary is None or not self._current:
            return None
        deadlines = (deadline for (_, name), deadline in self._deadlines(self.summary) if group in {None, name})
        return min((each for each in deadlines if each > told_at), default=None)

    def feeding(self, group: str) -> tuple[str, ...]:
        """The groups of the sources that one of ours may come from."""
        return (group,)

    def _parts(self, summary: S) -> Iterator[tuple[str | None, Part]]:
        """What has groups in a summary: the whole (None), and its nodes."""
        yield None, summary

    def _shown(self, summary: S, doubts: Iterable[NodeGroup]) -> S:
        """The summary with its doubted groups made stale."""
        return aged(summary, [group for node, group in doubts if node is None])

    def _deadlines(self, summary: S) -> Iterator[tuple[NodeGroup, int]]:
        """When each live group becomes stale: none of its collectors, or no aggregator, was heard of for too long.

        Aggregators write a summary at every heartbeat of a collector. Without the second half, values that nobody
        counts any more would be called live as long as the collectors run.
        """
        heard = self._sources.newest()
        for node, part in self._parts(summary):
            for group in self.groups:
                if _state(part, group).source == "live":
                    newest = max(heard.get((node, each), -SOURCE_TIMEOUT_MS) for each in self.feeding(group))
                    yield (node, group), min(newest, summary.ts) + SOURCE_TIMEOUT_MS


def aged(part: P, groups: Iterable[str]) -> P:
    """`part` with `groups` made stale. They keep their moments."""
    changes: dict[str, Any] = {group: GroupState(source="stale", as_of=_state(part, group).as_of) for group in groups}
    if changes:
        changes["source"] = worst(part.source, "stale")
    return msgspec.structs.replace(part, **changes)


def _state(part: Part, group: str) -> GroupState:
    state: GroupState = getattr(part, group)
    return state
