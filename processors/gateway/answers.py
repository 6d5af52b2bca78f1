"""Bodies of the HTTP answers, from what is known at one moment."""

import heapq
import zlib
from collections.abc import Mapping
from html import escape
from typing import Any, Final

import msgspec

from processors.gateway.half import View
from processors.gateway.mesh import World
from processors.gateway.state import State
from schemas.metrics import SOURCE_TIMEOUT_MS, FederationSummary, GroupState, MemorySummary
from schemas.positions import Position, encode_position

__all__ = ["BadQuery", "etag", "health", "peers", "read_limit", "read_status", "sources", "status_line", "why_nothing"]

_DEFAULT_LIMIT: Final = 1_000
_MAX_LIMIT: Final = 10_000
"""Most peers of one answer."""

_STATUSES: Final = ("online", "syncing", "offline")


class BadQuery(ValueError):
    """A parameter of a request cannot be used; the text names it and its bound."""


def read_limit(query: Mapping[str, str]) -> int:
    """The parameter `limit`. Raises BadQuery: if it is not between 1 and 10000."""
    text = query.get("limit", str(_DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _MAX_LIMIT):
        raise BadQuery(f"limit must be between 1 and {_MAX_LIMIT}")
    return int(text)


def read_status(query: Mapping[str, str]) -> str | None:
    """The parameter `status`, None if it is absent. Raises BadQuery: if no peer can have it."""
    status = query.get("status")
    if status is not None and status not in _STATUSES:
        raise BadQuery(f"status must be one of {', '.join(_STATUSES)}")
    return status


def etag(stream: str, view: View[Any]) -> str:
    """The position of the summary; with a suffix while the gateway says stale of what calls itself live."""
    assert view.summary is not None, "there is something to be tagged"
    position = encode_position({stream: Position(view.summary.epoch, view.summary.n)})
    return position + (f".stale-{zlib.crc32(repr(view.doubts).encode()):08x}" if view.doubts else "")


def peers(world: World, group: GroupState, limit: int, status: str | None) -> dict[str, Any]:
    """At most `limit` peers, those of `status` if it is given, by id; `total` counts the ones left out too."""
    chosen = [row for row in world.rows() if status in {None, row.status}]
    return {
        "peers": heapq.nsmallest(limit, chosen, key=lambda row: row.id),
        "total": len(chosen),
        "source": group.source,
        "as_of": group.as_of,
    }


def sources(state: State, now: int) -> dict[str, Any]:
    """What the collectors said last; `silent` are those that were not heard of for 15 s."""
    return {
        "timestamp": now,
        "bus": _bus(state),
        "sources": [
            msgspec.structs.asdict(each.state)
            | {"heard_at": each.heard_at, "silent": now - each.heard_at >= SOURCE_TIMEOUT_MS}
            for each in state.sources.by_name()
        ],
    }


def health(state: State, now: int) -> dict[str, Any]:
    """How the gateway does: ok, degraded (what it shows is stale), down (it has nothing to show).

    `source` and `as_of` are the federation's; both halves have their own in `halves`.
    """
    views = {half.name: half.view(now) for half in state.halves}
    shown = {name: view for name, view in views.items() if view.summary is not None}
    stale = [name for name, view in shown.items() if view.source == "stale"]
    if not shown:
        status, reason = "down", why_nothing(state)
    elif not state.bus_answers:
        status, reason = "degraded", "the bus does not answer"
    elif stale:
        status, reason = "degraded", f"no news from a source of the {' and the '.join(stale)} half"
    else:
        status, reason = "ok", ""
    halves = {name: {"source": view.source, "as_of": view.as_of} for name, view in views.items()}
    return {"status": status, "reason": reason, **halves["federation"], "halves": halves, "bus": _bus(state)}


def _bus(state: State) -> str:
    return "up" if state.bus_answers else "lost"


def why_nothing(state: State) -> str:
    """Why there is no summary yet of a half that has none."""
    return "no summary on the bus yet" if state.bus_answers else "the bus has not answered yet"


def status_line(state: State, now: int) -> str:
    """The state of both halves as one line of plain HTML."""
    mesh, memory = state.mesh.view(now), state.memory.view(now)
    if mesh.summary is None and memory.summary is None:
        text = f"nothing known: {why_nothing(state)}"
    else:
        text = f"{mesh.source}, {_mesh_clause(mesh.summary)}; memory {memory.source}, {_memory_clause(memory.summary)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>ARK Pulse</title><p>ARK Pulse: {escape(text)}\n'
    )


def _mesh_clause(summary: FederationSummary | None) -> str:
    if summary is None or summary.total_peers is None:
        return "peers unknown"
    share = summary.network_health
    health = "unknown" if share is None else f"{share:.1f} %"
    return f"{summary.online_peers} of {summary.total_peers} peers online, health {health}"


def _memory_clause(summary: MemorySummary | None) -> str:
    if summary is None or summary.ingestion_rate is None:
        return "sessions unknown"
    nodes = f"{summary.nodes_total} node{'' if summary.nodes_total == 1 else 's'}"
    return f"{summary.ingestion_rate:.2f} sessions a second on {nodes}"
