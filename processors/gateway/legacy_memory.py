"""The drop-in frames of `/ws/memory`, for ARK's present memory view: each is the whole state, over all nodes."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from processors.gateway.legacy import harmless, or_zero
from processors.gateway.memory import Memory
from schemas import codec
from schemas.legacy import LegacyLog, LegacyMemory
from schemas.metrics import MAX_DELTAS, MAX_LOGS, MemoryRecord, MemorySummary

__all__ = ["MAX_LOG_TEXT", "MemoryFrames"]

MAX_LOG_TEXT: Final = 512
"""Longest message of a log, in characters before escaping: the longest agent's name fits, and the query's beginning."""

# What a frame and a summary call by the same name, but for what a view says, and a moment that may be null in a frame.
_FIELDS: Final = {
    name: name
    for name in LegacyMemory.__struct_fields__
    if name in MemorySummary.__struct_fields__ and name not in {"source", "as_of", "since"}
}
_TIERS: Final = ("core", "sandbox", "external", "trusted", "other")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The end of the year 9999, beyond which there is no datetime.
_LAST_MS: Final = 253_402_300_799_999


class MemoryFrames:
    """Makes the frames, and remembers what it made to tell what has changed."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        # Last state that was announced, without its moments; None before the first tick.
        self._told: LegacyMemory | None = None

    def whole(self, now: int) -> list[bytes]:
        """The whole state as JSON."""
        return [codec.encode(self._state(now))]

    def changes(self, now: int) -> list[bytes]:
        """The whole state as JSON, if it differs since the last call in more than its moments."""
        state = self._state(now)
        before, self._told = self._told, msgspec.structs.replace(state, timestamp=0, as_of=None)
        return [] if before == self._told else [codec.encode(state)]

    def _state(self, now: int) -> LegacyMemory:
        view = self._memory.view(now)
        values, unknown = or_zero(view.summary, _FIELDS)
        tiers = values["trust_distribution"] or {}
        lists = {
            "trust_distribution": {tier: tiers.get(tier, 0) for tier in _TIERS},
            "confidence_deltas": tuple(values["confidence_deltas"] or ())[-MAX_DELTAS:],
            "logs": tuple(_log(record) for record in (values["logs"] or ())[-MAX_LOGS:]),
        }
        return LegacyMemory(
            timestamp=now,
            unknown=unknown,
            source=view.source,
            as_of=view.as_of,
            sources=self._memory.origins(view),
            since=None if view.summary is None else view.summary.since,
            **values | lists,
        )


def _log(record: MemoryRecord) -> LegacyLog:
    moment = _EPOCH + timedelta(milliseconds=min(max(record.ts, 0), _LAST_MS))
    return LegacyLog(
        timestamp=moment.isoformat(timespec="milliseconds"),
        message=harmless(record.message, MAX_LOG_TEXT),
        severity=record.severity,
        node=harmless(record.node),
    )
