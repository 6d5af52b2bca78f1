"""What one source says of itself: live, stale, simulated or down, since when, and why."""

from collections.abc import Callable, Iterator
from typing import Final

from processors.collectors.tally import Tally
from processors.runtime.metrics import Sample
from schemas.metrics import Condition, Group, SourceState

__all__ = ["STOPPED", "SourceStatus", "clause"]

STOPPED: Final = "collector stopped"
"""Why a source is stale, or down, whose process has ended in order."""


def clause(error: Exception) -> str:
    """What `error` says, as a short clause on one line that may follow a colon."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:1].lower() + text[1:200]


class SourceStatus:
    """The state of one source. `changed` is called with it at every change of state or reason.

    `lived`: it was live before this process began: its last values are there, so it is stale rather than down.
    """

    def __init__(
        self, collector: str, group: Group, *, node: str, changed: Callable[["SourceStatus"], None], lived: bool = False
    ) -> None:
        self.collector = collector
        self._group = group
        self.node = node
        self._changed = changed
        self._lived = lived
        # None before the first verdict: whoever connects is neither live nor down yet. None too while another
        # collector of our node works it.
        self.state: Condition | None = None
        # Since when it is in this state, ms.
        self._since = 0
        # When the source last answered, ms; None if it has not yet.
        self._as_of: int | None = None
        # Why it is not live, a short clause.
        self.reason = ""
        # How it keeps up, a short clause for people. Only the heartbeats tell of its changes.
        self.detail = ""
        # Hash and field of a cursor that the bus holds while it holds what was published; None before there is one.
        self.published_at: tuple[str, str] | None = None
        # Whether the bus was seen to have lost it: then it must be compared before the source is live again.
        self.doubted = False
        # Whether another collector works this source, and this one waits.
        self._standing_by = False
        # Events published, and inputs rejected, by this process; and what else it counts.
        self.published = 0
        self.rejected = 0
        self.tally = Tally()

    def answered(self, now: int) -> None:
        """The source answered at `now` (ms), and what it holds is published."""
        self._as_of = now
        self._lived = True
        self._become("live", now, "")

    def failed(self, now: int, reason: str) -> None:
        """The source does not answer."""
        self._become("stale" if self._lived else "down", now, reason)

    def lost(self, now: int) -> None:
        """The bus lost what was published of it."""
        self.doubted = True
        self.failed(now, "the bus was wiped: publishing again")

    def standing_by(self, now: int, other: str) -> None:
        """The collector of the node `other` works this source. Of our own node it speaks for it in our place."""
        reason = f"the collector of {other} works this source"
        if other != self.node:
            self._become("down", now, reason)
        elif not self._standing_by:
            self.state, self.reason = None, reason
            self._changed(self)
        self._standing_by = True

    def simulating(self, now: int) -> None:
        """It makes values up."""
        self._as_of = now
        self._become("simulated", now, "")

    def resting(self, now: int, reason: str) -> None:
        """It does not run by choice."""
        self._become("down", now, reason)

    def stopped(self, now: int) -> None:
        """The process ends in order. What never was live keeps the reason for it; who stood by has nothing to say."""
        if self._standing_by:
            return
        if self.state == "simulated" or self._group in {"federation", "memory"}:
            self._become("down", now, "stopped")
        elif self._lived:
            self._become("stale", now, STOPPED)
        else:
            self._become("down", now, self.reason or STOPPED)

    def report(self) -> SourceState | None:
        """The state as it goes onto the bus; None before the first verdict, and while another speaks for it."""
        if self.state is None:
            return None
        return SourceState(
            node=self.node,
            collector=self.collector,
            group=self._group,
            state=self.state,
            since=self._since,
            as_of=self._as_of,
            reason=self.reason,
            detail=self.detail,
            published=self.published,
            rejected=self.rejected,
        )

    def read(self) -> Iterator[Sample]:
        """What is told of it to a Prometheus."""
        state = "standing_by" if self._standing_by else self.state
        return self.tally.read(self.collector, state, self.published, self.rejected)

    def _become(self, state: Condition, now: int, reason: str) -> None:
        self._standing_by = False
        if (state, reason) == (self.state, self.reason):
            return
        if state != self.state:
            self._since = now
        self.state, self.reason = state, reason
        self._changed(self)
