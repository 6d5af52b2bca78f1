"""The parameters of HTTP requests."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from processors.gateway.half import Half

__all__ = [
    "MAX_LETTERS",
    "MAX_MINUTES",
    "MAX_POINTS",
    "MAX_REASON",
    "MAX_SOURCE",
    "BadQuery",
    "SilenceAsked",
    "read_count",
    "read_half",
    "read_limit",
    "read_silence",
    "read_status",
    "read_stretch",
]

_DEFAULT_LIMIT: Final = 1_000
_MAX_LIMIT: Final = 10_000
"""Most peers of one answer."""

_POINTS: Final = 60
MAX_POINTS: Final = 500
"""Most moments of one answer of the history."""

_LETTERS: Final = 20
MAX_LETTERS: Final = 200
"""Most dead letters of one answer."""

MAX_SOURCE: Final = 512
"""Longest name of a source, in characters."""

MAX_MINUTES: Final = 10_080
"""Longest time for which a source is silenced: a week."""

MAX_REASON: Final = 200
"""Longest reason for it, in characters."""

_STRETCH_MS: Final = 600_000
_MAX_MS: Final = 10**14

_STATUSES: Final = ("online", "syncing", "offline")


class BadQuery(ValueError):
    """A parameter of a request cannot be used; the text names it and its bound."""


class SilenceAsked(Struct, frozen=True, kw_only=True):
    """Which source is to be silenced."""

    # `<node>/<collector>`; it need not be known.
    source: str
    minutes: int
    reason: str = ""


_decode: Final = msgspec.json.Decoder(SilenceAsked).decode


def read_silence(body: bytes) -> SilenceAsked:
    """The body of a request that silences. Raises BadQuery: if a field is out of its bounds. Raises DecodeError."""
    asked = _decode(body)
    node, _, collector = asked.source.rpartition("/")
    if not (node and collector and asked.source.isprintable() and len(asked.source) <= MAX_SOURCE):
        raise BadQuery(f"source must be <node>/<collector>, at most {MAX_SOURCE} characters")
    if not 1 <= asked.minutes <= MAX_MINUTES:
        raise BadQuery(f"minutes must be between 1 and {MAX_MINUTES}")
    if not (asked.reason.isprintable() and len(asked.reason) <= MAX_REASON):
        raise BadQuery(f"reason must have at most {MAX_REASON} printable characters")
    return asked


def read_limit(query: Mapping[str, str]) -> int:
    """The parameter `limit`. Raises BadQuery: if it is not between 1 and 10000."""
    return _read_number(query, "limit", _DEFAULT_LIMIT, 1, _MAX_LIMIT)


def read_count(query: Mapping[str, str]) -> int:
    """The parameter `count`. Raises BadQuery: if it is not between 1 and 200."""
    return _read_number(query, "count", _LETTERS, 1, MAX_LETTERS)


def read_status(query: Mapping[str, str]) -> str | None:
    """The parameter `status`, None if it is absent. Raises BadQuery: if no peer can have it."""
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise BadQuery(f"status must be one of {', '.join(_STATUSES)}")
    return status


def read_half(query: Mapping[str, str], halves: Iterable[Half[Any]]) -> Half[Any]:
    """The parameter `channel`. Raises BadQuery: if it names no half."""
    named = {half.name: half for half in halves}
    if query.get("channel") not in named:
        raise BadQuery(f"channel must be one of {', '.join(named)}")
    return named[query["channel"]]


def read_stretch(query: Mapping[str, str], now: int) -> tuple[int, int, int]:
    """The parameters `from`, `to` (ms; the last ten minutes) and `points` (60). Raises BadQuery: if they are none."""
    end = _read_number(query, "to", now, 0, _MAX_MS)
    begin = _read_number(query, "from", max(0, end - _STRETCH_MS), 0, _MAX_MS)
    if begin > end:
        raise BadQuery("from must not be after to")
    return begin, end, _read_number(query, "points", _POINTS, 1, MAX_POINTS)


def _read_number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 15 and least <= int(text) <= most):
        raise BadQuery(f"{name} must be between {least} and {most}")
    return int(text)
