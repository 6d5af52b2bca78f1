"""The report of `ark-pulse check`, for people and for programs."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from processors.tools.comparison import POLLING, Published, Row, Span

__all__ = ["as_json", "as_lines", "is_good", "verdict"]

_ANY: Final = "any value"


def is_good(rows: Sequence[Row]) -> bool:
    """Whether something could be compared, and all of it agrees."""
    verdicts = {row.verdict for row in rows}
    return "agrees" in verdicts and "differs" not in verdicts


def verdict(rows: Sequence[Row]) -> str:
    """The last line: how many values differ."""
    compared = sum(row.verdict != "not compared" for row in rows)
    differ = sum(row.verdict == "differs" for row in rows)
    if not compared:
        return "nothing could be compared"
    return f"{differ} of {compared} compared values differ" if differ else f"all {compared} compared values agree"


def as_json(rows: Sequence[Row], node: str) -> str:
    """One JSON object."""
    report = {
        "node": node,
        "values": rows,
        "polling": POLLING[_ANY],
        "differ": sum(row.verdict == "differs" for row in rows),
        "verdict": verdict(rows),
    }
    return msgspec.json.encode(report).decode()


def as_lines(rows: Sequence[Row], node: str) -> list[str]:
    """A table, then what was not compared, what there is to know, and what the polling backend shows instead."""
    compared = [row for row in rows if row.verdict != "not compared"]
    lines = [f"node {node}"]
    if compared:
        lines += _table(compared)
    left_out = (row for row in rows if row.verdict == "not compared")
    lines += [f"not compared: {reason} ({names})" for reason, names in _by_reason(left_out)]
    lines += [f"{names}: {reason}" for reason, names in _by_reason(compared) if reason]
    known = [f"  {row.name}: {row.polling}" for row in rows if row.polling]
    if known:
        lines += ["the polling backend shows something else:", *known, f"  {_ANY}: {POLLING[_ANY]}"]
    return [*lines, verdict(rows)]


def _table(rows: Iterable[Row]) -> list[str]:
    cells = [("value", "counted", "published", "verdict")]
    cells += [(row.name, _counted(row.counted), _cell(row.published), row.verdict) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _by_reason(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Each reason with the names that have it: often a whole half has the same."""
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row.reason, []).append(row.name)
    return [(reason, ", ".join(each)) for reason, each in names.items()]


def _counted(value: Published | Span) -> str:
    return f"{_cell(value.low)} to {_cell(value.high)}" if isinstance(value, Span) else _cell(value)


def _cell(value: Published) -> str:
    if isinstance(value, tuple):
        return f"{len(value)} items, the newest {value[-1]:.10g}" if value else "no items"
    return "unknown" if value is None else f"{value:.10g}"
