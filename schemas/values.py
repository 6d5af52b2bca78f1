"""Values as ARK writes them: numbers and times in text, in every spelling that occurs."""

import datetime as dt
import math
import re
from typing import Final

__all__ = ["AHEAD_MS", "PEER_STATUS", "instant_ms", "number"]

AHEAD_MS: Final = 5_000
"""A time further ahead of the clock than this is not believed, ms."""

PEER_STATUS: Final = {
    "online": "online",
    "active": "online",
    "offline": "offline",
    "idle": "offline",
    "syncing": "syncing",
}
"""What a peer's hash may say of its status, in lower case, and what that means."""

_MAX_MS: Final = 10**14
_SECONDS_BELOW: Final = 10**11
_MAX_TEXT: Final = 64
# `float` alone also takes "1_000", and digits of other scripts.
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def number(text: str) -> float | None:
    """The number in `text`, None if there is none. It may be infinite: 1e400 is."""
    text = text.strip()
    if len(text) > _MAX_TEXT or _NUMBER.fullmatch(text) is None:
        return None
    return float(text)


def instant_ms(value: object) -> int | None:
    """A time in ms since the epoch, from seconds (below 10^11), milliseconds, either as text, or ISO 8601.

    ISO 8601 without an offset is UTC. None if it is no time, not after the epoch, or beyond 10^14 ms.
    """
    if isinstance(value, str):
        found = number(value)
        value = _iso_ms(value) if found is None else found
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    ms = round(value * 1000) if value < _SECONDS_BELOW else round(value)
    return ms if 0 < ms <= _MAX_MS else None


def _iso_ms(text: str) -> int | None:
    if len(text) > _MAX_TEXT:
        return None
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(milliseconds=1)
