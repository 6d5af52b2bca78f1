"""Whether a half is simulated now: a decision from what is known of its sources."""

from typing import Final, NamedTuple

from schemas.metrics import SOURCE_TIMEOUT_MS, Group, SourceState

__all__ = ["FALLBACK_MS", "FEDERATION", "MEMORY", "Activation", "Half"]


class Half(NamedTuple):
    """One half of the system: its name, and the groups that its sources feed."""

    name: Group
    groups: frozenset[Group]


FEDERATION: Final = Half("federation", frozenset({"peers", "sync", "discovery"}))
MEMORY: Final = Half("memory", frozenset({"reasoning", "code"}))

FALLBACK_MS: Final = 30_000
"""How long all sources of a half must have been away before `fallback` simulates it, ms."""

_FIRST_VERDICT_MS: Final = 4_000


class Activation:
    """The decision for one half and one value of ARK_SIMULATE.

    `ever_live`: a collector of that half has published on this bus. A first start waits for the first word of a
    source, at most four seconds, or every page would begin with a flash of made-up peers.
    """

    def __init__(self, half: Half, mode: str, *, ever_live: bool, started: int) -> None:
        self._half = half
        self._mode = mode
        self._ever_live = ever_live
        # When to simulate if no source has said anything, ms; a source that is down makes it earlier.
        self._from = started + _FIRST_VERDICT_MS
        # Until when a source that called itself live is believed, ms: other nodes may speak of theirs.
        self._live_until = 0
        # Since when each group has been away, ms; groups that are live are not in it.
        self._away_since: dict[str, int] = {}

    def observe(self, state: SourceState, now: int) -> None:
        """Take note of what a source said, at `now` (ms)."""
        if state.group not in self._half.groups:
            return
        if state.state == "live":
            self._ever_live = True
            self._live_until = now + SOURCE_TIMEOUT_MS
            self._away_since.pop(state.group, None)
        elif state.state in {"stale", "down"}:
            self._from = min(self._from, now)
            self._away_since[state.group] = state.since

    def active(self, now: int) -> bool:
        """Whether to simulate at `now` (ms)."""
        if self._mode in {"always", "never"}:
            return self._mode == "always"
        if not self._ever_live:
            return now >= self._from
        due = self._fallback_at()
        return due is not None and due <= now

    def next_deadline(self, now: int) -> int | None:
        """When time alone may change the decision (ms), None if it cannot."""
        if self._mode in {"always", "never"} or self.active(now):
            return None
        if not self._ever_live:
            return self._from
        return self._fallback_at()

    def _fallback_at(self) -> int | None:
        """When to simulate a half that was live, ms; None if there is no need.

        While one of its sources is live the half is: another that is away is shown as stale.
        """
        if self._mode != "fallback" or not self._away_since:
            return None
        return max(self._live_until, max(self._away_since.values()) + FALLBACK_MS)

    def why_not(self) -> str:
        """Why nothing is simulated, a short clause."""
        if self._mode == "never":
            return "ARK_SIMULATE is never"
        if self._ever_live:
            return f"the {self._half.name} half has been live"
        return "waiting for the first word of a source"
