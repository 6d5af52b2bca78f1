"""`ark-pulse partitions`: who works each partition, how far it has come, and what waits. Changes nothing."""

from typing import Final

import msgspec

from processors.runtime.connection import ask_bus
from processors.runtime.output import print_line, visible
from processors.runtime.partitions import read_partitions
from processors.runtime.settings import Settings
from schemas.answers import MANY_ENTRIES, PartitionSeen

__all__ = ["partitions"]

_HEADER: Final = ("partition", "owner", "epoch", "n", "position", "waiting", "lag ms", "fenced")


def partitions(settings: Settings, *, json_text: bool) -> None:
    """Print one line for each partition. Raises BusDown: if the bus does not answer."""
    seen = ask_bus(settings, read_partitions)
    if json_text:
        print_line(msgspec.json.encode({"partitions": seen}).decode())
        return
    rows = [_HEADER, *(_row(each) for each in seen)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(seen: PartitionSeen) -> tuple[str, ...]:
    waiting = f"{seen.lag_entries}{'+' if seen.lag_entries >= MANY_ENTRIES else ''}"
    return (
        seen.name,
        visible(seen.owner or "nobody"),
        visible(seen.epoch or "-"),
        str(seen.n),
        visible(seen.position),
        waiting,
        str(seen.lag_ms),
        str(seen.fenced),
    )
