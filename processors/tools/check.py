"""`ark-pulse check`: what is published, compared with a direct count of ARK's databases and Redis at the same moment.

Reads only. Each half is compared alone: the newest summary is taken first, then the half is counted, then summaries are
read until each counted value was met, as long as publishing may take. What was not met is counted again, because two
changes may have been published as one; a pipeline that stands still, or is wrong, does not meet the next count either.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from processors.runtime.connection import ask_bus, open_client, partitions_of
from processors.runtime.errors import BusError
from processors.runtime.observation import read_sources, server_ms
from processors.runtime.output import print_line, print_lines
from processors.runtime.settings import Settings, node_id
from processors.tools.comparison import (
    HISTORY,
    MEMORY,
    MESH,
    POLLING,
    Comparison,
    Count,
    Published,
    Row,
    Span,
    exactly,
    federation_values,
    memory_values,
)
from processors.tools.counting import Counts, count_code, count_reasoning
from processors.tools.report import as_json, as_lines, is_good
from processors.tools.scanning import PeerCount, count_peers, count_syncs
from schemas import codec
from schemas.errors import SchemaError
from schemas.metrics import SOURCE_TIMEOUT_MS, FederationSummary, MemorySummary
from schemas.positions import entry_id
from schemas.topics import TOPICS, Topic

__all__ = ["check", "check_federation", "check_memory"]

_COUNTS: Final = 3
"""How often a value is counted until it differs."""

_BLOCK_MS: Final = 4_000
_READ_ENTRIES: Final = 200
_MAX_PROBLEMS: Final = 3

_Summary: TypeAlias = FederationSummary | MemorySummary


class _Half(NamedTuple):
    """One half of what is published, and how it is counted."""

    name: str
    topic: Topic
    groups: tuple[str, ...]
    # All values that are compared with its summaries.
    names: tuple[str, ...]
    # What a summary says of these.
    values: Callable[[Any], dict[str, Published]]
    # Counts them; gets the newest summary.
    counts: Callable[[Any], Awaitable[Counts]]


def check(settings: Settings, *, json_text: bool, wait_s: float) -> int:
    """Compare, and print the report. What was counted may take `wait_s` to be published.

    Returns the exit code: 0 if all that could be compared agrees, else 1. Raises BusDown, BusError: if what is
    published cannot be read.
    """
    node = node_id(settings)
    data = settings.ark_base_path.absolute() / "data"
    rows = ask_bus(settings, lambda bus: _check(bus, settings, node, data, wait_s))
    if json_text:
        print_line(as_json(rows, node))
    else:
        print_lines(as_lines(rows, node))
    return 0 if is_good(rows) else 1


async def _check(bus: Redis, settings: Settings, node: str, data: Path, wait_s: float) -> list[Row]:
    async with open_client(settings.redis_url) as source:
        partitions = await partitions_of(bus, settings.ark_partitions)
        federation = await check_federation(bus, source, node, partitions, wait_s)
        return [*federation, *await check_memory(bus, data, node, wait_s)]


async def check_memory(bus: Redis, data: Path, node: str, wait_s: float) -> list[Row]:
    """Compare the memory half of `node`, whose databases are in the absolute folder `data`.

    Raises redis-py's errors of the bus. Raises BusError: if a summary cannot be read. Cancellation: safe.
    """
    clock = partial(server_ms, bus)

    async def count(summary: MemorySummary) -> Counts:
        own = summary.nodes.get(node)
        if own is None and summary.nodes_total > len(summary.nodes):
            failure = f"of {summary.nodes_total} nodes this one is not told by itself"
            return dict.fromkeys(MEMORY, Count(failure=failure))
        since = None if own is None else own.since
        shared = summary.nodes_total > 1
        counts = await count_reasoning(data / "reasoning_logs.db", since, clock, shared=shared)
        return counts | await count_code(data / "ark.db")

    values = partial(memory_values, node=node)
    half = _Half("memory", TOPICS["memory"], ("reasoning", "code"), MEMORY, values, count)
    return await _compare(bus, half, node, wait_s)


async def check_federation(bus: Redis, source: Redis, node: str, partitions: int, wait_s: float) -> list[Row]:
    """Compare the federation half with the Redis of `source`. Raises and cancellation as in `check_memory`."""
    peers: list[Row] = []
    clock = partial(server_ms, bus)

    async def count(_: FederationSummary) -> Counts:
        try:
            found = await count_peers(source, bus, partitions, clock, wait_s)
            syncs = await count_syncs(source, clock)
        except (RedisError, OSError) as error:
            return dict.fromkeys(MESH, Count(failure=f"REDIS_URL: {error}"))
        except msgspec.DecodeError as error:
            raise BusError(f"a roster cannot be read: {codec.reason_of(error)}") from error
        peers[:] = [_peers_row(found)]
        note = f"{found.scanned} have a key, {found.kept} are kept for an hour without one"
        return {"total_peers": Count(exactly(found.total), note), **syncs}

    half = _Half("federation", TOPICS["federation"], ("peers", "sync"), MESH, federation_values, count)
    rows = await _compare(bus, half, node, wait_s)
    return [*peers, *rows, *_left_out(HISTORY, "follows from all heartbeats and syncs before, which no count shows")]


def _peers_row(found: PeerCount) -> Row:
    """Whether every peer that has a key is in the rosters as it says of itself."""
    wrong = found.problems
    text = "; ".join(f"{peer!r} {problem}" for peer, problem in [*wrong.items()][:_MAX_PROBLEMS])
    more = f"; and {len(wrong) - _MAX_PROBLEMS} more" if len(wrong) > _MAX_PROBLEMS else ""
    return Row(
        name="peers",
        verdict="differs" if wrong else "agrees",
        counted=found.scanned,
        published=found.equal,
        reason=text + more if wrong else f"{found.equal} of {found.scanned} peers equal",
    )


async def _compare(bus: Redis, half: _Half, node: str, wait_s: float) -> list[Row]:
    """The rows of one half."""
    newest = await _newest(bus, half)
    if newest is None:
        return _left_out(half.names, f"nothing is published on {half.topic.stream}")
    position, summary = newest
    if summary.source == "simulated":
        return _left_out(half.names, f"the {half.name} half is simulated{await _reasons(bus, half.groups, node)}")
    comparison = Comparison()
    comparison.see(half.values(summary))
    for _ in range(_COUNTS):
        comparison.count(await half.counts(summary))
        position, summary = await _follow(bus, half, comparison, (position, summary), wait_s)
        if not comparison.open():
            break
    rows = comparison.rows(_remark(summary, node))
    if all(row.verdict == "not compared" for row in rows):
        return rows
    return [*rows, _age_row(half.name, await server_ms(bus) - entry_id(position).ms)]


async def _newest(bus: Redis, half: _Half) -> tuple[bytes, _Summary] | None:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await bus.xrevrange(half.topic.stream, count=1))
    return (entries[0][0], _decoded(half, entries[0][1])) if entries else None


async def _follow(
    bus: Redis, half: _Half, comparison: Comparison, newest: tuple[bytes, _Summary], wait_s: float
) -> tuple[bytes, _Summary]:
    """Show `comparison` what is published after `newest`, until it has met all or time is up; returns the last."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while comparison.open() and (left_s := deadline - loop.time()) > 0:
        block_ms = max(1, min(_BLOCK_MS, int(left_s * 1_000)))
        wanted = cast("Any", {half.topic.stream: newest[0]})
        answer = cast("Any", await bus.xread(wanted, block=block_ms, count=_READ_ENTRIES))
        for position, fields in answer[0][1] if answer else ():
            newest = position, _decoded(half, fields)
            comparison.see(half.values(newest[1]))
    return newest


def _decoded(half: _Half, fields: Mapping[bytes, bytes]) -> _Summary:
    try:
        summary: _Summary = half.topic.decode(fields)
    except SchemaError as error:
        raise BusError(f"{half.topic.stream} cannot be read: {error}") from error
    return summary


def _left_out(names: tuple[str, ...], reason: str) -> list[Row]:
    return [Row(name=name, verdict="not compared", reason=reason, polling=POLLING.get(name, "")) for name in names]


def _age_row(half: str, age_ms: int) -> Row:
    """A summary is written at least as often as its sources are heard of; an old one is of a pipeline that stands."""
    return Row(
        name=f"{half}_summary_age_s",
        verdict="agrees" if age_ms <= SOURCE_TIMEOUT_MS else "differs",
        counted=Span(0, SOURCE_TIMEOUT_MS / 1_000),
        published=age_ms / 1_000,
    )


def _remark(summary: _Summary, node: str) -> str:
    """What may explain a difference."""
    said = summary.nodes.get(node) if isinstance(summary, MemorySummary) else summary
    if said is None:
        return f"node {node} is not in the summary"
    return "" if said.source == "live" else f"published as {said.source}"


async def _reasons(bus: Redis, groups: tuple[str, ...], node: str) -> str:
    """What the sources of `groups` said last of themselves, if they are not live."""
    heard, _ = await read_sources(bus)
    texts = [
        f"{state.collector} is {state.state}" + (f" ({state.reason})" if state.reason else "")
        for state, _ in heard
        if state.node == node and state.group in groups and state.state != "live"
    ]
    return f": {', '.join(texts)}" if texts else ""
