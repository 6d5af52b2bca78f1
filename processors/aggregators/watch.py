"""When the peers were watched: a silence counts only as far as somebody was there to hear.

A collector that was paused, ended or cut off from its source hears nothing of anybody. That says nothing about the
peers: what it missed is left out of their silences, so that an observer's pause does not declare the network dead.
"""

from collections import deque
from typing import Final

from schemas.metrics import SourceState

__all__ = ["MAX_GAPS", "MISSED_MS", "Watch"]

MAX_GAPS: Final = 256
"""Most gaps that are remembered; of more, the oldest is forgotten, and counts as watched."""

MISSED_MS: Final = 7_500
"""Sources say every five seconds that they are there: one that said nothing for this long was paused.

Not the fifteen seconds after which it is stale: most peers would have been silent for too long before.
"""

_GROUPS: Final = frozenset({"peers", "discovery"})


class Watch:
    """The gaps in which no source of the peers was live. Before the first word of a source everything is watched.

    Times are those at which the bus got a word (server ms); words come in their order.
    """

    def __init__(self) -> None:
        # Gaps that are over: begin and end, ms, oldest first.
        self._gaps: deque[tuple[int, int]] = deque(maxlen=MAX_GAPS)
        # By node and collector: when it last said that it is live, ms. Those that said otherwise since are not in it.
        self._live: dict[tuple[str, str], int] = {}
        # Up to when somebody is known to have been there, ms; None before the first word.
        self._until: int | None = None

    def hear(self, moment: int, state: SourceState) -> None:
        """Take note of what a source said at `moment`."""
        if state.group not in _GROUPS:
            return
        source = (state.node, state.collector)
        there = any(moment - heard < MISSED_MS for heard in self._live.values())
        if state.state == "live":
            if self._until is not None and not there:
                self._gaps.append((self._until, moment))
            self._live[source] = moment
            self._until = moment
        elif self._live.pop(source, None) is not None and there:
            self._until = moment

    def known_until(self, now: int) -> int:
        """Up to when it is known, at `now`, what was to be heard (ms)."""
        return now if self._until is None else min(now, self._until)

    def silence_ms(self, since: int, until: int) -> int:
        """How much of the time from `since` to `until` was watched, ms, at least 0."""
        if self._until is not None and until - self._until >= MISSED_MS:
            # A source that was paused may bring news of one peer before its own word, and before those of the others.
            until = self._until
        silence = until - since
        if not self._gaps or self._gaps[-1][1] <= since:
            return max(0, silence)
        for begin, end in reversed(self._gaps):
            if end <= since:
                break
            silence -= max(0, min(end, until) - max(begin, since))
        return max(0, silence)
