"""Bodies of the HTTP answers, from what is known at one moment."""

import heapq
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import msgspec

from processors.gateway.state import HeardSource, Mesh, View, World
from schemas import streams
from schemas.metrics import SOURCE_TIMEOUT_MS, GroupState
from schemas.positions import Position, encode_position

__all__ = [
    "DEFAULT_LIMIT",
    "MAX_LIMIT",
    "BadQuery",
    "etag",
    "health",
    "not_ready",
    "peers",
    "read_limit",
    "read_status",
    "sources",
    "status_line",
]

DEFAULT_LIMIT: Final = 1_000
MAX_LIMIT: Final = 10_000
"""Most peers of one answer."""

_STATUSES: Final = ("online", "syncing", "offline")


class BadQuery(ValueError):
    """A parameter of a request cannot be used; the text names it and its bound."""


def read_limit(query: Mapping[str, str]) -> int:
    """The parameter `limit`. Raises BadQuery: if it is not between 1 and 10000."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= MAX_LIMIT):
        raise BadQuery(f"limit must be between 1 and {MAX_LIMIT}")
    return int(text)


def read_status(query: Mapping[str, str]) -> str | None:
    """The parameter `status`, None if it is absent. Raises BadQuery: if no peer can have it."""
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise BadQuery(f"status must be one of {', '.join(_STATUSES)}")
    return status


def etag(view: View) -> str:
    """The position of the summary; with a suffix while the gateway says stale of what calls itself live."""
    assert view.summary is not None, "there is something to be tagged"
    position = Position(view.summary.epoch, view.summary.n)
    return encode_position({streams.METRICS_FEDERATION: position}) + (".stale" if view.doubted else "")


def peers(world: World, group: GroupState, limit: int, status: str | None) -> dict[str, Any]:
    """At most `limit` peers, those of `status` if it is given, by id; `total` counts the ones left out too."""
    chosen = [row for row in world.rows() if status in {None, row.status}]
    return {
        "peers": heapq.nsmallest(limit, chosen, key=lambda row: row.id),
        "total": len(chosen),
        "source": group.source,
        "as_of": group.as_of,
    }


def sources(heard: Sequence[HeardSource], now: int) -> dict[str, Any]:
    """What the collectors said last; `silent` are those that were not heard of for 15 s."""
    return {
        "sources": [
            msgspec.to_builtins(each.state)
            | {"heard_at": each.heard_at, "silent": now - each.heard_at >= SOURCE_TIMEOUT_MS}
            for each in heard
        ]
    }


def health(mesh: Mesh, view: View) -> dict[str, Any]:
    """How the gateway does: ok, degraded (what it shows is stale), down (it has nothing to show)."""
    reason = not_ready(mesh)
    if reason is not None:
        status = "down"
    elif not mesh.bus_answers:
        status, reason = "degraded", "the bus does not answer"
    elif view.source == "stale":
        status, reason = "degraded", "no news from a source that was live"
    else:
        status, reason = "ok", ""
    return {
        "status": status,
        "reason": reason,
        "source": view.source,
        "as_of": None if view.summary is None else view.summary.as_of,
        "bus": "up" if mesh.bus_answers else "lost",
    }


def not_ready(mesh: Mesh) -> str | None:
    """Why there is nothing to show yet; None once there is."""
    if mesh.summary is not None:
        return None
    return "no summary on the bus yet" if mesh.bus_answers else "the bus has not answered yet"


def status_line(mesh: Mesh, view: View) -> str:
    """The state of the mesh as one line of plain HTML."""
    summary = view.summary
    if summary is None:
        text = f"nothing known: {not_ready(mesh)}"
    else:
        known = summary.total_peers is not None
        online = f"{summary.online_peers} of {summary.total_peers} peers online" if known else "peers unknown"
        share = summary.network_health
        text = f"{view.source}, {online}, health {'unknown' if share is None else f'{share:.1f} %'}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ARK Pulse</title><p>ARK Pulse: {escape(text)}\n'
    )
