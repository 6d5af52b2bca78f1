"""What is received, as a line for people or for programs."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from processors.client.items import BeginsAgain, Item, Received, Unreadable
from processors.runtime.output import visible
from schemas.metrics import DeadLetter, FederationSummary, MemoryRecord, MemorySummary, PeerRow, SourceState, SyncRecord

__all__ = ["as_json", "as_text"]

# Of the year 9999: later than any calendar goes, in any time zone.
_LAST_MS: Final = 253_370_764_800_000

_encode: Final = msgspec.json.Encoder().encode


def as_json(item: Item) -> str:
    """One JSON object: `stream` and `id`, and `data` as it travelled or `error`."""
    line: dict[str, object] = {"stream": item.stream}
    match item:
        case Received():
            line |= {"id": item.entry_id, "data": msgspec.Raw(item.body)}
        case Unreadable():
            line |= {"id": item.entry_id, "error": item.reason}
        case BeginsAgain():
            line["error"] = "the stream begins again"
    return _encode(line).decode()


def as_text(item: Item) -> str:
    """One line, with the local time of the entry first; of a roster change, one line a peer.

    What peers wrote may hold control characters, which a terminal would obey: they are escaped.
    """
    if isinstance(item, BeginsAgain):
        return f"{item.stream} begins again: its server was wiped, or lost its newest entries"
    moment = _clock(int(item.entry_id.partition("-")[0]))
    if isinstance(item, Unreadable):
        return f"{moment} {item.stream} {item.entry_id} cannot be read: {visible(item.reason)}"
    if isinstance(item.value, dict):
        return "\n".join(f"{moment} {_roster_line(peer, row)}" for peer, row in item.value.items())
    return f"{moment} {_LINES[type(item.value)](item.value)}"


def _clock(ms: int) -> str:
    if ms > _LAST_MS:
        # A foreign producer may name an id of its own.
        return "(no time)"
    return dt.datetime.fromtimestamp(ms / 1_000).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _number(value: float | None, unit: str = "", digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}{unit}"


def _federation_line(summary: FederationSummary) -> str:
    online = "unknown" if summary.total_peers is None else f"{summary.online_peers}/{summary.total_peers}"
    return (
        f"{summary.source:<9} health {_number(summary.network_health, ' %')}"
        f"  integrity {_number(summary.data_integrity, ' %')}  online {online}"
        f"  latency {_number(summary.avg_latency, ' ms')}  syncs {_number(summary.sync_rate, '/s', 2)}"
        f"  active {_number(summary.active_syncs, digits=0)}"
    )


def _memory_line(summary: MemorySummary) -> str:
    return (
        f"{summary.source:<9} sessions {_number(summary.ingestion_rate, '/s', 2)}"
        f"  consolidated {_number(summary.consolidation_rate, '/s', 2)}  dedup {_number(summary.dedup_rate, ' %')}"
        f"  quarantine {_number(summary.quarantine_count, digits=0)}  nodes {summary.nodes_total}"
    )


def _record_line(record: MemoryRecord) -> str:
    return f"{record.source:<9} {visible(record.node)}  {record.severity}  {visible(record.message)}"


def _sync_line(sync: SyncRecord) -> str:
    outcome = {True: "ok", False: "failed", None: "under way"}[sync.ok]
    ends = f"{visible(sync.sender)} -> {visible(sync.target)}"
    return f"{sync.source:<9} {ends}  {visible(sync.action) or 'sync'}  {sync.bytes} bytes  {outcome}"


def _source_line(source: SourceState) -> str:
    why = f"  ({visible(source.reason)})" if source.reason else ""
    how = f"  {visible(source.detail)}" if source.detail else ""
    counts = f"published {source.published}, rejected {source.rejected}"
    return f"{source.state:<9} {visible(source.node)} {visible(source.collector)} ({source.group})  {counts}{how}{why}"


def _dead_line(letter: DeadLetter) -> str:
    return f"{visible(letter.rejected_by)}: {visible(letter.reason)}  {visible(letter.excerpt)}".rstrip()


def _roster_line(peer: str, row: PeerRow | None) -> str:
    if row is None:
        return f"gone      {visible(peer)}"
    tier = visible(row.tier or "unknown tier")
    return f"{row.status:<9} {visible(peer)}  {tier}  latency {_number(row.latency_ms, ' ms')}"


_LINES: Final[Mapping[type, Callable[[Any], str]]] = {
    FederationSummary: _federation_line,
    MemorySummary: _memory_line,
    MemoryRecord: _record_line,
    SyncRecord: _sync_line,
    SourceState: _source_line,
    DeadLetter: _dead_line,
}
