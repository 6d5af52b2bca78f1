"""What `ark-pulse status` shows: on a terminal at most 80 columns, and with one node at most 24 lines."""

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

import msgspec

from processors.tools.overview import BusSeen, GatewaySeen, HalfSeen, Overview, SourceSeen, conspicuous, troubles
from schemas.answers import MANY_ENTRIES, PartitionSeen

__all__ = ["MARKS", "WIDTH", "as_json", "as_lines"]

WIDTH: Final = 80
"""Most columns of a line on a terminal."""

MARKS: Final = {"live": "+ live", "stale": "! stale", "simulated": "~ simulated", "down": "- down"}
"""A state as it is shown: the mark needs no colour."""

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_MAX_NAMED: Final = 4
_MANY: Final = 10_000_000


def as_json(overview: Overview) -> str:
    """One JSON object: the overview, and what is trouble."""
    return msgspec.json.encode(msgspec.structs.asdict(overview) | {"troubles": troubles(overview)}).decode()


def as_lines(overview: Overview, width: int = WIDTH) -> list[str]:
    """The screen, line by line, none longer than `width`."""
    lines = [_headline(overview)]
    lines += [_half_line(half) for half in overview.halves]
    if overview.sources:
        lines += _source_lines(overview.sources, overview.now)
    lines += _bus_lines(overview.bus)
    lines += _partition_lines(overview.partitions)
    lines += _gateway_lines(overview.gateway)
    return [_cut(line, width) for line in lines]


def _headline(overview: Overview) -> str:
    found = troubles(overview)
    time = _local(overview.now).strftime("%H:%M:%S")
    return f"{time}  TROUBLE: {', '.join(found)}" if found else f"{time}  no trouble"


def _half_line(half: HalfSeen) -> str:
    if half.source is None:
        return f"{half.name:<16} no summary yet"
    age = "nothing known yet" if half.age_ms is None else f"newest data {_span(half.age_ms)} old"
    return f"{half.name:<16} {MARKS.get(half.source, half.source):<11}  {age}"


def _source_lines(sources: Sequence[SourceSeen], now: int) -> list[str]:
    lines = ["source           state        since     answered       published   rejected"]
    several = len({source.node for source in sources}) > 1
    for node, group in groupby(sources, key=lambda source: source.node):
        if several:
            lines.append(f"node {node}")
        for source in group:
            lines += _lines_of(source, now)
    return lines


def _lines_of(source: SourceSeen, now: int) -> Iterator[str]:
    answered = "never" if source.answered_ms is None else f"{_span(source.answered_ms)} ago"
    yield (
        f"{_cut(source.collector, 16):<16} {MARKS[source.state]:<11}  {_moment(source.since, now):<8}  {answered:<13}"
        f"{_count(source.published):>11}{_count(source.rejected):>11}"
    )
    if why := "; ".join(filter(None, (source.reason, source.detail))):
        yield f"  {why}"


def _bus_lines(bus: BusSeen) -> Iterator[str]:
    if bus.problem:
        yield f"bus              {bus.problem}"
        return
    most = _size(bus.most_bytes) if bus.most_bytes else "no limit"
    yield f"bus              {bus.address}, {bus.server}"
    yield f"  memory {_size(bus.used_bytes)} of {most}, {bus.persistence}, clock {bus.skew_ms:+d} ms"


def _partition_lines(partitions: Sequence[PartitionSeen]) -> Iterator[str]:
    if not partitions:
        return
    owners = {each.owner for each in partitions} - {None}
    owned = f"{sum(each.owner is not None for each in partitions)} of {len(partitions)}"
    entries, waiting = max(each.lag_entries for each in partitions), max(each.lag_ms for each in partitions)
    lag = f"lag up to {_entries(entries)}, {_span(waiting)}" if entries else "no lag"
    yield f"partitions       {owned} owned by {_plural(len(owners), 'aggregator')}, {lag}"
    found = conspicuous(partitions)
    if found:
        more = f", and {len(found) - _MAX_NAMED} more" if len(found) > _MAX_NAMED else ""
        yield f"  {', '.join(_partition_clause(each) for each in found[:_MAX_NAMED])}{more}"


def _partition_clause(partition: PartitionSeen) -> str:
    lag = f"{_entries(partition.lag_entries)} {_span(partition.lag_ms)}"
    return f"{partition.name}: " + ("no owner" if partition.owner is None else lag)


def _gateway_lines(gateway: GatewaySeen) -> Iterator[str]:
    if gateway.problem:
        yield f"gateway          {gateway.problem}"
        return
    clients = ", ".join(f"{count} on {name}" for name, count in gateway.clients.items())
    yield f"gateway          http://{gateway.address}/ is {gateway.status}"
    yield f"  clients: {clients or 'unknown'}"


def _entries(count: int) -> str:
    return f"{count}+ entries" if count >= MANY_ENTRIES else _plural(count, "entry", "entries")


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _count(value: int) -> str:
    if value < _MANY:
        return f"{value:,}"
    return f"{value / 1e6:,.0f} M" if value < 1_000 * _MANY else f"{value:.2e}"


def _size(value: int) -> str:
    return f"{value / 2**20:,.1f} MiB" if value < 2**30 else f"{value / 2**30:,.1f} GiB"


def _span(ms: int) -> str:
    """A length of time in its largest unit; what has not come yet, by two clocks that differ, is now."""
    seconds = max(0, ms) / 1_000
    if seconds < 1:
        return f"{max(0, ms)} ms"
    size, unit = next(each for each in _UNITS if seconds >= each[0])
    return f"{int(seconds // size)} {unit}"


def _moment(ms: int, now: int) -> str:
    """The local time of day, or the day if that is longer ago."""
    then = _local(ms)
    return then.strftime("%H:%M:%S" if then.date() == _local(now).date() else "%d %b")


def _local(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(min(max(ms, 0), 4_000_000_000_000) / 1_000).astimezone()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
