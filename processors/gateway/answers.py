"""Bodies of the HTTP answers, from what is known at one moment."""

import hashlib
import heapq
import zlib
from html import escape
from typing import Any, Literal

import msgspec

from processors.gateway.channel import Cursor
from processors.gateway.half import Half, View
from processors.gateway.mesh import World
from processors.gateway.state import State
from schemas.answers import Access, BusState, HalfHealth, Health, PeersAnswer, SourcesAnswer
from schemas.metrics import FederationSummary, GroupState, MemorySummary
from schemas.positions import Position, encode_position

__all__ = [
    "bus_state",
    "etag",
    "health",
    "peers",
    "roster_etag",
    "sources",
    "sources_etag",
    "status_line",
    "why_nothing",
]


def etag(position: Position, view: View[Any]) -> str:
    """The summary's `position`; with a suffix while the gateway says stale of what calls itself live."""
    return encode_position(position) + (f".stale-{zlib.crc32(repr(view.doubts).encode()):08x}" if view.doubts else "")


def roster_etag(cursor: Cursor, limit: int, status: str | None) -> str:
    """The position of the roster; what else makes an answer is told in a suffix."""
    made_of = repr((cursor.source, cursor.as_of, limit, status))
    return f"{cursor.pos}.{zlib.crc32(made_of.encode()):08x}"


def sources_etag(answer: SourcesAnswer) -> str:
    """Changes with everything but the moment of the answer: sources have no position."""
    body = msgspec.json.encode(msgspec.structs.replace(answer, timestamp=0))
    return hashlib.sha256(body).hexdigest()[:32]


def peers(world: World, group: GroupState, limit: int, status: str | None) -> PeersAnswer:
    """At most `limit` peers, those of `status` if it is given, by id; `total` counts the ones left out too."""
    chosen = [row for row in world.rows() if status in {None, row.status}]
    rows = heapq.nsmallest(limit, chosen, key=lambda row: row.id)
    return PeersAnswer(peers=rows, total=len(chosen), source=group.source, as_of=group.as_of)


def sources(state: State, now: int) -> SourcesAnswer:
    """What the collectors said last; `silent` are those that were not heard of for 15 s."""
    return SourcesAnswer(timestamp=now, bus=bus_state(state), sources=state.sources.reports(now))


def health(state: State, now: int, clients: dict[str, int], access: Access, *, behind: int, closed_slow: int) -> Health:
    """How the gateway does; `clients` are those of each path, `access` is what who asks may do.

    `behind`, `closed_slow`: as in the answer.
    """
    views = {half.name: half.view(now) for half in state.halves}
    shown = {name: view for name, view in views.items() if view.summary is not None}
    stale = [half.name for half in state.halves if half.name in shown and _is_alarm(state, half, now)]
    status: Literal["ok", "degraded", "down"]
    if not shown:
        status, reason = "down", why_nothing(state)
    elif not state.bus_answers:
        status, reason = "degraded", "the bus does not answer"
    elif stale:
        status, reason = "degraded", f"no news from a source of the {' and the '.join(stale)} half"
    else:
        status, reason = "ok", ""
    halves = {name: HalfHealth(source=view.source, as_of=view.as_of) for name, view in views.items()}
    return Health(
        status=status,
        reason=reason,
        source=halves["federation"].source,
        as_of=halves["federation"].as_of,
        halves=halves,
        bus=bus_state(state),
        clients=clients,
        access=access,
        behind=behind,
        closed_slow=closed_slow,
    )


def _is_alarm(state: State, half: Half[Any], now: int) -> bool:
    """Whether a half is stale, and silences do not account for all of it."""
    view = half.view(now)
    groups = [group for group, origin in half.origins(view).items() if origin == "stale"]
    return view.source == "stale" and not all(state.sources.are_silenced(half.feeding(each), now) for each in groups)


def bus_state(state: State) -> BusState:
    """Whether the gateway hears the bus."""
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
