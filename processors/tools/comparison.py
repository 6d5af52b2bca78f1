"""What was counted directly, compared with what is published meanwhile, value by value.

A count is of one moment, and a published summary of another. So a value agrees if what is published passes through the
count: it is equal to it at some time, or it is below at one summary and above at the next.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from msgspec import Struct

from schemas.metrics import FederationSummary, MemorySummary, Tiers

__all__ = [
    "BUCKET_MS",
    "CODE",
    "HISTORY",
    "MEMORY",
    "MESH",
    "POLLING",
    "SESSIONS",
    "STAGES",
    "TIERS",
    "Comparison",
    "Count",
    "Newest",
    "PeerView",
    "Published",
    "Row",
    "Span",
    "exactly",
    "federation_values",
    "in_window",
    "memory_values",
    "peer_problem",
    "rate",
    "success",
]

TIERS: Final = get_args(get_args(Tiers)[0])

SESSIONS: Final = ("ingestion_rate", "sessions_total", "logs")
"""The values that come from `reasoning_sessions`, and so on."""

STAGES: Final = ("consolidation_rate", "stages_total", "confidence_deltas")
CODE: Final = ("dedup_rate", "quarantine_count", *(f"trust_distribution.{tier}" for tier in TIERS))
MEMORY: Final = (*SESSIONS, *STAGES, *CODE)
MESH: Final = ("total_peers", "sync_rate", "sync_bytes_rate", "sync_success_rate", "active_syncs")
HISTORY: Final = ("network_health", "data_integrity")
"""Values that follow from the times of many heartbeats and syncs, which no count at one moment shows."""

_INVENTED: Final = "compares created_at as text, so it counts 0 and shows an invented number instead; rounded to 0.1"
POLLING: Final = {
    "ingestion_rate": _INVENTED,
    "consolidation_rate": _INVENTED,
    "network_health": "always 100: a peer whose key expired vanishes from its count",
    "data_integrity": "computed without the verified peers",
    "any value": "where it finds nothing, it fills the gap with a random number",
}
"""Where the polling backend shows something else: what, and why."""

BUCKET_MS: Final = 1_000
"""Windows are published in buckets: one counts whole, as long as any of its moments is in the window."""

_RELATIVE: Final = 1e-9
_LATENCY_MS: Final = 1e-3
_KEPT_MS: Final = 3_600_000
_SILENT_MS: Final = 24 * 3_600_000
_FROM_HERE: Final = frozenset({"redis", "manifest"})

T = TypeVar("T")


class Span(Struct, frozen=True, omit_defaults=True):
    """A number that was counted: it lies between two bounds, both included."""

    low: float
    high: float
    # Whether "unknown" would be right as well.
    or_absent: bool = False


class Newest(NamedTuple):
    """The newest items that were counted, oldest first."""

    items: tuple[float, ...]
    # Whether fewer of them may be published, because other nodes take part in the same list.
    shared: bool = False


Published: TypeAlias = float | tuple[float, ...] | None
"""A published value: a number, a list of the newest, or None for unknown."""


class Count(NamedTuple):
    """What counting one value gave."""

    # None: it is unknown, and has to be published as such.
    value: Span | Newest | None = None
    # What a reader should know about it.
    note: str = ""
    # Why it could not be counted; empty if it was.
    failure: str = ""


class Row(Struct, frozen=True, kw_only=True):
    """One line of the report."""

    name: str
    verdict: Literal["agrees", "differs", "not compared"]
    counted: Published | Span = None
    # The value that agreed, else the newest.
    published: Published = None
    # What to know about it, or why it was not compared.
    reason: str = ""
    # What the polling backend shows instead.
    polling: str = ""


def exactly(value: float) -> Span:
    """A number that was counted exactly."""
    return Span(value, value)


class Comparison:
    """Counted values, and which of them were met by what was published since before the count."""

    def __init__(self) -> None:
        # What was counted last, by name.
        self._counts: dict[str, Count] = {}
        # The published value that agreed.
        self._met: dict[str, Published] = {}
        # What was published last; None before the first summary.
        self._newest: Mapping[str, Published] | None = None

    def count(self, counts: Mapping[str, Count]) -> None:
        """Take new counts of the values that were not met yet. What is published now may already agree."""
        self._counts |= {name: count for name, count in counts.items() if name not in self._met}
        if self._newest is not None:
            self.see(self._newest)

    def see(self, published: Mapping[str, Published]) -> None:
        """Take the next summary that was published."""
        before = published if self._newest is None else self._newest
        for name in self.open():
            if _meets(self._counts[name].value, before.get(name), published.get(name)):
                self._met[name] = published.get(name)
        self._newest = published

    def open(self) -> list[str]:
        """The names of the values that were counted and not yet met."""
        return [name for name, count in self._counts.items() if not count.failure and name not in self._met]

    def rows(self, remark: str = "") -> list[Row]:
        """The report on every value that was counted. `remark` is added to each that differs."""
        return [self._row(name, count, remark) for name, count in self._counts.items()]

    def _row(self, name: str, count: Count, remark: str) -> Row:
        polling = POLLING.get(name, "")
        if count.failure:
            return Row(name=name, verdict="not compared", reason=count.failure, polling=polling)
        agrees = name in self._met
        published = self._met[name] if agrees else (self._newest or {}).get(name)
        return Row(
            name=name,
            verdict="agrees" if agrees else "differs",
            counted=_shown(count.value),
            published=published,
            reason="; ".join(text for text in (count.note, "" if agrees else remark) if text),
            polling=polling,
        )


def _shown(value: Span | Newest | None) -> Published | Span:
    if isinstance(value, Span):
        return value.low if value.low == value.high else value
    return None if value is None else value.items


def _meets(counted: Span | Newest | None, before: Published, after: Published) -> bool:
    """Whether what was published passed through `counted` between two summaries, both included."""
    if isinstance(counted, Newest):
        return _meets_newest(counted, _items(before), _items(after))
    if counted is None or after is None:
        return after is None and (counted is None or counted.or_absent)
    if isinstance(after, tuple) or isinstance(before, tuple):
        return False
    low, high = sorted((after, after if before is None else before))
    slack = _RELATIVE * max(abs(low), abs(high))
    return low - slack <= counted.high and high + slack >= counted.low


def _items(published: Published) -> tuple[float, ...]:
    return published if isinstance(published, tuple) else ()


def _meets_newest(counted: Newest, before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    if counted.shared:
        # Of ours, those are told that are among the newest of all nodes.
        wanted = counted.items[len(counted.items) - len(after) :] if after else ()
        return _same(wanted, after)
    return _same(counted.items, after) or (_follows(before, counted.items) and _follows(counted.items, after))


def _same(left: Sequence[float], right: Sequence[float]) -> bool:
    return len(left) == len(right) and all(
        math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=_RELATIVE) for a, b in zip(left, right, strict=True)
    )


def _follows(older: tuple[float, ...], newer: tuple[float, ...]) -> bool:
    """Whether `newer` is `older` after some items came. At least half of it must be left: less could be chance."""
    return any(_same(older[gone:], newer[: len(older) - gone]) for gone in range(len(older) // 2 + 1))


def in_window(events: Iterable[tuple[int, T]], now: int, length_ms: int) -> tuple[list[T], list[T]]:
    """Of `events` (time in ms, what happened): those in (now - length_ms, now], and those that may count besides.

    Published windows are kept in buckets of one second: an event may leave up to one second late, and one that is ahead
    of `now` by less may be in already.
    """
    sure: list[T] = []
    border: list[T] = []
    for ts, event in events:
        if now - length_ms < ts <= now:
            sure.append(event)
        elif now - length_ms - BUCKET_MS < ts < now + BUCKET_MS:
            border.append(event)
    return sure, border


def rate(sure: Sequence[float], border: Sequence[float], window_s: int) -> Span:
    """A sum a second; the events of `border` may or may not count in it."""
    return Span(sum(sure) / window_s, (sum(sure) + sum(border)) / window_s)


def success(sure: Sequence[bool | None], border: Sequence[bool | None]) -> Span | None:
    """The percentage of syncs with a known outcome that succeeded; absent if none has. `border` as in `rate`."""
    good, bad, maybe_good, maybe_bad = (events.count(ok) for events in (sure, border) for ok in (True, False))
    if good + bad + maybe_good + maybe_bad == 0:
        return None
    low = 100 * good / (good + bad + maybe_bad) if good + bad + maybe_bad else 100.0
    high = 100 * (good + maybe_good) / (good + bad + maybe_good) if good + bad + maybe_good else 0.0
    return Span(low, high, or_absent=good + bad == 0)


def memory_values(summary: MemorySummary, node: str) -> dict[str, Published]:
    """The values of `MEMORY`, of one node, as they are published."""
    own = summary.nodes.get(node)
    values: dict[str, Published] = dict.fromkeys(MEMORY)
    if own is None:
        return values
    for name in (*SESSIONS[:2], *STAGES, *CODE[:2]):
        values[name] = getattr(own, name)
    values["logs"] = tuple(record.id for record in summary.logs or () if record.node == node)
    if own.trust_distribution is not None:
        values |= {f"trust_distribution.{tier}": own.trust_distribution.get(tier, 0) for tier in TIERS}
    return values


def federation_values(summary: FederationSummary) -> dict[str, Published]:
    """The values of the mesh that can be counted, as they are published."""
    return {name: getattr(summary, name) for name in MESH}


class PeerView(NamedTuple):
    """What there is to compare of a peer: of its hash, or of its row in a roster."""

    hostname: str | None
    tier: str | None
    latency_ms: float | None
    # Of a hash: what it says itself, None if nothing; of a row: the last heartbeat. Milliseconds.
    last_seen: int | None
    # Of a row only.
    status: str = ""
    learnt_from: str = ""


def peer_problem(peer: str, view: PeerView | None, row: PeerView | None, now: int) -> str | None:
    """In what a peer's hash and its row of the roster contradict each other at `now` (ms); None if in nothing."""
    if view is None:
        return None if row is None else _kept_problem(row, now)
    if row is None:
        silent = view.last_seen is not None and now - view.last_seen >= _SILENT_MS
        return None if silent or any(ord(char) < 32 or ord(char) == 127 for char in peer) else "is not in the roster"
    for name, said, published in zip(PeerView._fields[:2], view[:2], row[:2], strict=True):
        if said != published:
            return f"{name} {said!r} is published as {published!r}"
    said_ms, shown_ms = view.latency_ms, row.latency_ms
    if (said_ms is None) != (shown_ms is None) or abs((said_ms or 0) - (shown_ms or 0)) > _LATENCY_MS:
        return f"latency {said_ms} is published as {shown_ms}"
    return None


def _kept_problem(row: PeerView, now: int) -> str | None:
    """What is wrong with a peer that is in the roster and has no key: it is kept for an hour, as offline."""
    if row.learnt_from not in _FROM_HERE:
        return None  # it never had a key here
    if row.status != "offline":
        return f"is published as {row.status}, but its key is gone"
    if row.last_seen is not None and now - row.last_seen > _KEPT_MS + BUCKET_MS:
        return "is still in the roster an hour after its last heartbeat"
    return None
